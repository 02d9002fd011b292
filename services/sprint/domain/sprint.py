"""Sprints and their tasks: what they hold, which states and days are allowed, and how they are counted."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum

from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound

DEFAULT_WEEKS = 2


class SprintState(StrEnum):
    """Where a sprint stands."""

    PLANNING = "PLANNING"
    IN_PROGRESS = "IN_PROGRESS"
    CLOSING = "CLOSING"
    COMPLETED = "COMPLETED"
    CLOSED_WITH_PENDING_TASKS = "CLOSED_WITH_PENDING_TASKS"
    ABANDONED = "ABANDONED"


# A sprint in one of these changes no more.
OVER = (SprintState.COMPLETED, SprintState.CLOSED_WITH_PENDING_TASKS, SprintState.ABANDONED)


class TaskState(StrEnum):
    """Where a task stands."""

    UNASSIGNED = "UNASSIGNED"
    ASSIGNED_TO_SPRINT = "ASSIGNED_TO_SPRINT"
    IN_PROGRESS = "IN_PROGRESS"
    BLOCKED = "BLOCKED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class Outcome(StrEnum):
    """How a task ended in a sprint."""

    COMPLETED = "COMPLETED"
    RELEASED = "RELEASED"
    REMOVED = "REMOVED"
    CANCELLED = "CANCELLED"


@dataclass(frozen=True, slots=True)
class Member:
    """A person's part in a sprint: person-days over its days, and skills in lower case."""

    employee_id: str
    person_days: Decimal
    skills: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Statistics:
    """A sprint's figures, frozen when it closes; each is defined where the contract has it."""

    planned_tasks: int
    planned_points: Decimal
    completed_tasks: int
    completed_points: Decimal
    released_tasks: int
    released_points: Decimal
    added_tasks: int
    removed_tasks: int
    capacity_person_days: Decimal
    completion_rate: Decimal | None
    points_per_person_day: Decimal | None
    impediments_raised: int
    impediments_resolved: int
    team_size: int
    working_days: int


@dataclass(frozen=True, slots=True)
class Sprint:
    """A time box of a project. Days are those of its time zone; end_date is included."""

    sprint_id: str
    project_id: str
    number: int
    name: str
    goal: str
    state: SprintState
    start_date: date
    end_date: date
    duration_weeks: int
    time_zone: str
    capacity_person_days: Decimal
    # Days that are worked, and who works how much of them, as they were when it was planned.
    working_dates: tuple[date, ...]
    members: tuple[Member, ...]
    planned_tasks: int
    planned_points: Decimal
    planning_note_id: str
    close_date: date | None
    retrospective_id: str
    statistics: Statistics | None
    version: int
    create_time: datetime
    update_time: datetime

    @property
    def team(self) -> tuple[Member, ...]:
        """Who has any capacity in the sprint."""
        return tuple(member for member in self.members if member.person_days > 0)


@dataclass(frozen=True, slots=True)
class SprintTask:
    """A task's course through one sprint. `version` counts its changes over all its sprints."""

    sprint_id: str
    task_id: str
    project_id: str
    title: str
    points: Decimal | None
    state: TaskState
    assignee_id: str
    progress_percent: int
    version: int
    position: int
    add_date: date
    complete_date: date | None
    outcome: Outcome | None
    update_time: datetime
    # The backlog's version of title and points.
    backlog_version: int = 0
    # When the last report of work on it was made that had an effect.
    report_time: datetime | None = None

    @property
    def unfinished(self) -> bool:
        """True if it is in the sprint and not completed."""
        return self.outcome is None and self.state is not TaskState.COMPLETED


@dataclass(frozen=True, slots=True)
class TaskSummary:
    """Counts of a sprint's tasks, without those taken out or cancelled."""

    total_tasks: int = 0
    completed_tasks: int = 0
    blocked_tasks: int = 0
    in_progress_tasks: int = 0
    total_points: Decimal = Decimal(0)
    completed_points: Decimal = Decimal(0)

    @property
    def pending_tasks(self) -> int:
        """Tasks not completed."""
        return self.total_tasks - self.completed_tasks

    @property
    def pending_points(self) -> Decimal:
        """Points not completed."""
        return self.total_points - self.completed_points


class SprintNotFound(NotFound):
    """No sprint has this id."""

    reason = "SPRINT_NOT_FOUND"

    def __init__(self, sprint_id: str) -> None:
        super().__init__(f"There is no sprint {sprint_id}.", sprint_id=sprint_id)


class NoActiveSprint(NotFound):
    """No sprint is open."""

    reason = "NO_ACTIVE_SPRINT"

    def __init__(self, project_id: str) -> None:
        where = f" in project {project_id}" if project_id else ""
        super().__init__(f"There is no open sprint{where}.", project_id=project_id or None)


class SprintNotInProgress(FailedPrecondition):
    """The call needs a sprint under way."""

    reason = "SPRINT_NOT_IN_PROGRESS"

    def __init__(self, sprint_id: str, state: SprintState) -> None:
        super().__init__(f"Sprint {sprint_id} is {state}, not IN_PROGRESS.", sprint_id=sprint_id, state=state)


class ProjectArchived(FailedPrecondition):
    """The project is read-only."""

    reason = "PROJECT_ARCHIVED"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"Project {project_id} is archived and read-only.", project_id=project_id)


class DateOutOfRange(InvalidArgument):
    """A day that the sprint does not allow."""

    reason = "DATE_OUT_OF_RANGE"


def last_day(start: date, weeks: int) -> date:
    """The last day of a sprint, included: start + 7 x weeks - 1; DateOutOfRange past the calendar's end."""
    try:
        return start + timedelta(days=7 * weeks - 1)
    except OverflowError:
        raise DateOutOfRange("start_date", "must leave room for the sprint in the calendar", start) from None


def check_in_progress(sprint_id: str, state: SprintState) -> None:
    """SprintNotInProgress unless the sprint is under way."""
    if state is not SprintState.IN_PROGRESS:
        raise SprintNotInProgress(sprint_id, state)


def day_of_work(given: date | None, start: date, end: date, today: date, field: str) -> date:
    """The day that work, or an impediment, belongs to: as given, else today, else the last day if that is past.

    DateOutOfRange if it is outside the sprint or in the future.
    """
    day = given or min(today, end)
    check_in_sprint(day, start, end, field)
    check_not_future(day, today, field)
    return day


def day_in_sprint(today: date, start: date, end: date) -> date:
    """The day of the sprint that a change of today belongs to: today, or the first or last day if that is outside."""
    return min(end, max(start, today))


def check_in_sprint(day: date, start: date, end: date, field: str) -> None:
    """DateOutOfRange if the day is outside the sprint."""
    if not start <= day <= end:
        raise DateOutOfRange(field, f"must be in the sprint, {start} to {end}", day)


def check_not_future(day: date, today: date, field: str) -> None:
    """DateOutOfRange if the day has not come yet."""
    if day > today:
        raise DateOutOfRange(field, f"must not be in the future, today is {today}", day)


def day_of_closing(given: date | None, sprint: Sprint, today: date) -> date:
    """The day that a sprint closes on: as given, else today; in the sprint or after it, not in the future."""
    day = given or today
    if day < sprint.start_date:
        raise DateOutOfRange("close_date", f"must not be before the sprint starts, {sprint.start_date}", day)
    check_not_future(day, today, "close_date")
    return day


def points_of(tasks: Iterable[SprintTask]) -> Decimal:
    """Points of tasks together; one without an estimate counts nothing."""
    return sum((task.points for task in tasks if task.points is not None), Decimal(0))


def summarize(tasks: Sequence[SprintTask]) -> TaskSummary:
    """Count tasks, as the store's own count does."""
    counted = [task for task in tasks if task.outcome not in (Outcome.REMOVED, Outcome.CANCELLED)]
    completed = [task for task in counted if task.state is TaskState.COMPLETED]
    return TaskSummary(
        total_tasks=len(counted),
        completed_tasks=len(completed),
        blocked_tasks=sum(task.state is TaskState.BLOCKED for task in counted),
        in_progress_tasks=sum(task.state is TaskState.IN_PROGRESS for task in counted),
        total_points=points_of(counted),
        completed_points=points_of(completed),
    )


def moved(sprint: Sprint, state: SprintState, now: datetime) -> Sprint:
    """The sprint in another state."""
    return replace(sprint, state=state, version=sprint.version + 1, update_time=now)
