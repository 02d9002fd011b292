"""Work on a sprint's tasks: progress, impediments, and which state leads to which."""

from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from services.kit.errors import FailedPrecondition, NotFound
from services.sprint.domain.sprint import DateOutOfRange, Sprint, SprintTask, TaskState, check_not_future

# What a report of a task compares, to say which fields changed.
_FIELDS = ("state", "progress_percent", "complete_date", "assignee_id", "outcome")


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
    # None also where it is not known.
    resolve_date: date | None = None
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


def report_progress(
    task: SprintTask, percent: int, day: date, now: datetime, reported: datetime | None = None
) -> SprintTask:
    """The task after work was reported, now or at an earlier time: above 0 IN_PROGRESS, at 100 COMPLETED on `day`.

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
        report_time=reported or now,
    )


def block(task: SprintTask, now: datetime) -> SprintTask:
    """The task with something in its way; InvalidTaskTransition unless it is begun and not completed."""
    if task.state not in (TaskState.IN_PROGRESS, TaskState.BLOCKED):
        raise InvalidTaskTransition(task.task_id, task.state, TaskState.BLOCKED)
    return replace(task, state=TaskState.BLOCKED, version=task.version + 1, update_time=now)


def unblock(task: SprintTask, now: datetime) -> SprintTask:
    """The task with nothing in its way any more."""
    return replace(task, state=TaskState.IN_PROGRESS, version=task.version + 1, update_time=now)


def raised(
    impediment_id: str, task: SprintTask, text: str, raised_by: str, day: date, now: datetime, owner_id: str = ""
) -> Impediment:
    """Something that blocks a task from now on."""
    return Impediment(
        impediment_id=impediment_id,
        project_id=task.project_id,
        sprint_id=task.sprint_id,
        task_id=task.task_id,
        raised_by=raised_by,
        owner_id=owner_id,
        text=text,
        state=ImpedimentState.OPEN,
        raise_date=day,
        raise_time=now,
    )


def resolve(impediment: Impediment, resolution: str, day: date | None, now: datetime) -> Impediment:
    """The impediment out of the way since a day, None = not known; ImpedimentResolved if it was already."""
    if impediment.state is ImpedimentState.RESOLVED:
        raise ImpedimentResolved(impediment.impediment_id)
    state = ImpedimentState.RESOLVED
    return replace(impediment, state=state, resolve_time=now, resolve_date=day, resolution=resolution)


def day_of_resolving(given: date | None, impediment: Impediment, sprint: Sprint, today: date) -> date | None:
    """The day that an impediment was resolved on: as given, else today; not known if the sprint's last day is past.

    DateOutOfRange if it is before the day that it was raised on, or in the future.
    """
    if given is None:
        # Whoever tells history without dates must not be taken to have resolved it only now.
        return max(today, impediment.raise_date) if today <= sprint.end_date else None
    if given < impediment.raise_date:
        raise DateOutOfRange("resolve_date", f"must not be before it was raised, {impediment.raise_date}", given)
    check_not_future(given, today, "resolve_date")
    return given


def changed_fields(before: SprintTask, after: SprintTask) -> list[str]:
    """Names of the fields in which two states of a task differ."""
    return [name for name in _FIELDS if getattr(before, name) != getattr(after, name)]


def _state_at(percent: int, before: TaskState) -> TaskState:
    if percent == 100:
        return TaskState.COMPLETED
    return TaskState.IN_PROGRESS if percent else before
