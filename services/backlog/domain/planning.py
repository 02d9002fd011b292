"""Which free tasks a sprint takes: by rank, within limits, never before what they wait for."""

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.backlog.domain.course import Change
from services.backlog.domain.errors import TaskNotAvailable
from services.backlog.domain.task import Task, TaskState, check_found, revised


@dataclass(frozen=True)
class Limits:
    """How much to take. Tasks 0 = any number, points None = any; a task without an estimate counts `unestimated`."""

    max_tasks: int = 0
    max_points: Decimal | None = None
    unestimated: Decimal = Decimal(0)


@dataclass(frozen=True)
class Choice:
    """What was taken, in the order of taking; `full` if a limit ended it."""

    tasks: list[Task]
    full: bool


def choose(free: Iterable[Task], satisfied: Collection[str], limits: Limits) -> Choice:
    """Take tasks by rank until a limit is reached; `free` are in the order of rank.

    A task that waits for another is passed over, and taken as soon as the last of those that it waits for was: then it
    stands first again. The first task is taken even if it is larger than all the points; after that, the first one
    that does not fit ends the choice, so that a large task is not overtaken by small ones for ever.
    """
    taken: dict[str, Task] = {}
    waiting: dict[str, list[Task]] = {}
    freed: list[tuple[tuple[int, int], Task]] = []
    points = Decimal(0)
    source = iter(free)
    while True:
        task = heapq.heappop(freed)[1] if freed else next(source, None)
        if task is None:
            return Choice(list(taken.values()), full=False)
        if missing := next(_missing(task, satisfied, taken), None):
            waiting.setdefault(missing, []).append(task)
            continue
        size = limits.unestimated if task.content.points is None else task.content.points
        if limits.max_points is not None and taken and points + size > limits.max_points:
            return Choice(list(taken.values()), full=True)
        taken[task.task_id] = task
        points += size
        if len(taken) == limits.max_tasks:
            return Choice(list(taken.values()), full=True)
        for waiter in waiting.pop(task.task_id, ()):
            heapq.heappush(freed, (waiter.place, waiter))


def check_explicit(
    task_ids: Iterable[str], tasks: Mapping[str, Task], project_id: str, satisfied: Collection[str]
) -> None:
    """TaskNotFound or TaskNotAvailable for the first task asked for by id that cannot be taken."""
    task_ids = list(task_ids)
    check_found(task_ids, {key for key, task in tasks.items() if task.project_id == project_id})
    for task_id in task_ids:
        task = tasks[task_id]
        if task.course.state is not TaskState.UNASSIGNED:
            raise TaskNotAvailable(task_id, task.course.state)
        if missing := next(_missing(task, satisfied, tasks), None):
            raise TaskNotAvailable(task_id, task.course.state, missing)


def reserved(tasks: Iterable[Task], sprint_id: str, now: datetime) -> list[Change]:
    """The tasks in a sprint, as (before, after) by rank; assignee and progress stay."""
    return [
        (
            task,
            revised(task, now, course=replace(task.course, state=TaskState.ASSIGNED_TO_SPRINT, sprint_id=sprint_id)),
        )
        for task in sorted(tasks, key=lambda task: task.place)
    ]


def _missing(task: Task, satisfied: Collection[str], taken: Collection[str]) -> Iterator[str]:
    return (key for key in task.content.depends_on if key not in satisfied and key not in taken)
