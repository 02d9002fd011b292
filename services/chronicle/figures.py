"""What the chronicle measures for Prometheus."""

from prometheus_client import Gauge

TEXTS_WAITING = Gauge("dsm_texts_waiting", "Texts that are not embedded yet.", ["service", "kind"])
KINDS = [("impediment",), ("title",)]
WAITING = """
    SELECT ARRAY['impediment'], count(*)::float8 FROM impediment WHERE requires_embedding
    UNION ALL SELECT ARRAY['title'], count(*) FROM backlog_title WHERE requires_embedding
"""
