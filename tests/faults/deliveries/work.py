"""Work on the tasks of a sprint, told by events; what has come of it, and the waiting for that."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from random import Random
from uuid import uuid4

import grpc
from dsm.events.v1 import event_pb2, sprint_events_pb2
from nats.js.errors import NotFoundError

from tests.faults import wire
from tests.faults.arena import Arena
from tests.faults.healing import HEAL_SECONDS, settled
from tests.faults.wire import Message
from tests.harness import eventually
from tests.service.sprint.sprints import Fixture, make

PROGRESSED = "dsm.in.sprint.v1.task.progressed"


def reports(rng: Random, scene: Fixture, count: int, instant: datetime | None = None) -> list[Message]:
    """Reports of work, all of one instant: whatever their order, none comes too late, so each has its effect."""
    now, found = instant or datetime.now(UTC), []
    for number in range(count):
        payload = sprint_events_pb2.TaskProgressed(
            task_id=scene.task_ids[number % len(scene.task_ids)],
            new_total_progress=rng.randrange(1, 100),
            yesterday_work=f"Report {number}",
        )
        event = event_pb2.Event(event_id=str(uuid4()), task_progressed=payload)
        event.event_time.FromDatetime(now)
        found.append(Message(PROGRESSED, event.SerializeToString(), event.event_id))
    return found


async def started(arena: Arena, tasks: int, people: int = 2) -> Fixture:
    """A project whose sprint is under way with all its tasks."""
    scene = await make(arena, people=people, points=[1] * tasks)
    await insist(partial(scene.start, max_tasks=tasks))
    return scene


async def versions(arena: Arena, scene: Fixture) -> dict[str, int]:
    """The version of each task, by the sprint service."""
    sql = "SELECT task_id, version FROM sprint_task WHERE project_id = %(id)s"
    return {row["task_id"]: row["version"] for row in await arena.query("sprint", sql, mine(scene))}


async def effects(
    arena: Arena,
    scene: Fixture,
    before: dict[str, int],
    messages: Sequence[Message],
    alike: Sequence[Message] = (),
) -> list[str]:
    """What is wrong with the effects of reports, once all are applied: each has one entry and one version.

    `alike` are further ones whose notes do not tell them apart.
    """
    expected = Counter(message.event.task_progressed.task_id for message in [*messages, *alike])
    began = asyncio.get_running_loop().time()
    wrong = []
    try:
        await eventually(lambda: taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), HEAL_SECONDS)
    except AssertionError as error:
        wrong.append(f"not applied {HEAL_SECONDS} s after the healing: {error}")
        await eventually(lambda: taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    seconds = asyncio.get_running_loop().time() - began
    sql = "SELECT work_note, count(*) AS times FROM progress_entry WHERE sprint_id = %(id)s GROUP BY work_note"
    entries = {row["work_note"]: row["times"] for row in await arena.query("sprint", sql, {"id": sprint_of(scene)})}
    for message in messages:
        note = message.event.task_progressed.yesterday_work
        if entries.get(note, 0) != 1:
            wrong.append(f"{note} has {entries.get(note, 0)} effects")
    after = await versions(arena, scene)
    for task_id, times in expected.items():
        if after[task_id] != before[task_id] + times:
            wrong.append(f"{task_id} went from version {before[task_id]} to {after[task_id]} by {times} reports")
    wrong += await agreed(arena, scene)
    print(f"reports: {len(messages)}, effects {sum(entries.values())}, in {seconds:.1f} s, wrong {len(wrong)}")
    return wrong


async def agreed(arena: Arena, scene: Fixture) -> list[str]:
    """What backlog and sprint disagree on, once they had the time to agree (I3)."""

    async def difference() -> list[str]:
        sql = """
            SELECT task_id, sprint_version AS version, progress_percent, state, assignee_id FROM task
            WHERE project_id = %(id)s AND sprint_id <> '' ORDER BY task_id
        """
        theirs = await arena.query("backlog", sql, mine(scene))
        sql = """
            SELECT task_id, version, progress_percent, state, assignee_id FROM sprint_task
            WHERE project_id = %(id)s AND outcome IS NULL ORDER BY task_id
        """
        ours = await arena.query("sprint", sql, mine(scene))
        return [f"sprint {a} but backlog {b}" for a, b in zip(ours, theirs, strict=True) if a != b]

    return await settled(difference)


async def flood_taken(arena: Arena, stream: str, consumer: str) -> None:
    """Wait until thousands of messages are taken: not before that is the fault over, and the time to heal begins."""
    await eventually(lambda: taken(arena, stream, consumer), 600)


async def taken(arena: Arena, stream: str, consumer: str) -> bool:
    """Whether a consumer has taken in all that is on a stream."""
    async with wire.jetstream(arena.stack.nats.url) as js:
        try:
            info = await js.consumer_info(stream, consumer)
        except NotFoundError:
            return False
    return not info.num_pending and not info.num_ack_pending


async def outbox_left(arena: Arena, service: str) -> list[str]:
    """That a service's outbox is not drained, once it had the time (I5)."""
    try:
        await eventually(lambda: drained(arena, service), HEAL_SECONDS)
    except AssertionError as error:
        return [f"the outbox of {service} is not drained {HEAL_SECONDS} s after the healing: {error}"]
    return []


async def drained(arena: Arena, service: str) -> bool:
    """Whether all that a service has committed is published."""
    [row] = await arena.query(service, "SELECT count(*) AS left FROM outbox WHERE publish_time IS NULL")
    return int(row["left"]) == 0


async def many(call: Callable[[int], Awaitable[object]], times: int, at_once: int = 16) -> None:
    """Make a call many times, some at once, with their numbers."""
    numbers = iter(range(times))

    async def client() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(client() for _ in range(at_once)))


async def insist(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call again for as long as it is told to: others were quicker, or a service is only just back."""
    while True:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
                raise
            await asyncio.sleep(0.01)
        else:
            return


def sprint_of(scene: Fixture) -> str:
    """The sprint of a project that has one."""
    return f"{scene.project_id}-S01"


def mine(scene: Fixture) -> dict[str, str]:
    """The parameters of a query for a project."""
    return {"id": scene.project_id}
