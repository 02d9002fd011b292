"""Events come in another order, or from a relay that stalled."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from functools import partial
from random import Random
from typing import Any

from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.backlog.v1.task_pb2 import Task
from dsm.common.v1 import status_service_pb2
from dsm.common.v1.status_service_pb2_grpc import StatusServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from services.kit.envelope import stream_subjects
from tests.faults import wire
from tests.faults.arena import Arena, Process
from tests.faults.deliveries.work import agreed, drained, flood_taken, insist, many, mine, outbox_left, started
from tests.faults.healing import HEAL_SECONDS, settled
from tests.harness import eventually
from tests.service.sprint.sprints import make

_WATCH_VERSIONS = """
    CREATE TABLE IF NOT EXISTS went_back (task_id text, was bigint, became bigint);
    CREATE OR REPLACE FUNCTION note_going_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO went_back VALUES (NEW.task_id, OLD.sprint_version, NEW.sprint_version); RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER went_back AFTER UPDATE ON task FOR EACH ROW
        WHEN (NEW.sprint_version < OLD.sprint_version) EXECUTE FUNCTION note_going_back();
"""


async def progress_reordered(arena: Arena, rng: Random, updates: int, tasks: int, window: int = 50) -> list[str]:
    """What the sprint service tells of its tasks reaches the backlog in another order (I3, I6)."""
    scene = await started(arena, tasks)
    assert await agreed(arena, scene) == []
    await arena.query("backlog", _WATCH_VERSIONS)
    await arena.stop("backlog")

    async def report(number: int) -> None:
        await insist(partial(scene.report, scene.task_ids[number % tasks], rng.randrange(1, 100)))

    await many(report, updates)
    count = await reorder(arena, rng, "sprint", "DSM_SPRINT", window)
    await arena.start("backlog")
    await flood_taken(arena, "DSM_SPRINT", "backlog-dsm_sprint")
    wrong = await agreed(arena, scene)
    back = await arena.query("backlog", "SELECT * FROM went_back WHERE starts_with(task_id, %(id)s)", mine(scene))
    wrong += [f"{row['task_id']} went from version {row['was']} back to {row['became']}" for row in back]
    print(f"reordered: {updates} reports on {tasks} tasks, {count} messages within {window}, wrong {len(wrong)}")
    return wrong


async def titles_reordered(arena: Arena, rng: Random, updates: int, tasks: int, window: int = 50) -> list[str]:
    """What the backlog tells of its tasks reaches the sprint service in another order (I6)."""
    scene = await started(arena, tasks)
    await arena.stop("sprint")

    async def rename(number: int) -> None:
        task = Task(task_id=scene.task_ids[number % tasks], title=f"Title {number}", points=rng.randrange(1, 100))
        mask = FieldMask(paths=["title", "points"])
        request = backlog_pb.UpdateTaskRequest(task=task, update_mask=mask)
        await insist(partial(scene.backlog.UpdateTask, request))

    await many(rename, updates)
    count = await reorder(arena, rng, "backlog", "DSM_BACKLOG", window)
    await arena.start("sprint")
    await flood_taken(arena, "DSM_BACKLOG", "sprint-dsm_backlog")

    async def difference() -> list[str]:
        sql = "SELECT task_id, title, points::float8 FROM task WHERE project_id = %(id)s ORDER BY task_id"
        theirs = await arena.query("backlog", sql, mine(scene))
        sql = "SELECT task_id, title, points::float8 FROM sprint_task WHERE project_id = %(id)s ORDER BY task_id"
        ours = await arena.query("sprint", sql, mine(scene))
        return [f"backlog {a} but sprint {b}" for a, b in zip(theirs, ours, strict=True) if a != b]

    wrong = await settled(difference)
    print(f"reordered: {updates} updates of {tasks} tasks, {count} messages within {window}, wrong {len(wrong)}")
    return wrong


async def reorder(arena: Arena, rng: Random, service: str, stream: str, window: int) -> int:
    """Put what is on a stream, once its service has told all, into another order; the number of messages."""
    await eventually(lambda: drained(arena, service), 60)
    messages = await wire.read(arena.stack.nats.url, stream)
    await wire.delete(arena.stack.nats.url, stream)
    # Its service makes the stream again with what comes next; here nothing comes before this.
    async with wire.jetstream(arena.stack.nats.url) as js:
        await js.add_stream(name=stream, subjects=[stream_subjects(stream)], duplicate_window=1)
    await wire.publish(arena.stack.nats.url, wire.within(messages, window, [rng.random() for _ in messages]))
    return len(messages)


async def relay_stalled(arena: Arena, rng: Random, updates: int, seconds: float) -> list[str]:
    """One of two replicas of the backlog stalls, each time between reading its outbox and publishing that (I6).

    JetStream remembers ids for less than the stall here, as it does for less than the longest stall of a real machine.
    """
    scene = await make(arena, points=[1] * 10)
    # A relay that begins tells again what a young stream was told first: that shall not be held up too.
    await arena.stop("backlog")
    await arena.launch("backlog")
    await eventually(lambda: drained(arena, "backlog"), HEAL_SECONDS)
    await arena.stop("backlog")
    first = await arena.launch("backlog", failpoints=f"outbox.before-publish=sleep:{seconds}")
    await eventually(lambda: _publishes(first))
    second = await arena.launch("backlog", beside=True)
    stubs = [BacklogServiceStub(process.channel) for process in (first, second)]
    ends = asyncio.get_running_loop().time() + 3 * seconds

    async def rename(task_id: str) -> int:
        number = 0
        while number < updates / len(scene.task_ids) or asyncio.get_running_loop().time() < ends:
            number += 1
            task = Task(task_id=task_id, title=f"Title {number}")
            request = backlog_pb.UpdateTaskRequest(task=task, update_mask=FieldMask(paths=["title"]))
            await insist(partial(rng.choice(stubs).UpdateTask, request, timeout=30))
            await asyncio.sleep(0.01)
        return number

    made = sum(await asyncio.gather(*map(rename, scene.task_ids)))
    wrong = await outbox_left(arena, "backlog")
    versions: dict[str, list[int]] = defaultdict(list)
    for message in await wire.read(arena.stack.nats.url, "DSM_BACKLOG"):
        # That the tasks were made may rightly be told again by the process that comes after the one that told it.
        if message.event.project_id == scene.project_id and message.event.aggregate_version > 1:
            versions[message.event.aggregate_id].append(message.event.aggregate_version)
    for task_id, told in versions.items():
        if told != sorted(set(told)):
            wrong.append(f"{task_id} was told in the order {told}")
    await second.kill()
    print(f"stalled relay: {made} updates of {len(versions)} tasks in {seconds} s, wrong {len(wrong)}")
    assert made >= updates
    return wrong


async def _publishes(process: Process) -> bool:
    stub = StatusServiceStub(process.channel)
    answer: Any = await stub.GetStatus(status_service_pb2.GetStatusRequest())
    return bool(answer.services[0].event_stream.publishing)
