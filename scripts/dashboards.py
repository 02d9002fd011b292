"""Writes the Grafana dashboards of deploy/grafana from the panels listed here."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts import made

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
# Of Grafana 10 and 11; newer ones read it too.
SCHEMA = 39
COLUMNS, HEIGHT = 24, 8
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
# Methods tell their service by their second part.
_BY_SERVICE = '"service", "$1", "method", "/dsm[.]([a-z]+)[.].*"'
_FAULTS = "UNKNOWN|INTERNAL|DEADLINE_EXCEEDED|UNAVAILABLE|DATA_LOSS|UNIMPLEMENTED|RESOURCE_EXHAUSTED"
_STREAMS = ".*/(Watch.*|Export.*|Import.*)"


@dataclass(frozen=True)
class Panel:
    """Curves, or one figure each: PromQL by the legend of its series."""

    title: str
    queries: dict[str, str]
    unit: str = "short"
    about: str = ""
    kind: str = "timeseries"
    width: int = 8
    height: int = HEIGHT
    # From there on it is red.
    limit: float | None = None


@dataclass(frozen=True)
class Row:
    """Panels under a heading."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Dashboard:
    """One file."""

    uid: str
    title: str
    about: str
    rows: Sequence[Row]


def _stat(title: str, query: str, unit: str = "short", limit: float | None = None, about: str = "") -> Panel:
    return Panel(title, {"": query}, unit, about, "stat", width=4, height=4, limit=limit)


def _rate(metric: str, by: str, matchers: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{matchers}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str = "", matchers: str = "") -> str:
    labels = f"le, {by}" if by else "le"
    return f"histogram_quantile({share}, sum by ({labels}) (rate({metric}_bucket{matchers}[$__rate_interval])))"


def _calls(matchers: str = "") -> str:
    return f"sum by (service) (label_replace(rate(dsm_calls_total{matchers}[$__rate_interval]), {_BY_SERVICE}))"


_OF = '{service=~"$service"}'
_OF_METHOD = '{method=~"/dsm[.]($service)[.].*"}'
_UNARY = f'{{method=~"/dsm[.]($service)[.].*", method!~"{_STREAMS}"}}'

OVERVIEW = Dashboard(
    "dsm-overview",
    "DSM overview",
    "Is it well: rates, errors and durations of calls, and what lags behind.",
    [
        Row(
            "Now",
            [
                _stat("Services that take calls", "sum(max by (service) (dsm_ready))", about="Of six."),
                _stat("Calls", "sum(rate(dsm_calls_total[$__rate_interval]))", "reqps"),
                _stat(
                    "Failing",
                    f'sum(rate(dsm_calls_total{{code=~"{_FAULTS}"}}[$__rate_interval])) '
                    "/ sum(rate(dsm_calls_total[$__rate_interval])) or vector(0)",
                    "percentunit",
                    0.02,
                    "Through no fault of the caller.",
                ),
                _stat("Events not published for", "max(dsm_outbox_lag_seconds)", "s", 120),
                _stat("Events not applied for", "max(dsm_consumer_lag_seconds)", "s", 300),
                _stat("Dead letters", "sum(max by (service, consumer) (dsm_dead_letters_waiting))", limit=0),
            ],
        ),
        Row(
            "Calls by service",
            [
                Panel("Rate", {"{{service}}": _calls(_OF_METHOD)}, "reqps"),
                Panel(
                    "Failures",
                    {"{{service}}": _calls(f'{{method=~"/dsm[.]($service)[.].*", code=~"{_FAULTS}"}}')},
                    "reqps",
                    "Of the service or of what it needs.",
                ),
                Panel(
                    "Duration",
                    {
                        "p50": _quantile(0.5, "dsm_call_seconds", matchers=_UNARY),
                        "p95": _quantile(0.95, "dsm_call_seconds", matchers=_UNARY),
                        "p99": _quantile(0.99, "dsm_call_seconds", matchers=_UNARY),
                    },
                    "s",
                    "Of calls, without streams.",
                ),
            ],
        ),
        Row(
            "Calls by method",
            [
                Panel(
                    "Busiest", {"{{method}}": f"topk(10, {_rate('dsm_calls_total', 'method', _OF_METHOD)})"}, "reqps"
                ),
                Panel(
                    "Refused and failed",
                    {
                        "{{method}} {{code}}": "topk(10, "
                        + _rate(
                            "dsm_calls_total",
                            "method, code",
                            '{method=~"/dsm[.]($service)[.].*", code!~"OK|CANCELLED"}',
                        )
                        + ")"
                    },
                    "reqps",
                ),
                Panel(
                    "Slowest, p95",
                    {"{{method}}": f"topk(10, {_quantile(0.95, 'dsm_call_seconds', 'method', _UNARY)})"},
                    "s",
                ),
            ],
        ),
        Row(
            "Load",
            [
                Panel("Calls in flight", {"{{instance}}": "dsm_calls_in_flight"}),
                Panel("Streams open", {"{{instance}}": "dsm_streams_open"}, about="Watches, imports, exports."),
                Panel("CPU", {"{{instance}}": "rate(process_cpu_seconds_total[$__rate_interval])"}, "percentunit"),
                Panel("Memory", {"{{instance}}": "process_resident_memory_bytes"}, "bytes"),
                Panel("Versions", {"{{version}}": "count by (version) (dsm_build_info)"}, about="Processes of each."),
                Panel("Since the start", {"{{instance}}": "time() - process_start_time_seconds"}, "s"),
            ],
        ),
    ],
)

INSIDE = Dashboard(
    "dsm-inside",
    "DSM inside",
    "Why is it not well: pools, breakers, outboxes, consumers and flows of each service.",
    [
        Row(
            "Database",
            [
                Panel(
                    "Connections in use",
                    {
                        "{{service}}": f"sum by (service) (dsm_pool_in_use{_OF})",
                        "{{service}}, most": f"sum by (service) (dsm_pool_size{_OF})",
                    },
                ),
                Panel("Calls that wait for one", {"{{service}}": f"sum by (service) (dsm_pool_waiting{_OF})"}),
                Panel("Migrations behind", {"{{service}}": f"max by (service) (dsm_migrations_behind{_OF})"}),
            ],
        ),
        Row(
            "Calls to other services",
            [
                Panel(
                    "Outcomes",
                    {
                        "{{service}} to {{callee}}: {{code}}": _rate(
                            "dsm_callee_calls_total", "service, callee, code", _OF
                        )
                    },
                    "reqps",
                ),
                Panel(
                    "Duration, p95",
                    {"{{service}} to {{callee}}": _quantile(0.95, "dsm_callee_seconds", "service, callee", _OF)},
                    "s",
                ),
                Panel(
                    "Breakers",
                    {"{{service}} to {{callee}}": f"max by (service, callee) (dsm_breaker_open{_OF})"},
                    about="1 = open, 0.5 = the next call is a probe, 0 = closed.",
                ),
            ],
        ),
        Row(
            "Events out",
            [
                Panel("Published", {"{{service}}": _rate("dsm_events_published_total", "service", _OF)}, "ops"),
                Panel("Waiting in the outbox", {"{{service}}": f"max by (service) (dsm_outbox_depth{_OF})"}),
                Panel("Age of the oldest", {"{{service}}": f"max by (service) (dsm_outbox_lag_seconds{_OF})"}, "s"),
            ],
        ),
        Row(
            "Events in",
            [
                Panel(
                    "Applied",
                    {
                        "{{consumer}}": _rate("dsm_events_applied_total", "consumer", _OF),
                        "{{consumer}}, again": _rate("dsm_events_repeated_total", "consumer", _OF),
                    },
                    "ops",
                ),
                Panel(
                    "Waiting",
                    {
                        "{{consumer}}": f"max by (consumer) (dsm_consumer_pending{_OF})",
                        "{{consumer}}, delivered": f"max by (consumer) (dsm_consumer_unacknowledged{_OF})",
                    },
                ),
                Panel("Age of the oldest", {"{{consumer}}": f"max by (consumer) (dsm_consumer_lag_seconds{_OF})"}, "s"),
                Panel(
                    "Time of a batch, p95", {"{{consumer}}": _quantile(0.95, "dsm_apply_seconds", "consumer", _OF)}, "s"
                ),
                Panel("Dead letters", {"{{consumer}}": f"max by (consumer) (dsm_dead_letters_waiting{_OF})"}),
                Panel("NATS reached", {"{{service}}": f"min by (service) (dsm_stream_connected{_OF})"}),
            ],
        ),
        Row(
            "Flows over services",
            [
                Panel(
                    "Ended",
                    {"{{kind}} {{outcome}}": _rate("dsm_sagas_total", "kind, outcome", _OF)},
                    "ops",
                    "Plannings, closings and changes of scope.",
                ),
                Panel("Under way", {"{{kind}}": f"max by (kind) (dsm_sagas_running{_OF})"}),
                Panel("Age of the oldest", {"{{kind}}": f"max by (kind) (dsm_saga_oldest_seconds{_OF})"}, "s"),
            ],
        ),
        Row(
            "Traces and certificates",
            [
                Panel("Spans", {"{{outcome}}": _rate("dsm_spans_total", "outcome")}, "ops"),
                Panel(
                    "Certificates expire in",
                    {"{{file}}": "min by (file) (dsm_tls_certificate_expiry_seconds) - time()"},
                    "s",
                ),
                Panel(
                    "TLS files that could not be used",
                    {"": "sum(increase(dsm_tls_reload_failures_total[$__rate_interval]))"},
                ),
            ],
        ),
    ],
)

DECISIONS = Dashboard(
    "dsm-decisions",
    "DSM decisions and embeddings",
    "What is decided and done, how well memory serves it, and what runs by itself.",
    [
        Row(
            "Decisions",
            [
                Panel("Made", {"{{mode}} {{outcome}}": _rate("dsm_decisions_total", "mode, outcome")}, "ops"),
                Panel(
                    "Time until stored",
                    {
                        "{{mode}} p50": _quantile(0.5, "dsm_decision_seconds", "mode"),
                        "{{mode}} p95": _quantile(0.95, "dsm_decision_seconds", "mode"),
                    },
                    "s",
                    "The documents promise a p95 below half a second.",
                    limit=0.5,
                ),
                Panel("Made without", {"{{missing}}": _rate("dsm_decisions_degraded_total", "missing")}, "ops"),
                Panel("Actions", {"{{kind}} {{state}}": _rate("dsm_actions_total", "kind, state")}, "ops"),
                Panel("Strategies", {"{{change}}": "sum by (change) (increase(dsm_strategy_changes_total[1h]))"}),
                Panel("Episodes not embedded", {"": "max(dsm_episodes_waiting)"}),
            ],
        ),
        Row(
            "Embeddings",
            [
                Panel("Texts", {"{{backend}} {{model}}": _rate("dsm_embedding_texts_total", "backend, model")}, "ops"),
                Panel(
                    "Time of a call",
                    {
                        "{{backend}} p50": _quantile(0.5, "dsm_embedding_seconds", "backend"),
                        "{{backend}} p95": _quantile(0.95, "dsm_embedding_seconds", "backend"),
                    },
                    "s",
                ),
                Panel(
                    "Calls and failures",
                    {
                        "{{backend}} calls": _rate("dsm_embedding_seconds_count", "backend"),
                        "{{backend}} failed": _rate("dsm_embedding_backend_errors_total", "backend"),
                    },
                    "ops",
                ),
                Panel("Texts of history not embedded", {"{{kind}}": "max by (kind) (dsm_texts_waiting)"}),
                Panel(
                    "Breakers",
                    {
                        "{{service}} to {{callee}}": "max by (service, callee) "
                        '(dsm_breaker_open{callee=~"embedding|ollama"})'
                    },
                ),
            ],
        ),
        Row(
            "Reviews by a model",
            [
                Panel("Outcomes", {"{{outcome}}": _rate("dsm_advisories_total", "outcome")}, "ops"),
                Panel("Time of a review, p95", {"": _quantile(0.95, "dsm_advisory_seconds")}, "s"),
                Panel("Decisions that wait", {"": "max(dsm_advisories_waiting)"}),
            ],
        ),
        Row(
            "Schedules",
            [
                Panel(
                    "Runs", {"{{kind}} {{outcome}}": "sum by (kind, outcome) (increase(dsm_schedule_runs_total[1h]))"}
                ),
                Panel("Overdue", {"{{kind}}": "max by (kind) (dsm_schedule_late_seconds)"}, "s"),
                Panel(
                    "Since one was held",
                    {"{{kind}}": "time() - max by (kind) (dsm_schedule_last_success_timestamp_seconds)"},
                    "s",
                ),
                Panel("Cron jobs of open sprints", {"{{state}}": "max by (state) (dsm_cron_jobs)"}),
            ],
        ),
    ],
)

DASHBOARDS = (OVERVIEW, INSIDE, DECISIONS)


def main(arguments: list[str]) -> int:
    """Writes the dashboards, or tells with --check whether they are up to date; returns the exit code."""
    return made.run(__doc__, arguments, fresh, "make docs")


def fresh() -> dict[Path, str]:
    """The files as they should be."""
    return {FOLDER / f"{dashboard.uid}.json": text(dashboard) for dashboard in DASHBOARDS}


def text(dashboard: Dashboard) -> str:
    """A dashboard as Grafana imports and provisions it."""
    return json.dumps(_dashboard(dashboard), indent=1) + "\n"


def _dashboard(dashboard: Dashboard) -> dict[str, Any]:
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["dsm"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "annotations": {"list": []},
        "links": [{"type": "dashboards", "title": "DSM", "tags": ["dsm"], "asDropdown": True, "includeVars": True}],
        "templating": {"list": _variables()},
        "panels": _panels(dashboard.rows),
    }


def _variables() -> list[dict[str, Any]]:
    datasource = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    service = {
        "name": "service",
        "label": "Service",
        "type": "query",
        "datasource": DATASOURCE,
        "query": {"query": "label_values(dsm_ready, service)", "refId": "service"},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "current": {"text": ["All"], "value": ["$__all"]},
    }
    return [datasource, service]


def _panels(rows: Sequence[Row]) -> list[dict[str, Any]]:
    numbers, found, y = itertools.count(1), [], 0
    for row in rows:
        place = {"x": 0, "y": y, "w": COLUMNS, "h": 1}
        found.append(
            {"id": next(numbers), "type": "row", "title": row.title, "collapsed": False, "gridPos": place, "panels": []}
        )
        x, y, height = 0, y + 1, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, height = 0, y + height, 0
            found.append(_panel(panel, next(numbers), x, y))
            x, height = x + panel.width, max(height, panel.height)
        y += height
    return found


def _panel(panel: Panel, number: int, x: int, y: int) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if panel.limit is not None:
        # 0: from the first one on.
        steps.append({"color": "red", "value": panel.limit or 0.001})
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": DATASOURCE,
        "gridPos": {"x": x, "y": y, "w": panel.width, "h": panel.height},
        "fieldConfig": {"defaults": _defaults(panel, steps), "overrides": []},
        "options": _STAT if panel.kind == "stat" else _CURVES,
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "datasource": DATASOURCE,
                "expr": query,
                "legendFormat": legend or panel.title,
                "range": panel.kind != "stat",
                "instant": panel.kind == "stat",
            }
            for index, (legend, query) in enumerate(panel.queries.items())
        ],
    }


def _defaults(panel: Panel, steps: list[dict[str, Any]]) -> dict[str, Any]:
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.kind == "timeseries":
        style = "off" if panel.limit is None else "line"
        defaults["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 8,
            "showPoints": "never",
            "thresholdsStyle": {"mode": style},
        }
    return defaults


_STAT = {
    "colorMode": "value",
    "graphMode": "area",
    "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
}
_CURVES = {
    "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True, "calcs": []},
    "tooltip": {"mode": "multi", "sort": "desc"},
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
