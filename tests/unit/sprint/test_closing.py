"""Closing: what becomes of tasks, the figures, and the lessons of the retrospective."""

import re
from datetime import date
from decimal import Decimal

import pytest

from services.sprint.domain import closing
from services.sprint.domain.progress import Impediment, ImpedimentState
from services.sprint.domain.sprint import Outcome, SprintState, SprintTask, TaskState
from tests.unit.sprint.sprints import MONDAY, NOW, make_impediment, make_sprint, make_task


def end(tasks: list[SprintTask], *impediments: Impediment, before: Decimal | None = None) -> closing.Ending:
    return closing.close(make_sprint(), tasks, impediments, [], before, close_date=date(2026, 1, 18), now=NOW)


def test_unfinished_tasks_are_released() -> None:
    ending = end([make_task(1, state=TaskState.COMPLETED), make_task(2, state=TaskState.BLOCKED)])
    assert ending.sprint.state is SprintState.CLOSED_WITH_PENDING_TASKS
    assert [t.outcome for t in ending.ended] == [Outcome.COMPLETED, Outcome.RELEASED]
    assert ending.released[0].state is TaskState.UNASSIGNED


def test_a_sprint_with_everything_done_is_completed() -> None:
    ending = end([make_task(1, state=TaskState.COMPLETED), make_task(2, outcome=Outcome.REMOVED)])
    assert ending.sprint.state is SprintState.COMPLETED
    assert ending.sprint.statistics
    assert ending.sprint.statistics.completion_rate == 1


def test_figures_are_what_happened() -> None:
    solved = make_impediment(impediment_id="2", state=ImpedimentState.RESOLVED, resolve_time=NOW)
    tasks = [make_task(1, state=TaskState.COMPLETED), make_task(2, points=Decimal(3)), make_task(3, points=None)]
    figures = end(tasks, make_impediment(), solved).sprint.statistics
    assert figures
    assert (figures.completed_tasks, figures.completed_points) == (1, Decimal(5))
    assert (figures.released_tasks, figures.released_points) == (2, Decimal(3))
    assert figures.completion_rate == Decimal("0.3333")
    assert figures.points_per_person_day == Decimal("0.25")
    assert (figures.impediments_raised, figures.impediments_resolved) == (2, 1)
    assert (figures.team_size, figures.working_days) == (2, 10)


def test_an_empty_sprint_has_no_rates_that_cannot_be_known() -> None:
    figures = closing.statistics(make_sprint(capacity_person_days=Decimal(0)), [], [], [], [])
    assert figures.completion_rate is None
    assert figures.points_per_person_day is None


def test_lessons_come_from_the_sprint_itself() -> None:
    missed = make_task(2, state=TaskState.IN_PROGRESS, progress_percent=40, points=Decimal(8))
    tasks = [make_task(1, state=TaskState.COMPLETED, complete_date=MONDAY), missed, make_task(3)]
    solved = make_impediment(impediment_id="2", state=ImpedimentState.RESOLVED, resolve_time=NOW)
    lessons = end(tasks, make_impediment(), solved, before=Decimal("0.2")).lessons
    assert any("1 of 3 tasks" in text for text in lessons.well)
    assert any("Pace rose" in text for text in lessons.well)
    assert any("1 of 2 impediments" in text for text in lessons.well)
    assert any("P-TASK002" in text and "not completed" in text for text in lessons.improve)
    assert any("never begun: P-TASK003" in text for text in lessons.improve)
    blocked, pace, split = lessons.actions
    assert (blocked.impediment_id, blocked.owner_id) == ("1", "E2")
    assert "0.25 points per person-day" in pace.description
    assert "P-TASK002" in split.description


@pytest.mark.parametrize(
    ("days", "said"),
    [
        # Raised on Monday: over a weekend, five working days later.
        ([date(2026, 1, 12)], "after 5 working days on average."),
        ([date(2026, 1, 6), date(2026, 1, 7), date(2026, 1, 7)], "after 1.67 working days on average."),
        ([MONDAY], "resolved, on the day that they were raised."),
        ([None], "1 of 1 impediment resolved."),
        ([date(2026, 1, 6), None], "after 1 working day on average of the 1 whose days are known."),
        # The sprint's calendar does not reach there.
        ([date(2026, 2, 6)], "1 of 1 impediment resolved."),
    ],
)
def test_impediments_lasted_as_many_working_days_as_are_known(days: list[date | None], said: str) -> None:
    blocks = [make_impediment(state=ImpedimentState.RESOLVED, resolve_time=NOW, resolve_date=day) for day in days]
    lessons = end([make_task(state=TaskState.COMPLETED)], *blocks).lessons
    assert any(text.endswith(said) for text in lessons.well), lessons.well


def test_figures_are_said_with_two_decimals_at_most() -> None:
    tasks = [make_task(1, state=TaskState.COMPLETED, points=Decimal("4.44")), make_task(2)]
    lessons = end(tasks, before=Decimal("0.12345")).lessons
    said = [*lessons.well, *lessons.improve, *(item.description for item in lessons.actions)]
    assert any("0.22 points per person-day, from 0.12" in text for text in said)
    assert not any(re.search(r"\d\.\d{3}", text) for text in said)


def test_what_blocked_a_task_that_went_out_is_no_action() -> None:
    tasks = [make_task(1, outcome=Outcome.CANCELLED, state=TaskState.CANCELLED), make_task(2)]
    lessons = end(tasks, make_impediment()).lessons
    assert not any(item.impediment_id for item in lessons.actions)


def test_nothing_is_said_without_a_figure() -> None:
    lessons = end([]).lessons
    assert lessons == closing.Lessons((), (), ())


def test_work_that_piles_up_at_the_end_is_noticed() -> None:
    late = [make_task(n, state=TaskState.COMPLETED, complete_date=date(2026, 1, 16)) for n in (1, 2)]
    assert any("last fifth" in text for text in end(late).lessons.improve)
    early = [make_task(n, state=TaskState.COMPLETED, complete_date=MONDAY) for n in (1, 2)]
    assert not end(early).lessons.improve
