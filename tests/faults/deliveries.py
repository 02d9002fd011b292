"""Faults on the way of an event, each with what must hold afterwards.

Every function makes its fault in an arena and gives what is violated, in sentences; nothing is well. The tests want
nothing, the negative controls, whose arena has a protection broken, want something.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import UUID, uuid4

import grpc
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.backlog.v1.task_pb2 import Task
from dsm.events.v1 import event_pb2, sprint_events_pb2

from tests.faults import wire
from tests.faults.arena import Arena
from tests.faults.wire import Message
from tests.harness import eventually
from tests.service.sprints import Fixture, make

# I3 and I5: how long after the healing everything may still be under way.
HEAL_SECONDS = 10.0
PROGRESSED = "dsm.in.sprint.v1.task.progressed"
_CLIENTS = 16


# --- commit and publish ---------------------------------------------------------------------------


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
    wrong = await _outbox_left(arena, "backlog")
    rows = await arena.query("backlog", "SELECT task_id, title FROM task WHERE project_id = %(id)s", _id(scene))
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
    """What is committed and not told, or told and not committed, or told twice, of tasks that were created."""
    messages = await wire.read(arena.stack.nats.url, "DSM_BACKLOG")
    events = [message.event for message in messages if message.subject == "dsm.backlog.v1.task.created"]
    counts = Counter(event.aggregate_id for event in events if event.project_id == project_id)
    wrong = [f"{task_id} is committed and was never told" for task_id in sorted(task_ids - set(counts))]
    wrong += [f"{task_id} was told and is not committed" for task_id in sorted(set(counts) - task_ids)]
    return wrong + [f"{task_id} was told {times} times" for task_id, times in counts.items() if times > 1]


async def _outbox_left(arena: Arena, service: str) -> list[str]:
    try:
        await eventually(lambda: _drained(arena, service), HEAL_SECONDS)
    except AssertionError as error:
        return [f"the outbox of {service} is not drained {HEAL_SECONDS} s after the healing: {error}"]
    return []


async def _drained(arena: Arena, service: str) -> bool:
    [row] = await arena.query(service, "SELECT count(*) AS left FROM outbox WHERE publish_time IS NULL")
    return int(row["left"]) == 0


# --- effect and acknowledgement -------------------------------------------------------------------


async def reports_while_dying(arena: Arena, rng: Random, events: int, lives: Sequence[str]) -> list[str]:
    """Work is reported by events while the sprint service is killed between effect and acknowledgement (I3, I4)."""
    scene = await started(arena, tasks=20)
    before = await _versions(arena, scene)
    await arena.stop("sprint")
    messages = reports(rng, scene, events)
    await wire.publish(arena.stack.nats.url, messages)
    await arena.dying("sprint", lives)
    return await _effects(arena, scene, before, messages)


async def delivered_often(arena: Arena, rng: Random, events: int, times: int) -> list[str]:
    """Each report of work is delivered many times, under the id that JetStream knows, another and none (I4)."""
    scene = await started(arena, tasks=20)
    before = await _versions(arena, scene)
    messages = reports(rng, scene, events)
    copies = [Message(m.subject, m.data, rng.choice(["", str(uuid4()), m.msg_id])) for m in messages * (times - 1)]
    everything = messages + copies
    rng.shuffle(everything)
    await wire.publish(arena.stack.nats.url, everything)
    return await _effects(arena, scene, before, messages)


def reports(rng: Random, scene: Fixture, count: int) -> list[Message]:
    """Reports of work, all of one instant: whatever their order, none comes too late, so each has its effect."""
    now, found = datetime.now(UTC), []
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
    await scene.start(max_tasks=tasks)
    return scene


async def _versions(arena: Arena, scene: Fixture) -> dict[str, int]:
    sql = "SELECT task_id, version FROM sprint_task WHERE project_id = %(id)s"
    return {row["task_id"]: row["version"] for row in await arena.query("sprint", sql, _id(scene))}


async def _effects(arena: Arena, scene: Fixture, before: dict[str, int], messages: Sequence[Message]) -> list[str]:
    """What is wrong with the effects of reports, once all are applied: each has one entry and one version."""
    expected = Counter(message.event.task_progressed.task_id for message in messages)
    began = asyncio.get_running_loop().time()
    wrong = []
    try:
        await eventually(lambda: _taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), HEAL_SECONDS)
    except AssertionError as error:
        wrong.append(f"not applied {HEAL_SECONDS} s after the healing: {error}")
        await eventually(lambda: _taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    seconds = asyncio.get_running_loop().time() - began
    sql = "SELECT work_note, count(*) AS times FROM progress_entry WHERE sprint_id = %(id)s GROUP BY work_note"
    entries = {row["work_note"]: row["times"] for row in await arena.query("sprint", sql, {"id": _sprint_id(scene)})}
    for message in messages:
        note = message.event.task_progressed.yesterday_work
        if entries.get(note, 0) != 1:
            wrong.append(f"{note} has {entries.get(note, 0)} effects")
    after = await _versions(arena, scene)
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
        theirs = await arena.query("backlog", sql, _id(scene))
        sql = """
            SELECT task_id, version, progress_percent, state, assignee_id FROM sprint_task
            WHERE project_id = %(id)s AND outcome IS NULL ORDER BY task_id
        """
        ours = await arena.query("sprint", sql, _id(scene))
        return [f"sprint {a} but backlog {b}" for a, b in zip(ours, theirs, strict=True) if a != b]

    try:
        await eventually(lambda: _nothing(difference), HEAL_SECONDS)
    except AssertionError:
        return await difference()
    return []


async def _nothing(difference: Any) -> bool:
    return not await difference()


async def _taken(arena: Arena, stream: str, consumer: str) -> bool:
    async with wire.jetstream(arena.stack.nats.url) as js:
        info = await js.consumer_info(stream, consumer)
    return not info.num_pending and not info.num_ack_pending


def _sprint_id(scene: Fixture) -> str:
    return f"{scene.project_id}-S01"


def _id(scene: Fixture) -> dict[str, str]:
    return {"id": scene.project_id}
