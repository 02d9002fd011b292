"""What is seen of a project before a decision."""

from dataclasses import replace
from datetime import date

import pytest

from services.orchestrator.domain.situation import (
    ClosedSprint,
    OpenSprint,
    Trend,
    Velocity,
    analyze,
    capacity_of,
    patterns_of,
)
from tests.unit.orchestrator.situations import TODAY, observation, open_sprint


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
