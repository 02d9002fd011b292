"""Closing: how a sprint's tasks end, its figures, and what the team can learn from them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal

from services.sprint.domain.progress import Impediment, ImpedimentState
from services.sprint.domain.scope import Scope, ScopeChange
from services.sprint.domain.scrum import counted, plain
from services.sprint.domain.sprint import (
    Outcome,
    Sprint,
    SprintState,
    SprintTask,
    Statistics,
    TaskState,
    moved,
    points_of,
)

_RATE = Decimal("0.0001")
_SHOWN = Decimal("0.01")
_NAMED = 5
_MOST_ACTIONS = 100
_LONGEST = 2000
# Pace counts as changed from this factor on.
_NOTABLE = Decimal("0.1")


@dataclass(frozen=True, slots=True)
class ActionItem:
    """Something to change; from an impediment, if one is named."""

    description: str
    owner_id: str = ""
    impediment_id: str = ""


@dataclass(frozen=True, slots=True)
class Lessons:
    """What went well, what could be improved, and what to change."""

    well: tuple[str, ...]
    improve: tuple[str, ...]
    actions: tuple[ActionItem, ...]


@dataclass(frozen=True, slots=True)
class Ending:
    """A sprint as it ends: itself, its tasks before the end, and the two ways that they end."""

    sprint: Sprint
    tasks: tuple[SprintTask, ...]
    completed: tuple[SprintTask, ...]
    released: tuple[SprintTask, ...]
    lessons: Lessons

    @property
    def ended(self) -> tuple[SprintTask, ...]:
        """Every task that ends now."""
        return self.completed + self.released

    def with_retrospective(self, retrospective_id: str) -> "Ending":
        """The same, with the sprint naming its retrospective."""
        return replace(self, sprint=replace(self.sprint, retrospective_id=retrospective_id))


def close(
    sprint: Sprint,
    tasks: Sequence[SprintTask],
    impediments: Sequence[Impediment],
    changes: Sequence[ScopeChange],
    pace_before: Decimal | None,
    *,
    close_date: date,
    now: datetime,
) -> Ending:
    """End a sprint: completed tasks stay so, the others are released; figures are frozen and lessons drawn.

    `pace_before` is the points per person-day of the sprints before, None if there was none.
    """
    inside = [task for task in tasks if task.outcome is None]
    completed = tuple(replace(task, outcome=Outcome.COMPLETED) for task in inside if task.state is TaskState.COMPLETED)
    released = tuple(
        replace(task, outcome=Outcome.RELEASED, state=TaskState.UNASSIGNED, update_time=now)
        for task in inside
        if task.unfinished
    )
    figures = statistics(sprint, completed, released, impediments, changes)
    state = SprintState.CLOSED_WITH_PENDING_TASKS if released else SprintState.COMPLETED
    closed = replace(moved(sprint, state, now), close_date=close_date, statistics=figures)
    lessons = learn(closed, figures, inside, impediments, pace_before)
    return Ending(closed, tuple(inside), completed, released, lessons)


def statistics(
    sprint: Sprint,
    completed: Sequence[SprintTask],
    released: Sequence[SprintTask],
    impediments: Sequence[Impediment],
    changes: Sequence[ScopeChange],
) -> Statistics:
    """A sprint's figures; each as the contract defines it. Rates have four decimals."""
    ended = len(completed) + len(released)
    points = points_of(completed)
    days = sprint.capacity_person_days
    return Statistics(
        planned_tasks=sprint.planned_tasks,
        planned_points=sprint.planned_points,
        completed_tasks=len(completed),
        completed_points=points,
        released_tasks=len(released),
        released_points=points_of(released),
        added_tasks=sum(change.kind is Scope.ADDED for change in changes),
        removed_tasks=sum(change.kind is Scope.REMOVED for change in changes),
        capacity_person_days=days,
        completion_rate=(Decimal(len(completed)) / ended).quantize(_RATE) if ended else None,
        points_per_person_day=(points / days).quantize(_RATE) if days > 0 else None,
        impediments_raised=len(impediments),
        impediments_resolved=sum(i.state is ImpedimentState.RESOLVED for i in impediments),
        team_size=len(sprint.team),
        working_days=len(sprint.working_dates),
    )


def learn(
    sprint: Sprint,
    figures: Statistics,
    tasks: Sequence[SprintTask],
    impediments: Sequence[Impediment],
    pace_before: Decimal | None,
) -> Lessons:
    """Lessons that the sprint's own figures support; a sentence is there only if its figure is.

    `tasks` are as they stood before the end.
    """
    missed = [task for task in tasks if task.unfinished]
    inside = {task.task_id for task in tasks}
    still_open = [i for i in impediments if i.state is ImpedimentState.OPEN and i.task_id in inside]
    well = [
        *_done_well(figures, missed),
        *_pace_up(figures, pace_before),
        *_removed_well(sprint, impediments),
    ]
    improve = [
        *_missed(missed, figures),
        *_untouched(missed),
        *_late(sprint, tasks),
        *_pace_down(figures, pace_before),
        *_scope(figures),
        *(f"Still open at the end: {i.text} ({i.task_id})." for i in still_open),
    ]
    actions = [
        *(ActionItem(f"Remove what blocks {i.task_id}: {i.text}"[:_LONGEST], i.owner_id, i.impediment_id)
          for i in still_open),
        *_plan_less(figures, missed),
        *_split(sprint, missed),
    ]  # fmt: skip
    return Lessons(
        tuple(text[:_LONGEST] for text in well[:50]),
        tuple(text[:_LONGEST] for text in improve[:50]),
        tuple(actions[:_MOST_ACTIONS]),
    )


def _done_well(figures: Statistics, missed: Sequence[SprintTask]) -> list[str]:
    if not figures.completed_tasks:
        return []
    points = f" ({counted(figures.completed_points, 'point')})" if figures.completed_points else ""
    if not missed:
        return [f"Every task was completed: {counted(figures.completed_tasks, 'task')}{points}."]
    total = figures.completed_tasks + figures.released_tasks
    return [f"{figures.completed_tasks} of {counted(total, 'task')} completed{points}."]


def _pace_up(figures: Statistics, before: Decimal | None) -> list[str]:
    pace = figures.points_per_person_day
    if not before or not pace or pace < before * (1 + _NOTABLE):
        return []
    return [f"Pace rose to {_short(pace)} points per person-day, from {_short(before)} in the sprints before."]


def _pace_down(figures: Statistics, before: Decimal | None) -> list[str]:
    pace = figures.points_per_person_day
    if not before or pace is None or pace > before * (1 - _NOTABLE):
        return []
    return [f"Pace fell to {_short(pace)} points per person-day, from {_short(before)} in the sprints before."]


def _removed_well(sprint: Sprint, impediments: Sequence[Impediment]) -> list[str]:
    """How many were resolved, and after how many working days, as far as the days are known."""
    resolved = [i for i in impediments if i.state is ImpedimentState.RESOLVED]
    if not resolved:
        return []
    sentence = f"{len(resolved)} of {counted(len(impediments), 'impediment')} resolved"
    spans = [_working_days(sprint, i.raise_date, i.resolve_date) for i in resolved if _known(sprint, i)]
    if not spans:
        return [f"{sentence}."]
    lasted = (Decimal(sum(spans)) / len(spans)).quantize(_SHOWN)
    which = "" if len(spans) == len(resolved) else f" of the {len(spans)} whose days are known"
    if not lasted:
        return [f"{sentence}, on the day that they were raised{which}."]
    return [f"{sentence}, after {counted(lasted, 'working day')} on average{which}."]


def _known(sprint: Sprint, impediment: Impediment) -> bool:
    """True if the sprint's calendar reaches the day on which it was resolved."""
    return impediment.resolve_date is not None and impediment.resolve_date <= sprint.end_date


def _working_days(sprint: Sprint, raised: date, resolved: date | None) -> int:
    """Working days after the one that it was raised on, up to the one that it was resolved on."""
    return sum(raised < day <= resolved for day in sprint.working_dates) if resolved else 0


def _missed(missed: Sequence[SprintTask], figures: Statistics) -> list[str]:
    if not missed:
        return []
    points = f" ({counted(figures.released_points, 'point')})" if figures.released_points else ""
    return [f"{counted(len(missed), 'task')}{points} not completed: {_names(missed)}."]


def _untouched(missed: Sequence[SprintTask]) -> list[str]:
    never = [task for task in missed if task.state is TaskState.ASSIGNED_TO_SPRINT and not task.progress_percent]
    return [f"{counted(len(never), 'task')} never begun: {_names(never)}."] if never else []


def _late(sprint: Sprint, tasks: Sequence[SprintTask]) -> list[str]:
    """More than half of what was completed came in the last fifth of the working days."""
    days = sprint.working_dates
    done = [task for task in tasks if task.complete_date]
    if len(days) < 5 or len(done) < 2:
        return []
    edge = days[-(len(days) // 5)]
    late = [task for task in done if task.complete_date and task.complete_date >= edge]
    if 2 * len(late) <= len(done):
        return []
    return [f"{len(late)} of {len(done)} completed tasks came only from {edge} on, in the sprint's last fifth."]


def _scope(figures: Statistics) -> list[str]:
    if not figures.added_tasks and not figures.removed_tasks:
        return []
    return [f"The scope changed under way: {figures.added_tasks} tasks came in, {figures.removed_tasks} went out."]


def _plan_less(figures: Statistics, missed: Sequence[SprintTask]) -> list[ActionItem]:
    pace = figures.points_per_person_day
    if not missed or not pace or not figures.planned_points:
        return []
    return [
        ActionItem(
            f"Plan by the pace of this sprint, {_short(pace)} points per person-day: {plain(figures.planned_points)} "
            f"points were planned and {plain(figures.completed_points)} completed."
        )
    ]


def _split(sprint: Sprint, missed: Sequence[SprintTask]) -> list[ActionItem]:
    """The largest tasks that were begun, not finished, and larger than an even share of the sprint's points."""
    if not sprint.planned_tasks:
        return []
    mean = sprint.planned_points / sprint.planned_tasks
    large = [task for task in missed if task.points and task.progress_percent and task.points > mean]
    return [
        ActionItem(
            f"Split {task.task_id} before it is planned again: of {counted(task.points or 0, 'point')}, "
            f"{task.progress_percent} % done.",
            task.assignee_id,
        )
        for task in sorted(large, key=lambda task: -(task.points or 0))[:_NAMED]
    ]


def _names(tasks: Sequence[SprintTask]) -> str:
    named = ", ".join(task.task_id for task in tasks[:_NAMED])
    return f"{named} and {len(tasks) - _NAMED} more" if len(tasks) > _NAMED else named


def _short(number: Decimal) -> str:
    """At most two decimals, as people say it."""
    return plain(number.quantize(_SHOWN))
