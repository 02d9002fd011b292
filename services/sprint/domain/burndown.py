"""Burndown: a sprint day by day."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal

from services.sprint.domain.scope import Scope, ScopeChange
from services.sprint.domain.sprint import Sprint, SprintTask, TaskState, points_of


@dataclass(frozen=True, slots=True)
class BurndownDay:
    """A sprint at the end of a day; None for days to come."""

    day: date
    working_day: bool
    remaining_tasks: int | None
    remaining_points: Decimal | None
    ideal_points: Decimal
    ideal_tasks: Decimal
    added_tasks: int
    removed_tasks: int
    scope_change_points: Decimal


def burndown(
    sprint: Sprint, tasks: Sequence[SprintTask], changes: Sequence[ScopeChange], today: date
) -> list[BurndownDay]:
    """Each day of the sprint. A task counts until the working day on which it was completed.

    The ideal line falls by the same amount on each working day, from what was planned to nothing.
    """
    days = [sprint.start_date + timedelta(days=n) for n in range((sprint.end_date - sprint.start_date).days + 1)]
    return [_day(sprint, tasks, changes, day, known=day <= today) for day in days]


def _day(
    sprint: Sprint, tasks: Sequence[SprintTask], changes: Sequence[ScopeChange], day: date, *, known: bool
) -> BurndownDay:
    done = [t for t in tasks if t.state is TaskState.COMPLETED and t.complete_date and t.complete_date <= day]
    so_far = [change for change in changes if change.change_date <= day]
    on_day = [change for change in changes if change.change_date == day]
    worked = sum(date_ <= day for date_ in sprint.working_dates)
    left = 1 - Decimal(worked) / max(1, len(sprint.working_dates))
    return BurndownDay(
        day=day,
        working_day=day in sprint.working_dates,
        remaining_tasks=sprint.planned_tasks + _net(so_far) - len(done) if known else None,
        remaining_points=sprint.planned_points + _points(so_far) - points_of(done) if known else None,
        ideal_points=sprint.planned_points * left,
        ideal_tasks=sprint.planned_tasks * left,
        added_tasks=sum(change.kind is Scope.ADDED for change in on_day),
        removed_tasks=sum(change.kind is Scope.REMOVED for change in on_day),
        scope_change_points=_points(on_day),
    )


def _net(changes: Sequence[ScopeChange]) -> int:
    return sum((change.kind is Scope.ADDED) - (change.kind is Scope.REMOVED) for change in changes)


def _points(changes: Sequence[ScopeChange]) -> Decimal:
    return sum((change.points for change in changes), Decimal(0))
