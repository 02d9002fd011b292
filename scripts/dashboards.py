"""Writes the Grafana dashboards of deploy/grafana from the panels listed here."""

from __future__ import annotations

import sys
from pathlib import Path

from scripts import made
from scripts.grafana import Dashboard, Panel, Row, quantile, rate, stat, text

FOLDER = Path(__file__).resolve().parent.parent / "deploy" / "grafana"
# Methods tell their service by their second part.
_BY_SERVICE = '"service", "$1", "method", "/dsm[.]([a-z]+)[.].*"'
_FAULTS = "UNKNOWN|INTERNAL|DEADLINE_EXCEEDED|UNAVAILABLE|DATA_LOSS|UNIMPLEMENTED|RESOURCE_EXHAUSTED"
_STREAMS = ".*/(Watch.*|Export.*|Import.*)"


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
                stat("Services that take calls", "sum(max by (service) (dsm_ready))", about="Of six."),
                stat("Calls", "sum(rate(dsm_calls_total[$__rate_interval]))", "reqps"),
                stat(
                    "Failing",
                    f'sum(rate(dsm_calls_total{{code=~"{_FAULTS}"}}[$__rate_interval])) '
                    "/ sum(rate(dsm_calls_total[$__rate_interval])) or vector(0)",
                    "percentunit",
                    0.02,
                    "Through no fault of the caller.",
                ),
                stat("Events not published for", "max(dsm_outbox_lag_seconds)", "s", 120),
                stat("Events not applied for", "max(dsm_consumer_lag_seconds)", "s", 300),
                stat("Dead letters", "sum(max by (service, consumer) (dsm_dead_letters_waiting))", limit=0),
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
                        "p50": quantile(0.5, "dsm_call_seconds", matchers=_UNARY),
                        "p95": quantile(0.95, "dsm_call_seconds", matchers=_UNARY),
                        "p99": quantile(0.99, "dsm_call_seconds", matchers=_UNARY),
                    },
                    "s",
                    "Of calls, without streams.",
                ),
            ],
        ),
        Row(
            "Calls by method",
            [
                Panel("Busiest", {"{{method}}": f"topk(10, {rate('dsm_calls_total', 'method', _OF_METHOD)})"}, "reqps"),
                Panel(
                    "Refused and failed",
                    {
                        "{{method}} {{code}}": "topk(10, "
                        + rate(
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
                    {"{{method}}": f"topk(10, {quantile(0.95, 'dsm_call_seconds', 'method', _UNARY)})"},
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
                        "{{service}} to {{callee}}: {{code}}": rate(
                            "dsm_callee_calls_total", "service, callee, code", _OF
                        )
                    },
                    "reqps",
                ),
                Panel(
                    "Duration, p95",
                    {"{{service}} to {{callee}}": quantile(0.95, "dsm_callee_seconds", "service, callee", _OF)},
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
                Panel("Published", {"{{service}}": rate("dsm_events_published_total", "service", _OF)}, "ops"),
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
                        "{{consumer}}": rate("dsm_events_applied_total", "consumer", _OF),
                        "{{consumer}}, again": rate("dsm_events_repeated_total", "consumer", _OF),
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
                    "Time of a batch, p95", {"{{consumer}}": quantile(0.95, "dsm_apply_seconds", "consumer", _OF)}, "s"
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
                    {"{{kind}} {{outcome}}": rate("dsm_sagas_total", "kind, outcome", _OF)},
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
                Panel("Spans", {"{{outcome}}": rate("dsm_spans_total", "outcome")}, "ops"),
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
                Panel("Made", {"{{mode}} {{outcome}}": rate("dsm_decisions_total", "mode, outcome")}, "ops"),
                Panel(
                    "Time until stored",
                    {
                        "{{mode}} p50": quantile(0.5, "dsm_decision_seconds", "mode"),
                        "{{mode}} p95": quantile(0.95, "dsm_decision_seconds", "mode"),
                    },
                    "s",
                    "The documents promise a p95 below half a second.",
                    limit=0.5,
                ),
                Panel("Made without", {"{{missing}}": rate("dsm_decisions_degraded_total", "missing")}, "ops"),
                Panel("Actions", {"{{kind}} {{state}}": rate("dsm_actions_total", "kind, state")}, "ops"),
                Panel("Strategies", {"{{change}}": "sum by (change) (increase(dsm_strategy_changes_total[1h]))"}),
                Panel("Episodes not embedded", {"": "max(dsm_episodes_waiting)"}),
            ],
        ),
        Row(
            "Embeddings",
            [
                Panel("Texts", {"{{backend}} {{model}}": rate("dsm_embedding_texts_total", "backend, model")}, "ops"),
                Panel(
                    "Time of a call",
                    {
                        "{{backend}} p50": quantile(0.5, "dsm_embedding_seconds", "backend"),
                        "{{backend}} p95": quantile(0.95, "dsm_embedding_seconds", "backend"),
                    },
                    "s",
                ),
                Panel(
                    "Calls and failures",
                    {
                        "{{backend}} calls": rate("dsm_embedding_seconds_count", "backend"),
                        "{{backend}} failed": rate("dsm_embedding_backend_errors_total", "backend"),
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
                Panel("Outcomes", {"{{outcome}}": rate("dsm_advisories_total", "outcome")}, "ops"),
                Panel("Time of a review, p95", {"": quantile(0.95, "dsm_advisory_seconds")}, "s"),
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
