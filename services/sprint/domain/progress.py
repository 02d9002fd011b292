"""Work on a sprint's tasks: progress, impediments, and which state leads to which."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from services.kit.errors import FailedPrecondition, NotFound
from services.sprint.domain.sprint import SprintTask, TaskState

# What a report of a task compares, to say which fields changed.
_FIELDS = ("state", "progress_percent", "complete_date", "assignee_id")


class ImpedimentState(StrEnum):
    """Whether something still blocks."""

    OPEN = "OPEN"
    RESOLVED = "RESOLVED"


@dataclass(frozen=True, slots=True)
class Impediment:
    """Something that blocks a task."""

    impediment_id: str
    project_id: str
    sprint_id: str
    task_id: str
    raised_by: str
    owner_id: str
    text: str
    state: ImpedimentState
    raise_date: date
    raise_time: datetime
    resolve_time: datetime | None = None
    resolution: str = ""


class TaskNotInSprint(NotFound):
    """The task is not in the sprint, or in no open one."""

    reason = "TASK_NOT_IN_SPRINT"

    def __init__(self, task_id: str, sprint_id: str | None = None) -> None:
        super().__init__(f"Task {task_id} is in no open sprint.", task_id=task_id, sprint_id=sprint_id)


class InvalidTaskTransition(FailedPrecondition):
    """A task's state cannot change that way."""

    reason = "INVALID_TASK_TRANSITION"

    def __init__(self, task_id: str, before: TaskState, after: TaskState) -> None:
        # "from" is a word of the language, so the metadata cannot be keywords.
        super().__init__(f"Task {task_id} is {before} and cannot become {after}.", **{"task_id": task_id})
        self.metadata |= {"from": str(before), "to": str(after)}


class ImpedimentNotFound(NotFound):
    """No impediment has this id."""

    reason = "IMPEDIMENT_NOT_FOUND"

    def __init__(self, impediment_id: str) -> None:
        super().__init__(f"There is no impediment {impediment_id}.", impediment_id=impediment_id)


class ImpedimentResolved(FailedPrecondition):
    """The impediment is out of the way already."""

    reason = "IMPEDIMENT_RESOLVED"

    def __init__(self, impediment_id: str) -> None:
        super().__init__(f"Impediment {impediment_id} is resolved already.", impediment_id=impediment_id)


def report_progress(task: SprintTask, percent: int, day: date, now: datetime) -> SprintTask:
    """The task after work was reported: above 0 IN_PROGRESS, at 100 COMPLETED on `day`, at 0 as it was.

    Any report but one of 0 unblocks. InvalidTaskTransition for a task that is completed.
    """
    if task.state is TaskState.COMPLETED:
        raise InvalidTaskTransition(task.task_id, task.state, _state_at(percent, task.state))
    return replace(
        task,
        state=_state_at(percent, task.state),
        progress_percent=percent,
        complete_date=day if percent == 100 else None,
        version=task.version + 1,
        update_time=now,
    )


def block(task: SprintTask, now: datetime) -> SprintTask:
    """The task with something in its way; InvalidTaskTransition unless it is begun and not completed."""
    if task.state not in (TaskState.IN_PROGRESS, TaskState.BLOCKED):
        raise InvalidTaskTransition(task.task_id, task.state, TaskState.BLOCKED)
    return replace(task, state=TaskState.BLOCKED, version=task.version + 1, update_time=now)


def unblock(task: SprintTask, now: datetime) -> SprintTask:
    """The task with nothing in its way any more."""
    return replace(task, state=TaskState.IN_PROGRESS, version=task.version + 1, update_time=now)


def resolve(impediment: Impediment, resolution: str, now: datetime) -> Impediment:
    """The impediment out of the way; ImpedimentResolved if it was already."""
    if impediment.state is ImpedimentState.RESOLVED:
        raise ImpedimentResolved(impediment.impediment_id)
    return replace(impediment, state=ImpedimentState.RESOLVED, resolve_time=now, resolution=resolution)


def changed_fields(before: SprintTask, after: SprintTask) -> list[str]:
    """Names of the fields in which two states of a task differ."""
    return [name for name in _FIELDS if getattr(before, name) != getattr(after, name)]


def _state_at(percent: int, before: TaskState) -> TaskState:
    if percent == 100:
        return TaskState.COMPLETED
    return TaskState.IN_PROGRESS if percent else before
