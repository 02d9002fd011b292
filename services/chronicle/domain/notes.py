"""Planning notes, daily scrum reports, retrospectives and free notes, and the rules that hold within each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date, datetime
from enum import StrEnum

from services.kit.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class PlannedTask:
    """One task of a planning note; points None = not estimated."""

    task_id: str
    title: str
    assignee_id: str
    points: float | None


@dataclass(frozen=True, slots=True)
class PlanningNote:
    """What a sprint set out to do; capacity 0 = not known."""

    note_id: str
    sprint_id: str
    project_id: str
    sprint_name: str
    sprint_goal: str
    start_date: date
    end_date: date
    duration_weeks: int
    capacity_person_days: float
    create_time: datetime
    planned_tasks: tuple[PlannedTask, ...]


@dataclass(frozen=True, slots=True)
class ScrumTask:
    """What one person said of one task."""

    task_id: str
    title: str
    yesterday_work: str
    today_work: str
    impediments: str
    progress_percent: int
    create_time: datetime | None


@dataclass(frozen=True, slots=True)
class ScrumPerson:
    """One person's part of a daily scrum; an empty id is for tasks that nobody has."""

    employee_id: str
    away: bool
    tasks: tuple[ScrumTask, ...]


@dataclass(frozen=True, slots=True)
class ScrumReport:
    """The report of one sprint and day, with the sprint's figures of that day."""

    report_id: str
    project_id: str
    sprint_id: str
    report_date: date
    summary: str
    simulated: bool
    total_team_members: int
    total_tasks: int
    completed_tasks: int
    pending_tasks: int
    blocked_tasks: int
    total_points: float
    completed_points: float
    create_time: datetime
    people: tuple[ScrumPerson, ...]


class ActionItemState(StrEnum):
    """Whether an action item still waits."""

    OPEN = "OPEN"
    IN_PROGRESS = "IN_PROGRESS"
    DONE = "DONE"
    DROPPED = "DROPPED"


@dataclass(frozen=True, slots=True)
class ActionItem:
    """Something that a team decided to change."""

    action_item_id: str
    description: str
    state: ActionItemState
    owner_id: str
    impediment_id: str
    update_time: datetime
    version: int = 1


@dataclass(frozen=True, slots=True)
class ActionItemChange:
    """What is to change of an action item; None = stays."""

    state: ActionItemState | None = None
    owner_id: str | None = None
    description: str | None = None


@dataclass(frozen=True, slots=True)
class RetrospectiveTask:
    """How one task of the sprint ended; points None = not estimated."""

    task_id: str
    description: str
    status: str
    employee_id: str
    progress_percent: int
    points: float | None


@dataclass(frozen=True, slots=True)
class Statistics:
    """A closed sprint's figures; planned None = not told, capacity, team size and working days 0 = not known."""

    planned_tasks: int | None
    planned_points: float | None
    completed_tasks: int
    completed_points: float
    released_tasks: int
    released_points: float
    added_tasks: int = 0
    removed_tasks: int = 0
    capacity_person_days: float = 0.0
    completion_rate: float | None = None
    points_per_person_day: float | None = None
    impediments_raised: int = 0
    impediments_resolved: int = 0
    team_size: int = 0
    working_days: int = 0


@dataclass(frozen=True, slots=True)
class Retrospective:
    """What a team takes from a sprint; statistics None = nothing is known of how its tasks ended."""

    retrospective_id: str
    sprint_id: str
    project_id: str
    sprint_name: str
    start_date: date
    end_date: date
    duration_weeks: int
    what_went_well: tuple[str, ...]
    what_could_be_improved: tuple[str, ...]
    action_items: tuple[ActionItem, ...]
    facilitator_id: str
    attendee_ids: tuple[str, ...]
    tasks_summary: tuple[RetrospectiveTask, ...]
    statistics: Statistics | None
    create_time: datetime


@dataclass(frozen=True, slots=True)
class FreeNote:
    """A remark on a project and perhaps on one of its sprints or tasks."""

    note_id: str
    project_id: str
    sprint_id: str
    task_id: str
    text: str
    author_id: str
    create_time: datetime


def check_planning(note: PlanningNote) -> None:
    """Raise InvalidArgument if the days or tasks of a planning note contradict each other."""
    _check_dates(note.start_date, note.end_date, "planning_note")
    _check_distinct((task.task_id for task in note.planned_tasks), "planning_note.planned_tasks[{}].task_id")


def check_report(report: ScrumReport) -> None:
    """Raise InvalidArgument if a person, or a task of a person, is in a report twice."""
    _check_distinct((person.employee_id for person in report.people), "report.reports[{}].employee_id")
    for index, person in enumerate(report.people):
        _check_distinct((task.task_id for task in person.tasks), f"report.reports[{index}].tasks[{{}}].task_id")


def check_retrospective(retrospective: Retrospective) -> None:
    """Raise InvalidArgument if the days, tasks or action items of a retrospective contradict each other."""
    _check_dates(retrospective.start_date, retrospective.end_date, "retrospective")
    _check_distinct((task.task_id for task in retrospective.tasks_summary), "retrospective.tasks_summary[{}].task_id")
    items = (item.action_item_id for item in retrospective.action_items)
    _check_distinct(items, "retrospective.action_items[{}].action_item_id")


def update_action_item(item: ActionItem, change: ActionItemChange, now: datetime) -> ActionItem:
    """The item after a change; the same object if it changes nothing. update_time follows the state alone."""
    state = change.state or item.state
    owner_id = item.owner_id if change.owner_id is None else change.owner_id
    description = item.description if change.description is None else change.description
    if (state, owner_id, description) == (item.state, item.owner_id, item.description):
        return item
    update_time = item.update_time if state is item.state else now
    return replace(
        item,
        state=state,
        owner_id=owner_id,
        description=description,
        update_time=update_time,
        version=item.version + 1,
    )


def statistics_of(tasks: Iterable[RetrospectiveTask]) -> Statistics | None:
    """A sprint's figures as far as its tasks tell them: how they ended, not what was planned. None without tasks."""
    tasks = tuple(tasks)
    if not tasks:
        return None
    completed = [task for task in tasks if task.status == "COMPLETED"]
    released = [task for task in tasks if task.status not in ("COMPLETED", "CANCELLED")]
    return Statistics(
        planned_tasks=None,
        planned_points=None,
        completed_tasks=len(completed),
        completed_points=sum(task.points or 0 for task in completed),
        released_tasks=len(released),
        released_points=sum(task.points or 0 for task in released),
        removed_tasks=len(tasks) - len(completed) - len(released),
        completion_rate=completion_rate(len(completed), len(released)),
    )


def completion_rate(completed: int, released: int) -> float | None:
    """Completed tasks / (completed + released), 0 to 1; None if there were neither."""
    return completed / (completed + released) if completed + released else None


def _check_dates(start: date, end: date, resource: str) -> None:
    if end < start:
        raise InvalidArgument(f"{resource}.end_date", "must not be before start_date", end.isoformat())


def _check_distinct(ids: Iterable[str], field: str) -> None:
    seen: set[str] = set()
    for index, found in enumerate(ids):
        if found in seen:
            raise InvalidArgument(field.format(index), "must not be there twice", found)
        seen.add(found)
