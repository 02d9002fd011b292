"""Changes of scope: tasks that come into a sprint under way, go out of it, are given up or change hands."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum

from services.kit.errors import Aborted, FailedPrecondition
from services.sprint.domain.planning import Reserved
from services.sprint.domain.progress import InvalidTaskTransition
from services.sprint.domain.sprint import Outcome, Sprint, SprintTask, TaskState


class Scope(StrEnum):
    """How a sprint's scope changed."""

    ADDED = "ADDED"
    REMOVED = "REMOVED"
    ESTIMATED = "ESTIMATED"


@dataclass(frozen=True, slots=True)
class ScopeChange:
    """A task that came in, went out or was estimated anew, and the points that this adds."""

    change_date: date
    kind: Scope
    points: Decimal


class TaskNotAvailable(FailedPrecondition):
    """The task is not free to come into the sprint."""

    reason = "TASK_NOT_AVAILABLE"

    def __init__(self, task_id: str, state: TaskState) -> None:
        super().__init__(f"Task {task_id} is in a sprint already.", task_id=task_id, state=state)


class AssigneeNotOnTeam(FailedPrecondition):
    """The person is not on the project's team in what is left of the sprint."""

    reason = "ASSIGNEE_NOT_ON_TEAM"

    def __init__(self, project_id: str, employee_id: str) -> None:
        super().__init__(
            f"{employee_id} is not on the team of {project_id}.", project_id=project_id, employee_id=employee_id
        )


class ScopeChanging(Aborted):
    """A task is just being added or taken out."""

    def __init__(self, sprint_id: str) -> None:
        super().__init__(f"The scope of {sprint_id} is just being changed: try again.")


def check_on_team(employee_id: str, team: Collection[str], project_id: str) -> None:
    """AssigneeNotOnTeam; nobody is always on the team."""
    if employee_id and employee_id not in team:
        raise AssigneeNotOnTeam(project_id, employee_id)


def joined(
    sprint: Sprint, reserved: Reserved, assignee_id: str, version: int, position: int, day: date, now: datetime
) -> SprintTask:
    """A task that comes into a sprint on a day; without another assignee, whoever has it keeps it.

    `version` is the last one known here; the backlog's memory of it counts too, should it be the newer.
    """
    return SprintTask(
        sprint_id=sprint.sprint_id,
        task_id=reserved.candidate.task_id,
        project_id=sprint.project_id,
        title=reserved.title,
        points=reserved.candidate.points,
        state=TaskState.ASSIGNED_TO_SPRINT,
        assignee_id=assignee_id or reserved.candidate.assignee_id,
        progress_percent=reserved.progress_percent,
        version=max(reserved.version, version) + 1,
        position=position,
        add_date=day,
        complete_date=None,
        outcome=None,
        update_time=now,
        backlog_version=reserved.backlog_version,
    )


def removed(task: SprintTask, now: datetime) -> SprintTask:
    """The task taken out unfinished; InvalidTaskTransition for one that is completed."""
    if task.state is TaskState.COMPLETED:
        raise InvalidTaskTransition(task.task_id, task.state, TaskState.UNASSIGNED)
    return _gone(task, TaskState.UNASSIGNED, Outcome.REMOVED, now)


def cancelled(task: SprintTask, now: datetime) -> SprintTask:
    """The task given up, whatever its state."""
    return _gone(task, TaskState.CANCELLED, Outcome.CANCELLED, now)


def reassigned(task: SprintTask, assignee_id: str, now: datetime) -> SprintTask:
    """The task in other hands; the same task if it is in these already."""
    if task.assignee_id == assignee_id:
        return task
    return replace(task, assignee_id=assignee_id, version=task.version + 1, update_time=now)


def gained(task: SprintTask, day: date) -> ScopeChange:
    """What a task adds that comes in."""
    return ScopeChange(day, Scope.ADDED, task.points or Decimal(0))


def lost(task: SprintTask, day: date) -> ScopeChange:
    """What a task takes away that goes out."""
    return ScopeChange(day, Scope.REMOVED, -(task.points or Decimal(0)))


def _gone(task: SprintTask, state: TaskState, outcome: Outcome, now: datetime) -> SprintTask:
    return replace(task, state=state, outcome=outcome, version=task.version + 1, update_time=now)
