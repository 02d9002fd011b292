"""Writes the table of metrics in docs/observing.md from the metrics that the services declare."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from scripts import made
from services.cli.names import SERVICES
from services.cli.registry import entries

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "observing.md"
_SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count"), "info": ("_info",)}


@dataclass(frozen=True)
class Metric:
    """A metric as it is declared; `name` is without the suffixes of its series."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which it is asked for."""
        return tuple(self.name + suffix for suffix in _SUFFIXES[self.kind])

    @property
    def shown(self) -> str:
        """The name that it goes by."""
        return self.name if self.kind == "histogram" else self.series[0]


def declared() -> list[Metric]:
    """Every metric that some process of DSM has, by name."""
    entries(SERVICES)  # Imports the services, and with them what they declare.
    collectors = {it for it in REGISTRY._collector_to_names if isinstance(it, MetricWrapperBase)}
    return sorted((_metric(it) for it in collectors if it._name.startswith("dsm_")), key=lambda metric: metric.name)


def main(arguments: list[str]) -> int:
    """Writes the document, or tells with --check whether it is up to date; returns the exit code."""
    return made.run(__doc__, arguments, lambda: {DOCUMENT: document(DOCUMENT.read_text("utf-8"))}, "make docs")


def document(text: str) -> str:
    """The document with a table that is up to date."""
    rows = "".join(
        f"| `{metric.shown}` | {metric.kind} | {', '.join(metric.labels)} | {metric.help} |\n" for metric in declared()
    )
    return made.between(text, "make docs", f"\n| metric | kind | labels | what |\n|---|---|---|---|\n{rows}\n")


def _metric(it: MetricWrapperBase) -> Metric:
    return Metric(it._name, it._type or "", tuple(it._labelnames), it._documentation)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
