"""The backlog service on real sockets: the order that planning takes tasks in."""

from __future__ import annotations

import asyncio
import random
from typing import Any
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import Task

from tests.harness import World, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


def _rank(backlog: Backlog, task_id: str, **position: str) -> Any:
    return backlog.stub.RankTask(pb.RankTaskRequest(task_id=task_id, **position))


async def _order(backlog: Backlog, project_id: str) -> list[str]:
    """Ids by rank."""
    found: list[str] = []
    token = ""
    while True:
        page = await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id, page_size=250, page_token=token))
        found += ids(page.tasks)
        token = page.next_page_token
        if not token:
            return found


async def _squeeze(backlog: Backlog, tasks: list[Task]) -> None:
    """Ranks without any room between."""
    for index, task in enumerate(tasks):
        sql = "UPDATE task SET rank = %(rank)s WHERE task_id = %(task_id)s"
        await backlog.world.query("backlog", sql, {"rank": tasks[0].rank + index, "task_id": task.task_id})


async def test_a_task_goes_before_or_after_another(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b, c, d = ids(await backlog.create_many(project_id, *"abcd"))
    for task_id, position, expected in (
        (d, {"before_task_id": b}, [a, d, b, c]),
        (a, {"after_task_id": b}, [d, b, a, c]),
        (c, {"before_task_id": d}, [c, d, b, a]),
        (c, {"after_task_id": a}, [d, b, a, c]),
        (b, {"after_task_id": d}, [d, b, a, c]),
        (b, {"before_task_id": a}, [d, b, a, c]),
    ):
        answer = await _rank(backlog, task_id, **position)
        assert answer.task == await backlog.get(task_id)
        assert await _order(backlog, project_id) == expected
    last = await backlog.create(project_id)
    assert await _order(backlog, project_id) == [d, b, a, c, last.task_id]
    assert ids((await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=2)).tasks) == [d, b]


async def test_only_the_task_that_moves_is_told_of(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b, c = await backlog.create_many(project_id, *"abc")
    await _rank(backlog, c.task_id, before_task_id=b.task_id)
    await _rank(backlog, c.task_id, before_task_id=b.task_id)
    assert await backlog.events(c.task_id) == [("task.created", 1), ("task.updated", 2)]
    assert len(await backlog.events(a.task_id)) == len(await backlog.events(b.task_id)) == 1


async def test_a_gap_that_is_used_up_is_made_anew_nearby(backlog: Backlog) -> None:
    project_id = await backlog.project()
    tasks = await backlog.create_many(project_id, *map(str, range(40)))
    await _squeeze(backlog, tasks[10:20])
    order = ids(tasks)
    moved = order.pop()
    await _rank(backlog, moved, after_task_id=order[14])
    order.insert(15, moved)
    assert await _order(backlog, project_id) == order
    told = [len(await backlog.events(task_id)) - 1 for task_id in order]
    assert max(told) == 1
    # Those on both sides, and not the whole list.
    assert 2 <= sum(told) <= 17
    assert told[0] == told[39 - 1] == 0


async def test_many_rankings_into_one_place_keep_the_order(backlog: Backlog) -> None:
    project_id = await backlog.project()
    order = ids(await backlog.create_many(project_id, *map(str, range(120))))
    target, movers = order[60], order[:60]
    for mover in movers:
        await _rank(backlog, mover, before_task_id=target)
    assert await _order(backlog, project_id) == order
    sql = "SELECT count(*) AS told FROM outbox WHERE project_id = %(id)s AND subject LIKE '%%task.updated'"
    [row] = await backlog.world.query("backlog", sql, {"id": project_id})
    assert row["told"] < 4 * len(movers)


async def test_two_at_once_both_get_what_they_asked_for(backlog: Backlog) -> None:
    project_id = await backlog.project()
    tasks = await backlog.create_many(project_id, *map(str, range(24)))
    order = ids(tasks)
    target, movers = order[-1], order[:-1]
    await _squeeze(backlog, tasks)
    random.Random(7).shuffle(movers)
    answers = await asyncio.gather(*(_rank(backlog, mover, before_task_id=target) for mover in movers))
    assert ids(answer.task for answer in answers) == movers
    final = await _order(backlog, project_id)
    assert sorted(final) == sorted(order)
    assert final[-1] == target
    ranks = [(await backlog.get(task_id)).rank for task_id in final]
    assert len(set(ranks)) == len(ranks)


async def test_what_cannot_be_ranked(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b = await backlog.create_many(project_id, "a", "b")
    stranger = await backlog.create(await backlog.project())
    missing = f"{project_id}-TASK999"
    for task_id, other, code, reason in (
        (missing, a.task_id, "NOT_FOUND", "TASK_NOT_FOUND"),
        (a.task_id, missing, "NOT_FOUND", "TASK_NOT_FOUND"),
        (a.task_id, stranger.task_id, "FAILED_PRECONDITION", "PROJECT_MISMATCH"),
        (a.task_id, a.task_id, "INVALID_ARGUMENT", "VALIDATION_FAILED"),
    ):
        failed = await refused(_rank(backlog, task_id, before_task_id=other))
        assert (failed.code, failed.reason) == (code, reason)
    request_id = str(uuid4())
    request = pb.RankTaskRequest(task_id=b.task_id, before_task_id=a.task_id, request_id=request_id)
    first = await backlog.stub.RankTask(request)
    await _rank(backlog, b.task_id, after_task_id=a.task_id)
    assert await backlog.stub.RankTask(request) == first
    assert await _order(backlog, project_id) == ids([a, b])
    request.after_task_id = a.task_id
    assert (await refused(backlog.stub.RankTask(request))).reason == "REQUEST_ID_REUSED"
    await backlog.archive(project_id)
    assert (await refused(_rank(backlog, b.task_id, before_task_id=a.task_id))).reason == "PROJECT_ARCHIVED"
