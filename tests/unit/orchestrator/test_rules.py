"""The rules of the documents: whether a sprint starts, with how many tasks, for how long."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.domain.decision import decide_rule_based
from services.orchestrator.domain.situation import Analysis, Options, SprintState
from tests.unit.orchestrator.situations import TODAY, analysis


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
