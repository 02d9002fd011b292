"""The documentation of the metrics is what the services declare, and the dashboards are what the script makes."""

from scripts import dashboards
from scripts.metrics import DOCUMENT, declared, document


def test_the_table_of_metrics_is_up_to_date() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert document(text) == text, "run `make docs`"


def test_the_dashboards_are_up_to_date() -> None:
    assert dashboards.main(["--check"]) == 0, "run `make docs`"


def test_names_and_texts_are_of_one_kind() -> None:
    for metric in declared():
        assert metric.help.endswith("."), metric.name
        assert not metric.name.endswith(("_total", "_count")), metric.name
        assert metric.kind != "histogram" or metric.name.endswith("_seconds"), metric.name
