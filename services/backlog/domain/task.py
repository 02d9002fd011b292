"""A task: its content, which people write, and its course, which calls and sprints move."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from services.backlog.domain.errors import DependencyCycle, InvalidTaskTransition, TaskNotFound, TaskOwnedBySprint
from services.backlog.domain.recurrence import check_recurrence_rule
from services.kit.errors import InvalidArgument

DEFAULT_TYPE = "Task"
# Room between neighbours in rank, so that a task can be put between two others about twenty times over.
RANK_STEP = 1 << 20

_EMPLOYEE_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*")


class TaskState(StrEnum):
    """Where a task stands."""

    UNASSIGNED = "UNASSIGNED"
    ASSIGNED_TO_SPRINT = "ASSIGNED_TO_SPRINT"
    IN_PROGRESS = "IN_PROGRESS"
    BLOCKED = "BLOCKED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Priority(StrEnum):
    """How soon a task matters."""

    NONE = "NONE"
    LOW = "LOW"
    MEDIUM = "MEDIUM"
    HIGH = "HIGH"
    URGENT = "URGENT"


# How a task may move while it is in no open sprint.
_MOVES_OUTSIDE = {
    TaskState.UNASSIGNED: {TaskState.IN_PROGRESS, TaskState.COMPLETED, TaskState.CANCELLED},
    TaskState.IN_PROGRESS: {TaskState.UNASSIGNED, TaskState.COMPLETED, TaskState.CANCELLED},
    TaskState.COMPLETED: {TaskState.UNASSIGNED},
    TaskState.CANCELLED: {TaskState.UNASSIGNED},
}
# What does in a sprint what was asked for outside one.
_SPRINT_CALLS = {
    TaskState.UNASSIGNED: "RemoveTaskFromSprint",
    TaskState.IN_PROGRESS: "UpdateTaskProgress",
    TaskState.COMPLETED: "UpdateTaskProgress",
    TaskState.CANCELLED: "CancelSprintTask",
}

# Fields that no update can write, and the call that changes them in a sprint.
COURSE_CALLS = {
    "state": "UpdateTaskProgress",
    "progress_percent": "UpdateTaskProgress",
    "assignee_id": "ReassignTask",
    "sprint_id": "RemoveTaskFromSprint",
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where something imported comes from; status and resolution as written there."""

    system: str = ""
    key: str = ""
    url: str = ""
    status: str = ""
    resolution: str = ""
    create_time: datetime | None = None
    resolve_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """What people write. Points None = not estimated."""

    title: str
    description: str = ""
    type: str = DEFAULT_TYPE
    parent_task_id: str = ""
    points: Decimal | None = None
    estimate: timedelta | None = None
    remaining: timedelta | None = None
    priority: Priority = Priority.NONE
    tags: tuple[str, ...] = ()
    due_date: date | None = None
    reminder_offsets: tuple[timedelta, ...] = ()
    recurrence_rule: str = ""
    depends_on: tuple[str, ...] = ()
    custom_fields: Mapping[str, str] = field(default_factory=dict)
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class Course:
    """How the work goes. `sprint_version` is the sprint service's count of the task's changes in sprints."""

    state: TaskState = TaskState.UNASSIGNED
    assignee_id: str = ""
    sprint_id: str = ""
    progress_percent: int = 0
    sprint_version: int = 0
    complete_time: datetime | None = None


@dataclass(frozen=True, slots=True)
class Task:
    """A unit of work of one project. `version` grows with every change, by the number of events that tell of it."""

    task_id: str
    project_id: str
    number: int
    rank: int
    version: int
    create_time: datetime
    update_time: datetime
    content: Content
    course: Course
    story_ids: tuple[str, ...] = ()

    @property
    def place(self) -> tuple[int, int]:
        """Where planning finds it: by rank, ties by number."""
        return self.rank, self.number


def task_id_of(project_id: str, number: int) -> str:
    """The id of a project's task, with at least three digits."""
    return f"{project_id}-TASK{number:03d}"


def new_task(
    project_id: str, number: int, rank: int, content: Content, now: datetime, course: Course | None = None
) -> Task:
    """A task as created."""
    return Task(task_id_of(project_id, number), project_id, number, rank, 1, now, now, content, course or Course())


def revised(
    task: Task,
    now: datetime,
    *,
    content: Content | None = None,
    course: Course | None = None,
    rank: int | None = None,
) -> Task:
    """The task after a change. Completion is told by a second event, which takes a version of its own."""
    course = course or task.course
    return replace(
        task,
        content=content or task.content,
        course=course,
        rank=task.rank if rank is None else rank,
        version=task.version + (2 if is_completion(task.course, course) else 1),
        update_time=now,
    )


def is_completion(before: Course, after: Course) -> bool:
    """True if a change completes the task."""
    return after.state is TaskState.COMPLETED and before.state is not TaskState.COMPLETED


def changed_fields(before: Task, after: Task) -> list[str]:
    """Names of the fields that differ, versions and times of change apart."""
    changed = [f.name for f in fields(Content) if getattr(before.content, f.name) != getattr(after.content, f.name)]
    changed += [f.name for f in fields(Course) if getattr(before.course, f.name) != getattr(after.course, f.name)]
    return changed + ["rank"] * (before.rank != after.rank)


def check_content(content: Content, path: str = "task") -> None:
    """Rules that no field's own rule can tell: InvalidArgument or RecurrenceRuleInvalid naming the field."""
    if not content.title.strip():
        raise InvalidArgument(f"{path}.title", "must be set", content.title)
    if content.recurrence_rule:
        check_recurrence_rule(content.recurrence_rule, f"{path}.recurrence_rule")


def check_references(task_id: str, content: Content) -> None:
    """A task is neither its own parent nor its own dependency."""
    if task_id in (*content.depends_on, content.parent_task_id):
        raise DependencyCycle(task_id, task_id)


def check_assignee_id(employee_id: str, field_name: str = "assignee_id") -> None:
    """Refuse what cannot be an employee's id: events carry it, so it must never be somebody's name."""
    if employee_id and not (len(employee_id) <= 32 and _EMPLOYEE_ID.fullmatch(employee_id)):
        raise InvalidArgument(field_name, "must be an employee's id, as E001", employee_id)


def check_outside(task: Task, use: str) -> None:
    """TaskOwnedBySprint, naming the call to use, while the task is in an open sprint."""
    if task.course.sprint_id:
        raise TaskOwnedBySprint(task.task_id, task.course.sprint_id, use)


def refuse_course(task: Task, names: Sequence[str]) -> None:
    """Refuse an update that names fields of the course: the sprint owns them, or other calls change them."""
    if names:
        check_outside(task, COURSE_CALLS[names[0]])
        raise InvalidArgument("update_mask", "names no field of a task that can be updated", names[0])


def assigned(task: Task, assignee_id: str, now: datetime) -> Task:
    """The task with another assignee; empty = nobody."""
    check_assignee_id(assignee_id)
    check_outside(task, "ReassignTask")
    return revised(task, now, course=replace(task.course, assignee_id=assignee_id))


def moved(task: Task, to: TaskState, now: datetime) -> Task:
    """The task in another state, outside an open sprint; InvalidTaskTransition if it cannot go there."""
    check_outside(task, _SPRINT_CALLS[to])
    if to not in _MOVES_OUTSIDE.get(task.course.state, ()):
        raise InvalidTaskTransition(task.task_id, task.course.state, to)
    course = replace(task.course, state=to, complete_time=None)
    if to is TaskState.COMPLETED:
        course = replace(course, progress_percent=100, complete_time=now)
    if to is TaskState.UNASSIGNED:
        course = replace(course, progress_percent=0)
    return revised(task, now, course=course)


def check_found(task_ids: Iterable[str], found: Collection[str]) -> None:
    """TaskNotFound naming the first id that is not among those found."""
    for task_id in task_ids:
        if task_id not in found:
            raise TaskNotFound(task_id)
