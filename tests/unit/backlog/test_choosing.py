"""What a sprint is given: the top of what is ready, within the limits."""

from __future__ import annotations

from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from services.backlog.domain.planning import Limits, choose
from tests.unit.backlog.tasks import make_task

_sizes = st.lists(st.one_of(st.none(), st.integers(0, 13)), max_size=12)


@given(_sizes, st.integers(0, 6), st.one_of(st.none(), st.integers(1, 30)), st.integers(0, 5))
def test_a_choice_is_a_top_part_within_its_limits(
    sizes: list[int | None], max_tasks: int, max_points: int | None, unestimated: int
) -> None:
    tasks = [make_task(n, points=None if size is None else Decimal(size)) for n, size in enumerate(sizes, 1)]
    limit = None if max_points is None else Decimal(max_points)
    choice = choose(tasks, (), Limits(max_tasks, limit, Decimal(unestimated)))
    taken = choice.tasks
    assert taken == tasks[: len(taken)]
    assert not max_tasks or len(taken) <= max_tasks
    points = [unestimated if size is None else size for size in sizes]
    if max_points is not None:
        assert len(taken) <= 1 or sum(points[: len(taken)]) <= max_points
    if len(taken) < len(tasks):
        stopped_by_points = max_points is not None and sum(points[: len(taken) + 1]) > max_points
        assert choice.full
        assert len(taken) == max_tasks or stopped_by_points


@given(st.integers(1, 10).flatmap(lambda n: st.lists(st.sets(st.integers(1, n + 2)), min_size=n, max_size=n)))
def test_nothing_is_taken_before_what_it_waits_for_and_nothing_ready_is_left(awaited: list[set[int]]) -> None:
    tasks = [
        make_task(n, depends_on=tuple(f"P-TASK{d:03d}" for d in sorted(ids) if d != n))
        for n, ids in enumerate(awaited, 1)
    ]
    satisfied = {"P-TASK001"}
    taken = choose(tasks, satisfied, Limits()).tasks
    done = set(satisfied)
    for task in taken:
        assert set(task.content.depends_on) <= done
        done.add(task.task_id)
    left = [task for task in tasks if task not in taken]
    assert not [task for task in left if set(task.content.depends_on) <= done]
    assert len({task.task_id for task in taken}) == len(taken)
