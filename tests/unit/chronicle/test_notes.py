"""Notes that callers record: action items, plannings, reports, and how a sprint ended."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from services.chronicle.domain.notes import (
    ActionItem,
    ActionItemChange,
    ActionItemState,
    PlannedTask,
    PlanningNote,
    RetrospectiveTask,
    ScrumPerson,
    ScrumReport,
    ScrumTask,
    check_planning,
    check_report,
    completion_rate,
    statistics_of,
    update_action_item,
)
from services.kit.errors import InvalidArgument

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ITEM = ActionItem("a", "Write tests", ActionItemState.OPEN, "E001", "", NOW)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (ActionItemChange(), ITEM),
        (ActionItemChange(ActionItemState.OPEN, "E001", "Write tests"), ITEM),
        (
            ActionItemChange(ActionItemState.DONE),
            replace(ITEM, state=ActionItemState.DONE, update_time=LATER, version=2),
        ),
        (ActionItemChange(owner_id=""), replace(ITEM, owner_id="", version=2)),
        (ActionItemChange(description="Write more tests"), replace(ITEM, description="Write more tests", version=2)),
    ],
)
def test_an_action_item_changes_as_far_as_asked(change: ActionItemChange, expected: ActionItem) -> None:
    assert update_action_item(ITEM, change, LATER) == expected


def _planning(start: date, end: date, *task_ids: str) -> PlanningNote:
    tasks = tuple(PlannedTask(task_id, "", "", None) for task_id in task_ids)
    return PlanningNote("n", "P-S01", "P", "", "", start, end, 2, 0, NOW, tasks)


@pytest.mark.parametrize(
    ("start", "end", "task_ids", "field"),
    [
        (date(2026, 1, 5), date(2026, 1, 4), (), "planning_note.end_date"),
        (date(2026, 1, 5), date(2026, 1, 18), ("T1", "T2", "T1"), "planning_note.planned_tasks[2].task_id"),
    ],
)
def test_a_planning_note_that_contradicts_itself_is_refused(
    start: date, end: date, task_ids: tuple[str, ...], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_planning(_planning(start, end, *task_ids))
    assert refused.value.metadata["field"] == field


def test_a_person_and_a_task_of_a_person_are_in_a_report_once() -> None:
    task = ScrumTask("T1", "", "", "", "", 0, None)
    figures = (0, 0, 0, 0, 0, 0.0, 0.0)
    for people, field in [
        ((ScrumPerson("E1", False, ()), ScrumPerson("E1", False, ())), "report.reports[1].employee_id"),
        ((ScrumPerson("E1", False, (task, task)),), "report.reports[0].tasks[1].task_id"),
    ]:
        report = ScrumReport("r", "P", "P-S01", date(2026, 1, 5), "", False, *figures, NOW, people)
        with pytest.raises(InvalidArgument) as refused:
            check_report(report)
        assert refused.value.metadata["field"] == field


@pytest.mark.parametrize(("completed", "released", "rate"), [(0, 0, None), (3, 0, 1.0), (3, 1, 0.75), (0, 2, 0.0)])
def test_the_completion_rate_leaves_out_what_was_neither(completed: int, released: int, rate: float | None) -> None:
    assert completion_rate(completed, released) == rate


def test_the_tasks_of_a_sprint_tell_how_it_ended() -> None:
    ends = [("COMPLETED", 3.0), ("COMPLETED", None), ("IN_PROGRESS", 2.0), ("CANCELLED", 5.0)]
    tasks = [RetrospectiveTask(str(n), "", status, "", 0, points) for n, (status, points) in enumerate(ends)]
    found = statistics_of(tasks)
    assert found is not None
    assert (found.completed_tasks, found.completed_points) == (2, 3.0)
    assert (found.released_tasks, found.released_points, found.removed_tasks) == (1, 2.0, 1)
    assert found.planned_tasks is None
    assert found.completion_rate == pytest.approx(2 / 3)
    assert statistics_of([]) is None
