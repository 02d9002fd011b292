"""The orchestrator's thinking: rules, gate, actions, episodes and outlook."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import Aborted, DependencyUnavailable, NotFound
from services.orchestrator.domain.action import (
    RETRY_FOR,
    Action,
    ActionKind,
    ActionState,
    failed,
    next_pending,
    plan,
    settle,
)
from services.orchestrator.domain.adjustment import confidence_of
from services.orchestrator.domain.decision import (
    Decision,
    DecisionMode,
    decide_rule_based,
)
from services.orchestrator.domain.episode import Metadata, Record, assess, remember, revise
from services.orchestrator.domain.errors import DateOutOfRange, ScheduleInvalid
from services.orchestrator.domain.outlook import predict
from services.orchestrator.domain.situation import (
    Analysis,
    Backlog,
    ClosedSprint,
    Membership,
    Observation,
    OpenSprint,
    Options,
    OrchestrateAction,
    SprintState,
    Trend,
    Velocity,
    analyze,
    capacity_of,
    check_options,
    patterns_of,
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


# --- the rules --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("unassigned", "team", "asked_weeks", "max_tasks", "tasks", "weeks"),
    [
        (8, 5, 2, 10, 8, 2),
        (8, 5, 0, 0, 8, 2),
        (10, 5, 0, 0, 10, 2),
        (11, 5, 0, 0, 10, 3),
        (1, 5, 0, 0, 1, 1),
        (500, 5, 0, 0, 10, 6),
        (500, 1, 0, 40, 40, 6),
        (3, 1, 6, 2, 2, 6),
    ],
)
def test_the_rule_of_the_documents(
    unassigned: int, team: int, asked_weeks: int, max_tasks: int, tasks: int, weeks: int
) -> None:
    options = Options(sprint_duration_weeks=asked_weeks, max_tasks_per_sprint=max_tasks)
    decision = decide_rule_based(analysis(unassigned, team), options)
    assert (decision.create_new_sprint, decision.tasks_to_assign, decision.sprint_duration_weeks) == (
        True,
        tasks,
        weeks,
    )
    assert decision.start_date == TODAY
    assert decision.schedule_daily_scrum


@pytest.mark.parametrize(
    "seen",
    [
        analysis(unassigned=0),
        analysis(team=0),
        analysis(active_sprint_id="P-S01", active_sprint_state=SprintState.IN_PROGRESS, active_sprint_pending=2),
        analysis(active_sprint_id="P-S01", active_sprint_state=SprintState.CLOSING, active_sprint_finished=True),
        analysis(active_sprint_id="P-S01", active_sprint_state=SprintState.PLANNING, active_sprint_finished=True),
    ],
)
def test_no_sprint_is_started_without_need_or_chance(seen: Analysis) -> None:
    decision = decide_rule_based(seen, Options())
    assert not decision.create_new_sprint
    assert (decision.tasks_to_assign, decision.sprint_duration_weeks, decision.start_date) == (0, 0, None)
    assert decision.close_sprint_id == ""
    assert decision.reasoning


def test_a_finished_sprint_is_closed_and_its_tasks_count() -> None:
    seen = analysis(
        unassigned=2,
        active_sprint_id="P-S01",
        active_sprint_state=SprintState.IN_PROGRESS,
        active_sprint_finished=True,
        active_sprint_pending=3,
    )
    decision = decide_rule_based(seen, Options())
    assert decision.close_sprint_id == "P-S01"
    assert decision.create_new_sprint
    assert decision.tasks_to_assign == 5


@given(
    st.integers(0, 10_000),
    st.integers(0, 200),
    st.integers(0, 6),
    st.integers(0, 5000),
    st.booleans(),
    st.integers(0, 50),
)
def test_every_rule_based_decision_is_within_its_limits(
    unassigned: int, team: int, weeks: int, max_tasks: int, finished: bool, pending: int
) -> None:
    seen = analysis(
        unassigned,
        team,
        active_sprint_id="P-S01",
        active_sprint_state=SprintState.IN_PROGRESS,
        active_sprint_finished=finished,
        active_sprint_pending=pending,
    )
    decision = decide_rule_based(seen, Options(sprint_duration_weeks=weeks, max_tasks_per_sprint=max_tasks))
    assert decision.create_new_sprint == (finished and team > 0 and unassigned + pending > 0)
    if decision.create_new_sprint:
        assert 1 <= decision.tasks_to_assign <= min(unassigned + pending, max_tasks or 10)
        assert 1 <= decision.sprint_duration_weeks <= 6


# --- the situation ----------------------------------------------------------------------------


def test_only_who_is_on_the_team_today_counts() -> None:
    found = analyze(observation())
    assert (found.team_size, found.backlog_tasks, found.unassigned_tasks) == (1, 10, 8)
    assert found.active_sprint_id == ""


@pytest.mark.parametrize(
    ("sprint", "finished"),
    [
        (open_sprint(), False),
        (open_sprint(completed=4), True),
        (open_sprint(total=0, completed=0), False),
        (open_sprint(end=date(2026, 3, 2)), False),
        (open_sprint(end=date(2026, 3, 1)), True),
    ],
)
def test_a_sprint_is_finished_when_all_is_done_or_its_last_day_has_passed(sprint: OpenSprint, finished: bool) -> None:
    found = analyze(observation(sprint))
    assert found.active_sprint_finished == finished
    assert bool(found.closable_sprint_id) == finished


def test_capacity_is_summed_over_the_days_of_the_sprint() -> None:
    seen = observation()
    assert capacity_of(seen, date(2026, 3, 4), 1) == 4.5
    assert capacity_of(seen, None, 0) is None
    assert capacity_of(replace(seen, capacity_by_day=None), TODAY, 2) is None


def test_patterns_are_means_of_the_closed_sprints() -> None:
    sprints = (
        ClosedSprint("P-S01", date(2026, 1, 5), date(2026, 1, 18), 8, 20, 0.8),
        ClosedSprint("P-S02", date(2026, 1, 19), date(2026, 1, 25), 4, 10, None),
    )
    found = patterns_of(Velocity(sprints, Trend.STABLE, 0.5))
    assert found is not None
    assert (found.closed_sprints, found.duration_days, found.completed_tasks) == (2, 10.5, 6)
    assert found.completion_rate == 0.8
    assert patterns_of(Velocity()) is None


def test_a_day_to_come_cannot_count_as_today() -> None:
    assert check_options(Options(as_of_date=date(2026, 3, 1)), TODAY) == date(2026, 3, 1)
    assert check_options(Options(), TODAY) == TODAY
    with pytest.raises(DateOutOfRange) as caught:
        check_options(Options(as_of_date=date(2026, 3, 3)), TODAY)
    assert caught.value.metadata["field"] == "options.as_of_date"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("0 14 * * 1-5", True),
        ("*/15 8-17/2 1,15 JAN-jun mon-FRI", True),
        ("0 0 31 12 7", True),
        ("0 14 * *", False),
        ("60 14 * * *", False),
        ("0 24 * * *", False),
        ("0 14 0 * *", False),
        ("0 14 * 13 *", False),
        ("0 14 * * 8", False),
        ("0 14 * * 5-1", False),
        ("*/0 * * * *", False),
        ("daily", False),
        ("a b c d e", False),
        ("1,,2 * * * *", False),
        ("0 0 30 2 *", False),
        ("0 0 L * *", False),
        ("0 0 LW * *", False),
        ("0 0 * * 5L", False),
        ("0 0 * * MON#2", False),
        ("0 0 0 14 * *", False),
        ("@daily", False),
    ],
)
def test_schedules_are_cron_expressions_of_five_fields(text: str, good: bool) -> None:
    if good:
        assert check_options(Options(schedule=text), TODAY) == TODAY
    else:
        with pytest.raises(ScheduleInvalid):
            check_options(Options(schedule=text), TODAY)


# --- actions ----------------------------------------------------------------------------------

FINISHED = analysis(
    active_sprint_id="P-S01",
    active_sprint_state=SprintState.IN_PROGRESS,
    active_sprint_finished=True,
    active_sprint_pending=1,
)
OPEN = analysis(active_sprint_id="P-S01", active_sprint_state=SprintState.IN_PROGRESS, active_sprint_pending=1)
RULES = decide_rule_based(analysis(), Options())
DONE, SKIPPED, PENDING, FAILED = ActionState.DONE, ActionState.SKIPPED, ActionState.PENDING, ActionState.FAILED


def states(actions: tuple[Action, ...]) -> list[ActionState]:
    return [action.state for action in actions]


@pytest.mark.parametrize(
    ("seen", "options", "asked", "expected"),
    [
        (analysis(), Options(), ACT, [SKIPPED, PENDING, PENDING]),
        (analysis(), Options(create_cronjob=False), ACT, [SKIPPED, PENDING, SKIPPED]),
        (FINISHED, Options(), ACT, [PENDING, PENDING, PENDING]),
        (OPEN, Options(), ACT, [SKIPPED, SKIPPED, PENDING]),
        (FINISHED, Options(close_finished_sprint=False), ACT, [SKIPPED, SKIPPED, SKIPPED]),
        (FINISHED, Options(create_sprint_if_needed=False), ACT, [PENDING, SKIPPED, SKIPPED]),
        (analysis(), Options(assign_tasks=False), ACT, [SKIPPED, SKIPPED, SKIPPED]),
        (FINISHED, Options(dry_run=True), ACT, [SKIPPED, SKIPPED, SKIPPED]),
        (FINISHED, Options(), OrchestrateAction.ANALYZE_ONLY, [SKIPPED, SKIPPED, SKIPPED]),
        (analysis(unassigned=0), Options(), ACT, [SKIPPED, SKIPPED, SKIPPED]),
    ],
)
def test_what_is_done_and_what_is_not(
    seen: Analysis, options: Options, asked: OrchestrateAction, expected: list[ActionState]
) -> None:
    actions = plan(uuid4(), decide_rule_based(seen, options), options, asked, NOW)
    assert states(actions) == expected
    assert all(action.reason for action in actions)


def test_request_ids_derive_from_decision_and_action() -> None:
    decision_id = uuid4()
    first, again = (plan(decision_id, RULES, Options(), ACT, NOW) for _ in range(2))
    assert [a.request_id for a in first] == [a.request_id for a in again]
    assert len({a.request_id for a in first}) == 3
    assert not {a.request_id for a in first} & {a.request_id for a in plan(uuid4(), RULES, Options(), ACT, NOW)}


def test_a_failed_call_is_tried_again_only_while_it_may_succeed() -> None:
    action = plan(uuid4(), RULES, Options(), ACT, NOW)[1]
    away, refused = DependencyUnavailable("sprint", "StartSprint", "open"), NotFound("No.")
    assert failed(action, away, NOW, NOW).state is PENDING
    assert failed(action, Aborted("Again."), NOW, NOW).state is PENDING
    assert failed(action, away, NOW, NOW + RETRY_FOR).state is FAILED
    assert failed(action, refused, NOW, NOW).state is FAILED
    assert failed(action, away, NOW, NOW).error_reason == "DEPENDENCY_UNAVAILABLE"


def test_no_sprint_starts_while_the_finished_one_could_not_be_closed() -> None:
    actions = plan(uuid4(), decide_rule_based(FINISHED, Options()), Options(), ACT, NOW)
    close = next_pending(actions)
    assert close is not None
    assert close.kind is ActionKind.CLOSE_SPRINT
    assert states(settle(actions, replace(close, state=FAILED))) == [FAILED, SKIPPED, SKIPPED]
    assert states(settle(actions, replace(close, state=DONE))) == [DONE, PENDING, PENDING]


def test_a_sprint_that_did_not_start_has_no_daily_scrum() -> None:
    actions = plan(uuid4(), RULES, Options(), ACT, NOW)
    start = next_pending(actions)
    assert start is not None
    assert start.kind is ActionKind.START_SPRINT
    assert states(settle(actions, replace(start, state=FAILED))) == [SKIPPED, FAILED, SKIPPED]


# --- episodes ---------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("found", "quality"),
    [
        (record(analysis()), 1.0),
        (record(analysis(capacity_person_days=None)), 0.9),
        (record(analysis(), Options(dry_run=True)), 0.65),
        (record(analysis(unassigned=0)), 0.5),
        (record(analysis(), final=replace(RULES, tasks_to_assign=9)), 0.8),
    ],
)
def test_quality_is_the_sum_of_what_holds(found: Record, quality: float) -> None:
    score, findings = assess(found)
    assert score == quality
    assert bool(findings) == (quality < 1)


def test_an_episode_of_a_failed_decision_is_kept_and_not_retrieved() -> None:
    found = record(analysis())
    episode = remember(uuid4(), found)
    assert episode.retrievable
    assert found.pending
    start = replace(found.actions[1], state=FAILED)
    revised = revise(episode, found.with_actions(settle(found.actions, start)))
    assert not revised.retrievable
    assert revised.version == episode.version + 1
    assert not revised.record.pending


# --- outlook ----------------------------------------------------------------------------------


def closed(*rates: float | None) -> Velocity:
    days = (date(2026, 1, 5), date(2026, 1, 18))
    return Velocity(tuple(ClosedSprint(f"P-S{n:02}", *days, 5, 5.0, rate) for n, rate in enumerate(rates)))


def test_risk_is_absent_without_enough_data() -> None:
    assert predict(None, None, TODAY) is None
    assert predict(closed(0.9, 0.9, None), open_sprint(), TODAY) is None


def test_risk_follows_failures_lag_and_blocked_tasks() -> None:
    alone = predict(closed(0.9, 0.5, 0.5), None, TODAY)
    assert alone is not None
    assert alone.sprint_failure == alone.overall == pytest.approx(3 / 5)
    # Day 7 of 14, half of the tasks done: no lag; then none done and one of four blocked.
    level = predict(closed(0.9, 0.5, 0.5), open_sprint(completed=2), TODAY)
    late = predict(closed(0.9, 0.5, 0.5), replace(open_sprint(completed=0), blocked_tasks=1), TODAY)
    assert level is not None
    assert late is not None
    assert level.overall == pytest.approx(0.3)
    assert late.overall == pytest.approx(0.3 + 0.3 * 0.5 + 0.2 * 0.25)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=20), st.integers(1, 50), st.data())
def test_risk_is_a_share(rates: list[float], total: int, data: st.DataObject) -> None:
    completed = data.draw(st.integers(0, total))
    sprint = replace(open_sprint(total, completed), blocked_tasks=data.draw(st.integers(0, total - completed)))
    risk = predict(closed(*rates), sprint, TODAY)
    assert risk is not None
    assert 0 <= risk.overall <= 1
    assert 0 < risk.sprint_failure < 1
