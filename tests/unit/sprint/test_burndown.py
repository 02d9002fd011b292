"""The burndown: what remained each day, beside the ideal line."""

from datetime import date
from decimal import Decimal

from services.sprint.domain import burndown
from services.sprint.domain.scope import Scope, ScopeChange
from services.sprint.domain.sprint import TaskState
from tests.unit.sprint.sprints import make_sprint, make_task


def test_days_to_come_are_open_and_the_ideal_line_reaches_nothing() -> None:
    tasks = [make_task(1, state=TaskState.COMPLETED, complete_date=date(2026, 1, 6)), make_task(2)]
    days = burndown.burndown(make_sprint(planned_points=Decimal(10)), tasks, [], date(2026, 1, 7))
    assert [day.remaining_tasks for day in days[:4]] == [2, 1, 1, None]
    assert [day.remaining_points for day in days[:4]] == [10, 5, 5, None]
    assert [day.working_day for day in days] == [True] * 5 + [False] * 2 + [True] * 5 + [False] * 2
    assert days[0].ideal_points == 9
    assert days[4].ideal_points == days[6].ideal_points == 5
    assert days[-1].ideal_points == days[-1].ideal_tasks == 0


def test_scope_changes_move_the_line_on_their_day() -> None:
    changes = [
        ScopeChange(date(2026, 1, 6), Scope.ADDED, Decimal(3)),
        ScopeChange(date(2026, 1, 7), Scope.REMOVED, Decimal(-5)),
        ScopeChange(date(2026, 1, 7), Scope.ESTIMATED, Decimal(2)),
    ]
    days = burndown.burndown(make_sprint(), [], changes, date(2026, 1, 18))
    assert [day.remaining_tasks for day in days[:3]] == [2, 3, 2]
    assert [day.remaining_points for day in days[:3]] == [8, 11, 8]
    assert (days[1].added_tasks, days[2].removed_tasks, days[2].scope_change_points) == (1, 1, Decimal(-3))
