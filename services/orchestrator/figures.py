"""What the orchestrator counts for Prometheus: decisions, what was done, schedules, reviews, and what waits."""

import itertools
import time

from dsm.orchestrator.v1.orchestrator_service_pb2 import EvolveStrategiesResponse
from prometheus_client import Counter, Gauge, Histogram

from services.kit.events.measures import Measures
from services.orchestrator.domain.action import ActionState
from services.orchestrator.domain.episode import Record
from services.orchestrator.domain.schedule import CronJobState, RunEnd, RunOutcome

SCRUM, ORCHESTRATION = "daily_scrum", "orchestration"

DECISIONS = Counter(
    "dsm_decisions", "Decisions stored: made by rules alone, or adjusted by what is known.", ["mode", "outcome"]
)
DECISION_SECONDS = Histogram(
    "dsm_decision_seconds",
    "Time from the call to the stored decision.",
    ["mode"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
DEGRADED = Counter("dsm_decisions_degraded", "Decisions made without something that they look at.", ["missing"])
ACTIONS = Counter("dsm_actions", "Actions of decisions, each time that one was tried.", ["kind", "state"])
SCHEDULED_RUNS = Counter("dsm_schedule_runs", "Runs by schedule that this process began.", ["kind", "outcome"])
SCHEDULED_SUCCESS = Gauge(
    "dsm_schedule_last_success_timestamp_seconds", "When the last run by schedule was held in this process.", ["kind"]
)
SCHEDULE_LATE = Gauge(
    "dsm_schedule_late_seconds", "For how long the most overdue run has been due.", ["service", "kind"]
)
CRON_JOBS = Gauge("dsm_cron_jobs", "Daily scrums by schedule, of open sprints.", ["service", "state"])
EPISODES_WAITING = Gauge("dsm_episodes_waiting", "Episodes that are not embedded yet.", ["service"])
ADVISORIES = Counter("dsm_advisories", "Reviews that were asked for.", ["outcome"])
ADVISORY_SECONDS = Histogram(
    "dsm_advisory_seconds", "Time that the model took for a review.", buckets=(0.5, 1, 2.5, 5, 10, 20, 30, 60, 120)
)
ADVISORIES_WAITING = Gauge("dsm_advisories_waiting", "Decisions that wait for their review.", ["service"])
STRATEGY_CHANGES = Counter("dsm_strategy_changes", "Strategies learned, changed or retired.", ["change"])

_LATE = """
    SELECT ARRAY[kind], extract(epoch FROM now() - min(next_run_time))::float8 FROM (
        SELECT 'daily_scrum', next_run_time FROM cron_job WHERE next_run_time < now()
        UNION ALL SELECT 'orchestration', next_run_time FROM orchestration_schedule WHERE next_run_time < now()
    ) AS due (kind, next_run_time) GROUP BY kind
"""
_CRON_JOBS = "SELECT ARRAY[state], count(*)::float8 FROM cron_job GROUP BY state"
_EPISODES_WAITING = "SELECT '{}'::text[], count(*)::float8 FROM episode WHERE requires_embedding"
_ADVISORIES_WAITING = "SELECT '{}'::text[], count(*)::float8 FROM decision WHERE advisory_retry_time IS NOT NULL"


def measure(measures: Measures) -> None:
    """Have read what lies in the tables, and let counters begin at 0, so that the first count is an increase."""
    for kind, end in itertools.product((SCRUM, ORCHESTRATION), RunOutcome):
        SCHEDULED_RUNS.labels(kind, end)
    for outcome in ("available", "failed", "given_up"):
        ADVISORIES.labels(outcome)
    for change in ("created", "updated", "retired"):
        STRATEGY_CHANGES.labels(change)
    measures.add(EPISODES_WAITING, _EPISODES_WAITING)
    measures.add(ADVISORIES_WAITING, _ADVISORIES_WAITING)
    measures.add(SCHEDULE_LATE, _LATE, [(SCRUM,), (ORCHESTRATION,)])
    measures.add(CRON_JOBS, _CRON_JOBS, [(state,) for state in CronJobState])


def decided(record: Record, seconds: float) -> None:
    """Count a decision that was stored so many seconds after the call."""
    adjusted = any(adjustment.applied for adjustment in record.adjustments)
    DECISIONS.labels(record.mode, "adjusted" if adjusted else "by_rules").inc()
    DECISION_SECONDS.labels(record.mode).observe(seconds)
    for what in set(record.metadata.degraded):
        DEGRADED.labels(what).inc()


def acted(before: Record, after: Record) -> None:
    """Count what was tried of a decision's actions."""
    for was, now in zip(before.actions, after.actions, strict=True):
        if was.state is ActionState.PENDING and now != was:
            ACTIONS.labels(now.kind, now.state).inc()


def ran(kind: str, end: RunEnd) -> None:
    """Count a run by schedule."""
    SCHEDULED_RUNS.labels(kind, end.outcome).inc()
    if end.outcome is RunOutcome.HELD:
        SCHEDULED_SUCCESS.labels(kind).set(time.time())


def evolved(learned: EvolveStrategiesResponse) -> None:
    """Count what was learned."""
    for change, strategies in (
        ("created", learned.created),
        ("updated", learned.updated),
        ("retired", learned.retired),
    ):
        STRATEGY_CHANGES.labels(change).inc(len(strategies))
