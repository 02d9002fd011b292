"""Progress of tasks, and impediments that block them."""

from datetime import date

import pytest

from services.sprint.domain import progress
from services.sprint.domain.progress import ImpedimentState
from services.sprint.domain.sprint import DateOutOfRange, TaskState
from tests.unit.sprint.sprints import MONDAY, NOW, make_impediment, make_sprint, make_task


@pytest.mark.parametrize(
    ("before", "percent", "after"),
    [
        (TaskState.ASSIGNED_TO_SPRINT, 0, TaskState.ASSIGNED_TO_SPRINT),
        (TaskState.ASSIGNED_TO_SPRINT, 1, TaskState.IN_PROGRESS),
        (TaskState.ASSIGNED_TO_SPRINT, 100, TaskState.COMPLETED),
        (TaskState.IN_PROGRESS, 0, TaskState.IN_PROGRESS),
        (TaskState.IN_PROGRESS, 100, TaskState.COMPLETED),
        (TaskState.BLOCKED, 0, TaskState.BLOCKED),
        (TaskState.BLOCKED, 40, TaskState.IN_PROGRESS),
        (TaskState.BLOCKED, 100, TaskState.COMPLETED),
    ],
)
def test_progress_moves_the_state(before: TaskState, percent: int, after: TaskState) -> None:
    task = progress.report_progress(make_task(state=before), percent, MONDAY, NOW)
    assert (task.state, task.progress_percent, task.version) == (after, percent, 2)
    assert task.complete_date == (MONDAY if percent == 100 else None)


@pytest.mark.parametrize("percent", [0, 50, 100])
def test_what_is_completed_stays_so(percent: int) -> None:
    with pytest.raises(progress.InvalidTaskTransition) as caught:
        progress.report_progress(make_task(state=TaskState.COMPLETED), percent, MONDAY, NOW)
    assert caught.value.metadata["task_id"] == "P-TASK001"
    assert caught.value.metadata["from"] == "COMPLETED"


@pytest.mark.parametrize("state", [TaskState.IN_PROGRESS, TaskState.BLOCKED])
def test_work_begun_can_be_blocked(state: TaskState) -> None:
    assert progress.block(make_task(state=state), NOW).state is TaskState.BLOCKED


@pytest.mark.parametrize("state", [TaskState.ASSIGNED_TO_SPRINT, TaskState.COMPLETED, TaskState.CANCELLED])
def test_other_work_cannot(state: TaskState) -> None:
    with pytest.raises(progress.InvalidTaskTransition):
        progress.block(make_task(state=state), NOW)


def test_an_impediment_is_resolved_once() -> None:
    resolved = progress.resolve(make_impediment(), "Access granted", MONDAY, NOW)
    assert (resolved.state, resolved.resolve_time) == (ImpedimentState.RESOLVED, NOW)
    assert resolved.resolve_date == MONDAY
    with pytest.raises(progress.ImpedimentResolved):
        progress.resolve(resolved, "", MONDAY, NOW)


@pytest.mark.parametrize(
    ("given_day", "today", "expected"),
    [
        (None, date(2026, 1, 7), date(2026, 1, 7)),
        # Told long after the sprint, without a day: nobody knows.
        (None, date(2026, 5, 1), None),
        (date(2026, 1, 6), date(2026, 5, 1), date(2026, 1, 6)),
        (date(2026, 2, 6), date(2026, 5, 1), date(2026, 2, 6)),
    ],
)
def test_the_day_of_resolving_is_said_or_today_or_not_known(
    given_day: date | None, today: date, expected: date | None
) -> None:
    assert progress.day_of_resolving(given_day, make_impediment(), make_sprint(), today) == expected


@pytest.mark.parametrize("day", [date(2026, 1, 4), date(2026, 1, 8)])
def test_an_impediment_is_not_resolved_before_it_was_raised_or_tomorrow(day: date) -> None:
    with pytest.raises(DateOutOfRange):
        progress.day_of_resolving(day, make_impediment(), make_sprint(), date(2026, 1, 7))


def test_changed_fields_name_what_differs() -> None:
    before = make_task()
    after = progress.report_progress(before, 100, MONDAY, NOW)
    assert progress.changed_fields(before, after) == ["state", "progress_percent", "complete_date"]
