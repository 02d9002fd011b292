"""Tasks and origins between the contract and the domain."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

from dsm.backlog.v1 import task_pb2 as pb
from google.protobuf.duration_pb2 import Duration

from services.backlog.domain.task import COURSE_CALLS, DEFAULT_TYPE, Content, Origin, Priority, Task, TaskState
from services.kit.convert import (
    etag_of,
    from_date,
    from_points,
    from_time,
    masked_paths,
    to_date_or_none,
    to_points,
    to_time,
)

STATES: dict[TaskState, pb.TaskState.ValueType] = {s: pb.TaskState.Value(f"TASK_STATE_{s}") for s in TaskState}
STATE_OF: dict[int, TaskState] = {number: state for state, number in STATES.items()}
PRIORITIES: dict[Priority, pb.Priority.ValueType] = {p: pb.Priority.Value(f"PRIORITY_{p}") for p in Priority}
PRIORITY_OF: dict[int, Priority] = {number: priority for priority, number in PRIORITIES.items()}


def to_points_or_none(task: pb.Task, field: str) -> Decimal | None:
    """Points; None if not estimated."""
    return to_points(task.points, field) if task.HasField("points") else None


def to_origin(origin: pb.Origin) -> Origin | None:
    """An origin; None if nothing is in it."""
    found = Origin(
        origin.system,
        origin.key,
        origin.url,
        origin.status,
        origin.resolution,
        to_time(origin.create_time) if origin.HasField("create_time") else None,
        to_time(origin.resolve_time) if origin.HasField("resolve_time") else None,
    )
    return None if found == Origin() else found


def _span_or_none(task: pb.Task, name: str) -> timedelta | None:
    return getattr(task, name).ToTimedelta() if task.HasField(name) else None  # type: ignore[arg-type]


_READ: dict[str, Callable[[pb.Task, str], Any]] = {
    "title": lambda task, _: task.title,
    "description": lambda task, _: task.description,
    "type": lambda task, _: task.type.strip() or DEFAULT_TYPE,
    "parent_task_id": lambda task, _: task.parent_task_id,
    "points": to_points_or_none,
    "estimate": lambda task, _: _span_or_none(task, "estimate"),
    "remaining": lambda task, _: _span_or_none(task, "remaining"),
    "priority": lambda task, _: PRIORITY_OF.get(task.priority, Priority.NONE),
    "tags": lambda task, _: tuple(task.tags),
    "due_date": lambda task, field: to_date_or_none(task.due_date, field),
    "reminder_offsets": lambda task, _: tuple(offset.ToTimedelta() for offset in task.reminder_offsets),
    "recurrence_rule": lambda task, _: task.recurrence_rule,
    "depends_on": lambda task, _: tuple(task.depends_on),
    "custom_fields": lambda task, _: dict(task.custom_fields),
    "origin": lambda task, _: to_origin(task.origin),
}


def to_content(task: pb.Task, path: str = "task") -> Content:
    """The content of a new task; `path` is where the task is in the request."""
    return Content(**{name: read(task, f"{path}.{name}") for name, read in _READ.items()})


def content_paths(update: Any) -> list[str]:
    """The content fields that an update's mask names."""
    return [path for path in masked_paths(update.update_mask, (*_READ, *COURSE_CALLS), "task") if path in _READ]


def course_paths(update: Any) -> list[str]:
    """The fields of a task's course that an update's mask names, which it must not."""
    return [path for path in update.update_mask.paths if path in COURSE_CALLS]


def masked_content(content: Content, update: Any, path: str = "task") -> Content:
    """The content after an update: what the mask names comes from the request, the rest stays."""
    changes = {name: _READ[name](update.task, f"{path}.{name}") for name in content_paths(update)}
    return replace(content, **changes)


def from_origin(origin: Origin | None) -> pb.Origin | None:
    """An origin as sent; None leaves the field unset."""
    if origin is None:
        return None
    return pb.Origin(
        system=origin.system,
        key=origin.key,
        url=origin.url,
        status=origin.status,
        resolution=origin.resolution,
        create_time=from_time(origin.create_time),
        resolve_time=from_time(origin.resolve_time),
    )


def from_task(task: Task) -> pb.Task:
    """A task as sent."""
    content, course = task.content, task.course
    return pb.Task(
        task_id=task.task_id,
        project_id=task.project_id,
        title=content.title,
        description=content.description,
        type=content.type,
        parent_task_id=content.parent_task_id,
        points=from_points(content.points),
        estimate=_duration(content.estimate),
        remaining=_duration(content.remaining),
        priority=PRIORITIES[content.priority],
        tags=content.tags,
        due_date=from_date(content.due_date),
        reminder_offsets=[_whole_duration(offset) for offset in content.reminder_offsets],
        recurrence_rule=content.recurrence_rule,
        depends_on=content.depends_on,
        custom_fields=content.custom_fields,
        origin=from_origin(content.origin),
        state=STATES[course.state],
        assignee_id=course.assignee_id,
        sprint_id=course.sprint_id,
        progress_percent=course.progress_percent,
        story_ids=task.story_ids,
        rank=task.rank,
        sprint_version=course.sprint_version,
        create_time=from_time(task.create_time),
        update_time=from_time(task.update_time),
        complete_time=from_time(course.complete_time),
        etag=etag_of(task.version),
    )


def _duration(span: timedelta | None) -> Duration | None:
    return None if span is None else _whole_duration(span)


def _whole_duration(span: timedelta) -> Duration:
    duration = Duration()
    duration.FromTimedelta(span)
    return duration
