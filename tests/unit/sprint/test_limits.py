"""How much a sprint takes: what is asked, else the team's pace, else a default."""

from decimal import Decimal

from services.sprint.domain import planning
from services.sprint.domain.planning import Asked, BacklogFigures, PastSprint

BACKLOG = BacklogFigures(free_tasks=50, estimated_tasks=40, total_points=Decimal(120))
BARE = BacklogFigures(free_tasks=50, estimated_tasks=0, total_points=Decimal(0))


def test_what_is_asked_is_taken() -> None:
    assert planning.limit_of(Asked(max_tasks=7), BACKLOG, (), Decimal(20)).max_tasks == 7
    assert planning.limit_of(Asked(max_tasks=7), BACKLOG, (), Decimal(20)).max_points is None
    limit = planning.limit_of(Asked(max_points=Decimal("9.5")), BACKLOG, (), Decimal(20))
    assert (limit.max_tasks, limit.max_points) == (0, Decimal("9.5"))
    limit = planning.limit_of(Asked(task_ids=("P-TASK001",)), BACKLOG, (), Decimal(20))
    assert (limit.max_tasks, limit.max_points) == (0, None)


def test_a_first_sprint_takes_the_default() -> None:
    limit = planning.limit_of(Asked(), BACKLOG, (), Decimal(20))
    assert limit.max_points == 20 * planning.DEFAULT_POINTS_PER_PERSON_DAY
    assert "default" in limit.basis
    assert limit.unestimated_points == 3


def test_a_first_sprint_without_any_estimate_takes_tasks() -> None:
    limit = planning.limit_of(Asked(), BARE, (), Decimal(20))
    assert (limit.max_tasks, limit.max_points) == (4, None)
    assert planning.limit_of(Asked(), BARE, (), Decimal("0.5")).max_tasks == 1


def test_the_pace_of_closed_sprints_decides_and_recent_ones_count_more() -> None:
    history = (PastSprint(Decimal(10), Decimal(20), 4), PastSprint(Decimal(10), Decimal(5), 1))
    limit = planning.limit_of(Asked(), BACKLOG, history, Decimal(10))
    # (20 + 5/2) / (10 + 10/2) = 1.5
    assert limit.max_points == 15
    assert "2 closed sprints" in limit.basis


def test_sprints_in_which_nothing_was_done_do_not_open_the_whole_backlog() -> None:
    limit = planning.limit_of(Asked(), BACKLOG, (PastSprint(Decimal(10), Decimal(0), 0),), Decimal(10))
    assert limit.max_points == 8


def test_an_unestimated_backlog_learns_tasks() -> None:
    limit = planning.limit_of(Asked(), BARE, (PastSprint(Decimal(10), Decimal(0), 6),), Decimal(10))
    assert limit.max_tasks == 6
