"""Situations that decisions are made in, and the record of one."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from services.orchestrator.domain.action import plan
from services.orchestrator.domain.adjustment import confidence_of
from services.orchestrator.domain.decision import Decision, DecisionMode, decide_rule_based
from services.orchestrator.domain.episode import Metadata, Record
from services.orchestrator.domain.situation import (
    Analysis,
    Backlog,
    Membership,
    Observation,
    OpenSprint,
    Options,
    OrchestrateAction,
    Patterns,
    SprintState,
    Trend,
    Velocity,
)

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
TODAY = date(2026, 3, 2)
ACT = OrchestrateAction.ANALYZE_AND_ORCHESTRATE


def analysis(unassigned: int = 8, team: int = 5, **more: object) -> Analysis:
    base = Analysis(
        as_of_date=TODAY,
        team_size=team,
        backlog_tasks=unassigned,
        unassigned_tasks=unassigned,
        unassigned_points=20.0,
        capacity_person_days=40.0,
    )
    return replace(base, **more)  # type: ignore[arg-type]


def open_sprint(total: int = 4, completed: int = 1, end: date = date(2026, 3, 8)) -> OpenSprint:
    return OpenSprint(
        "P-S01", "Sprint 1", SprintState.IN_PROGRESS, date(2026, 2, 23), end, "UTC", total, completed, blocked_tasks=0
    )


def observation(sprint: OpenSprint | None = None, unassigned: int = 8) -> Observation:
    team = (Membership(date(2026, 1, 1), None), Membership(date(2026, 1, 1), date(2026, 3, 1)))
    capacity = {date(2026, 3, 2) + timedelta(days=day): 1.5 for day in range(5)}
    backlog = Backlog(total=12, unassigned=unassigned, in_progress=2, completed=2, unassigned_points=13)
    return Observation("P", TODAY, team, backlog, sprint, capacity, Velocity())


FINISHED = analysis(
    active_sprint_id="P-S01",
    active_sprint_state=SprintState.IN_PROGRESS,
    active_sprint_finished=True,
    active_sprint_pending=1,
)
RULES = decide_rule_based(analysis(), Options())
HISTORY = Patterns(
    closed_sprints=4,
    duration_days=14,
    completed_tasks=6,
    completion_rate=0.75,
    trend=Trend.FALLING,
    points_per_person_day=None,
)


def record(seen: Analysis, options: Options | None = None, final: Decision | None = None) -> Record:
    options = options or Options()
    rules = decide_rule_based(seen, options)
    decision_id = UUID(int=1)
    return Record(
        decision_id=decision_id,
        project_id="P",
        decision_time=NOW,
        mode=DecisionMode.INTELLIGENCE_ENHANCED,
        asked=ACT,
        options=options,
        analysis=seen,
        rule_based=rules,
        final=final or rules,
        adjustments=(),
        confidence=confidence_of((), 0.75),
        actions=plan(decision_id, final or rules, options, ACT, NOW),
        metadata=Metadata(),
    )
