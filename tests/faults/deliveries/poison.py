"""Some messages are such as no consumer can take."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any
from uuid import uuid4

from dsm.common.v1 import admin_service_pb2
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub

from tests.faults import wire
from tests.faults.arena import Arena, count
from tests.faults.deliveries.work import PROGRESSED, effects, reports, started, taken, versions
from tests.faults.wire import Message
from tests.harness import eventually
from tests.service.sprint.sprints import Fixture

# Messages a second while some of them are poison.
RATE = count(100, 40)
_TRAP = """
    CREATE OR REPLACE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a bug that will be mended'; END $$;
    CREATE OR REPLACE TRIGGER trap BEFORE INSERT ON progress_entry FOR EACH ROW
        WHEN (NEW.work_note = 'trapped') EXECUTE FUNCTION spring();
"""


async def poisoned(arena: Arena, rng: Random, events: int, deliveries: int, late_seconds: float = 1.0) -> list[str]:
    """One in a hundred messages is poison: it becomes a dead letter and holds nobody up.

    Late is what takes so much longer than the slowest of as many messages without poison among them.
    """
    scene = await started(arena, tasks=20)
    before = await versions(arena, scene)
    await arena.query("sprint", "DELETE FROM dead_letter")
    await arena.query("sprint", _TRAP)
    good = reports(rng, scene, events)
    calm, among = good[: events // 2], good[events // 2 :]
    usual = max(await _paced(arena, calm, calm))
    instant = datetime.now(UTC)
    bad = [poison(rng, scene, number, instant) for number in range(max(8, events // 100))]
    everything = [*among, *bad]
    rng.shuffle(everything)
    lateness = await _paced(arena, everything, among)
    # A machine that is as slow as that without poison says nothing about poison.
    void = usual > late_seconds / 2
    late = 0 if void else sum(seconds > usual + late_seconds for seconds in lateness)
    wrong = [f"{late} of {len(among)} are late, the latest {max(lateness):.1f} s, usual {usual:.1f} s"] * (late > 0)
    await eventually(lambda: taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    letters = await arena.query("sprint", "SELECT payload, attempts, error FROM dead_letter")
    buried = Counter(bytes(row["payload"]) for row in letters)
    for message in bad:
        if buried[message.data] != 1:
            wrong.append(f"{message.data[:40]!r} has {buried[message.data]} dead letters")
    # What cannot be read is no better the next time.
    attempts = Counter(row["attempts"] for row in letters)
    if set(attempts) != {1, deliveries}:
        wrong.append(f"dead letters after {dict(attempts)} tries")
    await arena.query("sprint", "DROP TRIGGER trap ON progress_entry")
    stub = AdminServiceStub(await arena.channel("sprint"))
    answer: Any = await stub.ReplayDeadLetters(admin_service_pb2.ReplayDeadLettersRequest(service="sprint"))
    trapped = [message for message in bad if b"trapped" in message.data]
    if (answer.applied_count, answer.failed_count) != (len(trapped), len(bad) - len(trapped)):
        wrong.append(f"replayed {answer.applied_count}, failed {answer.failed_count}")
    print(f"poison: {len(bad)} in {len(everything)}, tries {dict(attempts)}, wrong {len(wrong)}")
    print(f"poison: latest {max(lateness):.2f} s, without poison {usual:.2f} s{', void' if void else ''}")
    return wrong + await effects(arena, scene, before, good, alike=trapped)


def poison(rng: Random, scene: Fixture, number: int, instant: datetime) -> Message:
    """A message that no consumer can take: unreadable in one of six ways, or into a trap that is opened later."""
    event = reports(rng, scene, 1, instant)[0].event
    said = event.task_progressed
    match number % 8:
        case 0:
            return Message(PROGRESSED, rng.randbytes(50))
        case 1:
            event.ClearField("task_progressed")
        case 2:
            # A kind of event that a later version may bring: field 15,000 with two bytes in it.
            event.ClearField("task_progressed")
            return Message(PROGRESSED, event.SerializeToString() + b"\xc2\xa9\x07\x02hi", event.event_id)
        case 3:
            said.task_id = ""
        case 4:
            said.yesterday_work = "x" * 3_000_000
        case 5:
            event.event_id = "none"
        case 6:
            said.new_total_progress = 101
        case 7:
            said.yesterday_work = "trapped"
    return Message(PROGRESSED, event.SerializeToString(), str(uuid4()))


async def _paced(arena: Arena, messages: Sequence[Message], good: Sequence[Message]) -> list[float]:
    """Publish at an even rate; how many seconds after that each good one has had its effect."""
    published: dict[str, float] = {}
    seen: dict[str, float] = {}
    awaited = {message.msg_id for message in good}
    clock = asyncio.get_running_loop().time

    async def look() -> None:
        sql = "SELECT event_id::text FROM reported_progress"
        while awaited - seen.keys():
            for row in await arena.query("sprint", sql):
                seen.setdefault(row["event_id"], clock())
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    async with wire.jetstream(arena.stack.nats.url) as js:
        began, pending = clock(), []
        for number, message in enumerate(messages):
            await asyncio.sleep(max(0.0, began + number / RATE - clock()))
            headers = {"Nats-Msg-Id": message.msg_id} if message.msg_id else None
            pending.append(await js.publish_async(message.subject, message.data, headers=headers))
            published[message.msg_id] = clock()
        await asyncio.gather(*pending)
    async with asyncio.timeout(60):
        await looking
    return [seen[msg_id] - published[msg_id] for msg_id in awaited]
