"""Outbox and inbox, on real servers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from dsm.events.v1 import event_pb2
from nats.js.errors import NotFoundError

from services.kit.data.database import Database, WriteHandle
from services.kit.events import outbox
from services.kit.events.inbox import Consumer, Subscription
from services.kit.events.outbox import Relay
from services.kit.events.stream import Stream
from services.local.nats import NatsServer
from services.local.stack import Stack
from tests.harness import eventually
from tests.service.kit.small_service import payload_of


class _Recorder:
    """Applies events by writing their ids down, or fails as told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.poison: set[str] = set()
        self.tries = 0

    async def __call__(self, tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
        self.tries += 1
        for event in events:
            if event.aggregate_id in self.poison:
                raise ValueError("poison")
            await tx.execute(
                "INSERT INTO thing (id) VALUES (%(id)s) ON CONFLICT (id) DO UPDATE SET version = thing.version + 1",
                {"id": f"seen-{event.event_id}"},
            )
        self.seen += [event.aggregate_id for event in events]


@pytest_asyncio.fixture(scope="module")
async def flow(database: Database, stream: Stream) -> AsyncIterator[tuple[Relay, Consumer, _Recorder]]:
    relay, recorder = Relay(database, stream), _Recorder()
    subscription = Subscription("DSM_PROJECT", ("dsm.project.v1.project.>",), recorder)
    consumer = Consumer(database, stream, subscription, max_deliveries=2)
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(consumer.run())]
    yield relay, consumer, recorder
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _emit(database: Database, *ids: str) -> None:
    async with database.write(keyed=False) as tx:
        for aggregate_id in ids:
            tx.emit(payload_of(aggregate_id), aggregate=("project", aggregate_id), version=1)


async def test_events_arrive_once_and_in_order(database: Database, flow: tuple[Relay, Consumer, _Recorder]) -> None:
    relay, _, recorder = flow
    ids = [f"ORDER-{number}" for number in range(300)]
    await _emit(database, *ids)
    await eventually(lambda: [i for i in recorder.seen if i.startswith("ORDER-")] == ids)
    await eventually(lambda: _drained(relay))


async def test_a_lost_stream_is_rebuilt_without_a_second_effect(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    relay, consumer, recorder = flow
    await _emit(database, "REPLAY")
    await eventually(lambda: "REPLAY" in recorder.seen)
    await eventually(lambda: _drained(relay))
    since = await database.read.value("SELECT min(create_time) FROM outbox")
    # With the stream goes JetStream's own memory of ids, which would hide what the inbox is for.
    await stream.context.delete_stream("DSM_PROJECT")
    async with database.write(keyed=False) as tx:
        replayed = await relay.replay(tx, since)
    relay.wake()
    await eventually(lambda: _drained(relay))
    await eventually(lambda: _settled(consumer))
    assert (await stream.context.stream_info("DSM_PROJECT")).state.messages >= replayed > 0
    assert recorder.seen.count("REPLAY") == 1
    assert await database.read.value("SELECT max(version) FROM thing WHERE id LIKE 'seen-%%'") == 1


async def test_a_lost_stream_is_filled_again_by_itself(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    relay, consumer, recorder = flow
    await _emit(database, "FILLED")
    await eventually(lambda: "FILLED" in recorder.seen)
    await eventually(lambda: _drained(relay))
    committed = await database.read.value("SELECT count(*) FROM outbox WHERE subject LIKE 'dsm.project.%%'")
    await stream.context.delete_stream("DSM_PROJECT")

    async def filled() -> bool:
        try:
            return bool((await stream.context.stream_info("DSM_PROJECT")).state.messages >= committed)
        except NotFoundError:
            return False

    await eventually(filled)
    await eventually(lambda: _settled(consumer))
    assert recorder.seen.count("FILLED") == 1


async def test_a_slow_batch_is_not_delivered_again_while_it_is_applied(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kit.events.inbox.ACK_WAIT", 0.6)
    applied: list[int] = []

    async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
        # Far longer than a message stays with one who says nothing.
        await asyncio.sleep(2)
        applied.append(len(events))

    await _emit(database, "SLOW")
    slow = Consumer(database, stream, Subscription("DSM_PROJECT", ("dsm.project.v1.project.>",), apply), batch=1000)
    slow.name = "project-slow"
    task = asyncio.create_task(slow.run())
    await eventually(lambda: bool(applied))
    await eventually(lambda: _settled(slow))
    info = await stream.context.consumer_info("DSM_PROJECT", slow.name)
    task.cancel()
    await stream.context.delete_consumer("DSM_PROJECT", slow.name)
    # As many as there are messages: none came twice.
    assert info.delivered is not None
    assert info.ack_floor is not None
    assert info.delivered.consumer_seq == sum(applied)


async def test_what_does_not_concern_a_service_is_noted_without_an_effect(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    applied: list[str] = []

    async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
        applied.extend(event.aggregate_id for event in events)

    def concerns(event: event_pb2.Event) -> bool:
        return event.aggregate_id == "OF-CONCERN"

    subscription = Subscription("DSM_PROJECT", ("dsm.project.v1.project.>",), apply, concerns)
    chooser = Consumer(database, stream, subscription)
    chooser.name = "project-chooser"
    task = asyncio.create_task(chooser.run())
    for ids in (["STRANGER-1", "OF-CONCERN", "STRANGER-2"], ["STRANGER-3"]):
        await _emit(database, *ids)
        await eventually(lambda: _drained(flow[0]))
        await eventually(lambda: _settled(chooser))
    task.cancel()
    assert applied == ["OF-CONCERN"]
    noted = """
        SELECT count(*) FROM inbox i JOIN outbox o USING (event_id)
        WHERE consumer = %(consumer)s AND aggregate_id LIKE 'STRANGER-%%'
    """
    assert await database.read.value(noted, {"consumer": chooser.name}) == 3
    await stream.context.delete_consumer("DSM_PROJECT", chooser.name)


async def _drained(relay: Relay) -> bool:
    return (await relay.depth())[0] == 0


async def test_the_same_message_many_times_has_one_effect(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    event = database.event(payload_of("MANY"), aggregate=("project", "MANY"), version=1)
    for _ in range(10):
        await stream.context.publish("dsm.project.v1.project.created", event.SerializeToString())
    consumer = flow[1]
    await eventually(lambda: _settled(consumer))
    assert flow[2].seen.count("MANY") == 1


async def _settled(consumer: Consumer) -> bool:
    try:
        return await consumer.pending() == (0, 0)
    except NotFoundError:
        # The stream was deleted; the consumer has not come back yet.
        return False


async def test_a_bad_event_costs_its_neighbours_a_few_transactions(
    database: Database, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    """A batch taken one by one would cost as many as it has events, and what comes behind it would be late."""
    recorder = flow[2]
    ids = [f"NEIGHBOUR-{number}" for number in range(200)]
    recorder.poison.add(ids[100])
    before = recorder.tries
    await _emit(database, *ids)
    wanted = [i for i in ids if i != ids[100]]
    await eventually(lambda: [i for i in recorder.seen if i.startswith("NEIGHBOUR-")] == wanted)
    assert recorder.tries - before < 50
    letters = """
        SELECT count(*) FROM dead_letter d JOIN outbox o ON o.event_id::text = d.event_id WHERE aggregate_id = %(id)s
    """

    async def buried() -> bool:
        return bool(await database.read.value(letters, {"id": ids[100]}) == 1)

    await eventually(buried)
    await database.read.value("DELETE FROM dead_letter RETURNING 1")


async def test_poison_becomes_a_dead_letter_and_holds_nobody_up(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    recorder = flow[2]
    recorder.poison = {"POISON"}
    await stream.context.publish("dsm.project.v1.project.created", b"\xff not an event")
    await _emit(database, "BEFORE", "POISON", "AFTER")
    await eventually(lambda: {"BEFORE", "AFTER"} <= set(recorder.seen))
    letters = await eventually(lambda: _letters(database, 2))
    assert sorted(letter["attempts"] for letter in letters) == [1, 2]
    recorder.poison = set()
    [poison] = [letter for letter in letters if letter["event_id"]]
    await flow[1].apply_payload(poison["payload"])
    assert "POISON" in recorder.seen


async def _letters(database: Database, count: int) -> list[dict[str, Any]] | None:
    found = await database.read.rows("SELECT * FROM dead_letter")
    return found if len(found) == count else None


async def test_a_relay_does_not_wait_for_what_was_on_its_way_when_the_connection_was_lost(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "ACK_TIMEOUT", 300)
    server = NatsServer.start(tmp_path, 0, monitor_port=0, durable=False)
    stream = Stream("kit-test", server.url)
    stream.start()
    await stream.wait_connected()
    relay = Relay(database, stream)
    batch = [{"position": 1, "event_id": uuid4(), "subject": "dsm.project.v1.project.created", "payload": b""}]
    assert [one.position for one in await relay._send(batch)] == [1]
    os.kill(server.pid, signal.SIGSTOP)
    # Until all of its threads stand still: one that runs on might acknowledge.
    await asyncio.to_thread(os.waitid, os.P_PID, server.pid, os.WSTOPPED)
    client = stream._client
    sent = client.stats["out_msgs"]
    sending = asyncio.create_task(relay._send(batch))
    # On its way, and not what the client would send again by itself.
    await eventually(lambda: client.stats["out_msgs"] > sent and not client.pending_data_size)
    server.kill()
    again = NatsServer.start(tmp_path, server.port, monitor_port=0, durable=False)
    async with asyncio.timeout(30):
        assert await sending == []
    await stream.close()
    again.stop()


async def test_only_one_relay_publishes(stack: Stack, database: Database, stream: Stream, flow: Any) -> None:
    other_database = Database("project", database.url, pool_size=2)
    await other_database.open()
    other = Relay(other_database, stream)
    task = asyncio.create_task(other.run())
    await eventually(lambda: flow[0].publishing)
    await _emit(other_database, "ELSEWHERE")
    await eventually(lambda: "ELSEWHERE" in flow[2].seen)
    assert not other.publishing
    task.cancel()
    await other_database.close()
