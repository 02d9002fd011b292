"""Tasks outside a sprint: how they move, who owns them, what changed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.backlog.domain.errors import InvalidTaskTransition, TaskOwnedBySprint
from services.backlog.domain.task import Course, TaskState, assigned, changed_fields, moved, revised
from tests.unit.backlog.tasks import NOW, make_task

MOVES = {
    (TaskState.UNASSIGNED, TaskState.IN_PROGRESS),
    (TaskState.UNASSIGNED, TaskState.COMPLETED),
    (TaskState.UNASSIGNED, TaskState.CANCELLED),
    (TaskState.IN_PROGRESS, TaskState.UNASSIGNED),
    (TaskState.IN_PROGRESS, TaskState.COMPLETED),
    (TaskState.IN_PROGRESS, TaskState.CANCELLED),
    (TaskState.COMPLETED, TaskState.UNASSIGNED),
    (TaskState.CANCELLED, TaskState.UNASSIGNED),
}


@pytest.mark.parametrize("source", list(TaskState))
@pytest.mark.parametrize("target", [s for s in TaskState if s not in ("ASSIGNED_TO_SPRINT", "BLOCKED")])
def test_a_task_moves_outside_a_sprint_as_the_table_says(source: TaskState, target: TaskState) -> None:
    task = make_task(course=Course(source))
    if (source, target) in MOVES:
        after = moved(task, target, NOW)
        assert after.course.state is target
        assert after.version == task.version + (2 if target is TaskState.COMPLETED else 1)
    else:
        with pytest.raises(InvalidTaskTransition):
            moved(task, target, NOW)


@pytest.mark.parametrize("target", [TaskState.IN_PROGRESS, TaskState.COMPLETED, TaskState.CANCELLED])
def test_a_sprint_owns_its_tasks(target: TaskState) -> None:
    task = make_task(course=Course(TaskState.IN_PROGRESS, sprint_id="P-S01"))
    with pytest.raises(TaskOwnedBySprint):
        moved(task, target, NOW)
    with pytest.raises(TaskOwnedBySprint):
        assigned(task, "E001", NOW)


def test_changed_fields_are_named() -> None:
    task = make_task()
    content, course = replace(task.content, title="U", tags=("a",)), Course(assignee_id="E1")
    after = revised(task, NOW, content=content, course=course, rank=1)
    assert changed_fields(task, after) == ["title", "tags", "assignee_id", "rank"]
    assert changed_fields(task, revised(task, NOW)) == []
