"""Tasks are created while the backlog dies between commit and publishing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random
from uuid import UUID

import grpc
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.backlog.v1.task_pb2 import Task

from tests.faults import wire
from tests.faults.arena import Arena
from tests.faults.deliveries.work import mine, outbox_left
from tests.service.sprint.sprints import make

_CLIENTS = 16


async def creates_while_dying(arena: Arena, rng: Random, creates: int, lives: Sequence[str]) -> list[str]:
    """Tasks are created while the backlog is killed between commit, publish and mark (I2, I5).

    `lives` are the failpoints of each process of the backlog.
    """
    scene = await make(arena, points=[])
    await arena.stop("backlog")
    dying = asyncio.create_task(arena.dying("backlog", lives))
    told: dict[str, str] = {}
    clients = [_create(arena, rng, scene.project_id, number, creates, told, dying) for number in range(_CLIENTS)]
    await asyncio.gather(*clients)
    await dying
    wrong = await outbox_left(arena, "backlog")
    rows = await arena.query("backlog", "SELECT task_id, title FROM task WHERE project_id = %(id)s", mine(scene))
    titles = Counter(row["title"] for row in rows)
    for title, outcome in told.items():
        if titles[title] > 1 or (outcome == "ok" and not titles[title]):
            wrong.append(f"{title}, which its client was told is {outcome}, is there {titles[title]} times")
    wrong += await _untold(arena, {row["task_id"] for row in rows}, scene.project_id)
    outcomes = Counter(told.values())
    print(f"creates: {dict(outcomes)}, there {len(rows)}, kills {len(lives)}, wrong {len(wrong)}")
    assert outcomes["ok"] >= creates, "too little was created for this to say anything"
    return wrong


async def _create(
    arena: Arena,
    rng: Random,
    project_id: str,
    client: int,
    creates: int,
    told: dict[str, str],
    dying: asyncio.Task[int],
) -> None:
    stub = BacklogServiceStub(await arena.channel("backlog"))
    number = 0
    while sum(outcome == "ok" for outcome in told.values()) < creates or not dying.done():
        title, number = f"{client}-{number}", number + 1
        task = Task(project_id=project_id, title=title)
        request = backlog_pb.CreateTaskRequest(task=task, request_id=str(UUID(int=rng.getrandbits(128), version=4)))
        # Some insist until they are told something; the others never know.
        for _ in range(500 if rng.random() < 0.7 else 1):
            try:
                await stub.CreateTask(request, timeout=5)
            except grpc.aio.AioRpcError:
                told[title] = "unknown"
                await asyncio.sleep(0.05)
            else:
                told[title] = "ok"
                break


async def _untold(arena: Arena, task_ids: set[str], project_id: str) -> list[str]:
    """What is committed and not told, or told and not committed, of tasks that were created.

    One event may be on the stream twice, for its inbox to tell; two events of one creation may not.
    """
    messages = await wire.read(arena.stack.nats.url, "DSM_BACKLOG")
    events = [message.event for message in messages if message.subject == "dsm.backlog.v1.task.created"]
    told = {event.event_id: event.aggregate_id for event in events if event.project_id == project_id}
    counts = Counter(told.values())
    wrong = [f"{task_id} is committed and was never told" for task_id in sorted(task_ids - set(counts))]
    wrong += [f"{task_id} was told and is not committed" for task_id in sorted(set(counts) - task_ids)]
    return wrong + [f"{task_id} was told by {times} events" for task_id, times in counts.items() if times > 1]
