"""A task's course in a sprint: what the sprint reports, releases and gives back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backlog.domain.course import Release, Report, closed, followed, newest, released, unreserved
from services.backlog.domain.task import Course, TaskState
from tests.unit.backlog.tasks import NOW, make_task


def _report(version: int, state: TaskState = TaskState.IN_PROGRESS, *, left: bool = False) -> Report:
    return Report("P-TASK001", "P-S01", version, state, "E1", version % 101, left, NOW)


@given(st.permutations(range(1, 8)))
def test_reports_end_the_same_in_any_order(order: list[int]) -> None:
    task = make_task(course=Course(TaskState.ASSIGNED_TO_SPRINT, sprint_id="P-S01"))
    for version in order:
        changes = followed({task.task_id: task}, [_report(version)], NOW)
        task = changes[0][1] if changes else task
    assert task.course.sprint_version == 7
    assert task.course.progress_percent == 7
    assert newest([_report(v) for v in order]) == [_report(7)]


@pytest.mark.parametrize("state", list(TaskState))
@pytest.mark.parametrize("left", [True, False])
def test_what_a_report_makes_can_be_stored(state: TaskState, left: bool) -> None:
    """The table's own check: states of sprints are in one, and an unassigned task is in none."""
    task = make_task()
    [(_, after)] = followed({task.task_id: task}, [_report(1, state, left=left)], NOW)
    assert after.course.state is not TaskState.UNASSIGNED or not after.course.sprint_id
    if after.course.state in (TaskState.ASSIGNED_TO_SPRINT, TaskState.BLOCKED):
        assert after.course.sprint_id
    assert (after.course.complete_time is not None) == (after.course.state is TaskState.COMPLETED)


def test_a_sprint_that_is_over_holds_nothing() -> None:
    tasks = [make_task(n, course=Course(s, "E1", "P-S01", 50, 3)) for n, s in enumerate(TaskState, 1) if n > 1]
    for _, after in closed(tasks, {}, NOW):
        assert after.course.sprint_id == ""
        assert after.course.state in (TaskState.UNASSIGNED, TaskState.COMPLETED, TaskState.CANCELLED)


def test_a_release_goes_by_sprint_and_version() -> None:
    task = make_task(course=Course(TaskState.IN_PROGRESS, "E1", "P-S01", 50, 3))
    tasks = {task.task_id: task}
    for sprint_id, version, changes in (("P-S01", 4, 1), ("P-S01", 3, 1), ("P-S01", 2, 0), ("P-S02", 4, 0)):
        releases = [Release(task.task_id, version)]
        assert len(released(tasks, sprint_id, releases, NOW, roll_over=False)) == changes


def test_what_rolls_over_goes_above_all_in_order() -> None:
    tasks = {t.task_id: t for t in (make_task(n, course=Course(TaskState.IN_PROGRESS, "", "P-S01")) for n in (3, 1, 2))}
    releases = [Release(task_id, 1, "E1", 40) for task_id in tasks]
    changes = released(tasks, "P-S01", releases, NOW, roll_over=True, top_rank=-5)
    assert [after.number for _, after in changes] == [1, 2, 3]
    ranks = [after.rank for _, after in changes]
    assert ranks == sorted(ranks)
    assert ranks[-1] < -5
    assert {(a.course.assignee_id, a.course.progress_percent) for _, a in changes} == {("E1", 40)}


def test_an_undone_planning_gives_back_what_was() -> None:
    task = make_task(course=Course(TaskState.ASSIGNED_TO_SPRINT, "E9", "P-S01", 0))
    [(_, after)] = unreserved([task], {task.task_id: Release(task.task_id, 0, "E1", 30)}, NOW)
    assert after.course == Course(TaskState.UNASSIGNED, "E1", "", 30)
