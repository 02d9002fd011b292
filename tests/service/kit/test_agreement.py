"""A NATS that comes back as another one than it was is filled again from the outbox, and only then."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import nats.errors
import pytest
from dsm.events.v1 import event_pb2

from services.kit.data.database import Database, WriteHandle
from services.kit.events import agreement, inbox
from services.kit.events.inbox import Consumer, Subscription
from services.kit.events.outbox import Relay
from services.kit.events.stream import Stream
from services.local.nats import NatsServer
from services.local.stack import Stack
from tests.harness import eventually
from tests.service.kit.small_service import make_database, payload_of

STREAM = "DSM_PROJECT"
SUBJECT = "dsm.project.v1.project.created"
_COUNT = "INSERT INTO thing (id) VALUES (%(id)s) ON CONFLICT (id) DO UPDATE SET version = thing.version + 1"
# What was published within seconds of a stream's making counts as published to the one before, for clocks differ. Here
# everything was long after.
_LONG_AFTER = """
    UPDATE outbox SET create_time = create_time + interval '1 day', publish_time = publish_time + interval '1 day'
    WHERE create_time < now() + interval '1 hour'
"""
_names = itertools.count(1)


class Scene:
    """An outbox, a NATS of its own that can be put back, and a consumer that counts what it applies."""

    def __init__(self, database: Database, stream: Stream, server: NatsServer) -> None:
        self.database = database
        self.stream = stream
        self.server = server
        self.relay = Relay(database, stream)
        self.consumer = Consumer(database, stream, Subscription(STREAM, (SUBJECT,), self._apply))
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._emitted = itertools.count(1)

    async def _apply(self, tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
        await tx.execute_many(_COUNT, [{"id": event.event_id} for event in events])

    def run(self, **loops: Callable[[], Any]) -> None:
        """Run loops by name; by default the relay's and the consumer's."""
        for name, loop in (loops or {"relay": self.relay.run, "consumer": self.consumer.run}).items():
            self._tasks[name] = asyncio.create_task(loop())

    async def halt(self, *names: str) -> None:
        """End some loops; by default all."""
        ended = [self._tasks.pop(name) for name in names or list(self._tasks)]
        for task in ended:
            task.cancel()
        await asyncio.gather(*ended, return_exceptions=True)

    async def emit(self, number: int) -> None:
        """Commit some events."""
        async with self.database.write(keyed=False) as tx:
            for name in (f"P-{next(self._emitted)}" for _ in range(number)):
                tx.emit(payload_of(name), aggregate=("project", name), version=1)

    async def told(self, number: int) -> None:
        """Commit some events, and wait until each is published and applied."""
        await self.emit(number)
        await eventually(self.whole)
        async with self.database.write(keyed=False) as tx:
            await tx.execute(_LONG_AFTER)

    async def whole(self) -> bool:
        """Whether all is published, on the stream, and has had its effect."""
        try:
            quiet = (await self.relay.depth())[0] == 0 and not await self.unapplied()
            return quiet and {row["id"] for row in await self.outbox()} <= set(await self.ids())
        except (nats.errors.Error, TimeoutError):
            return False

    async def outbox(self) -> list[dict[str, Any]]:
        """What was committed, and when it was published."""
        sql = "SELECT event_id::text AS id, subject, payload, publish_time, sequence FROM outbox ORDER BY position"
        return await self.database.read.rows(sql)

    async def unapplied(self) -> list[dict[str, Any]]:
        """Events that had no effect, or more than one."""
        sql = """
            SELECT event_id, version FROM outbox LEFT JOIN thing ON id = event_id::text
            WHERE version IS DISTINCT FROM 1
        """
        return await self.database.read.rows(sql)

    async def ids(self) -> list[str]:
        """The ids of the stream's messages."""
        state = await self.stream.state(STREAM)
        assert state
        found = [await self.stream.message_id(STREAM, place) for place in range(state.first, state.last + 1)]
        return [one for one in found if one]

    @property
    def store(self) -> Path:
        """Where the server keeps its data."""
        return self.server.store_dir / "jetstream"

    async def snapshot(self, to: Path) -> Path:
        """Stop the server, copy its data and go on."""
        self.server.stop()
        shutil.copytree(self.store, to)
        await self.again()
        return to

    async def put_back(self, copy: Path) -> None:
        """Kill the server and start it with its data of a snapshot."""
        self.server.kill()
        shutil.rmtree(self.store)
        shutil.copytree(copy, self.store)
        await self.again()

    async def again(self) -> None:
        """Start the server; return when the client has found it."""
        before = self.stream.connections
        self.server.restart()
        await eventually(lambda: self.stream.connected and self.stream.connections > before)


@asynccontextmanager
async def _scene(stack: Stack, folder: Path) -> AsyncIterator[Scene]:
    database = await make_database(stack, f"agreement_{next(_names)}")
    server = NatsServer.start(folder / "nats", 0, monitor_port=0, durable=False)
    stream = Stream("kit-test", server.url)
    stream.start()
    await stream.wait_connected()
    scene = Scene(database, stream, server)
    scene.run()
    try:
        yield scene
    finally:
        await scene.halt()
        await stream.close()
        server.stop()
        await database.close()


@pytest.fixture
async def scene(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Scene]:
    # A request for messages is lost with each NATS that ends.
    monkeypatch.setattr(inbox, "FETCH_SECONDS", 0.3)
    async with _scene(stack, tmp_path) as made:
        yield made


async def test_what_a_stream_lost_by_going_back_is_published_again(scene: Scene, tmp_path: Path) -> None:
    await scene.told(50)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(50)
    before = await scene.outbox()
    await scene.put_back(copy)
    await eventually(scene.whole)
    # The other half was never lost.
    assert [row["publish_time"] for row in (await scene.outbox())[:50]] == [row["publish_time"] for row in before[:50]]
    assert len(await scene.ids()) == 100


async def test_what_waits_is_published_behind_what_was_lost(scene: Scene, tmp_path: Path) -> None:
    await scene.told(20)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(20)
    scene.server.kill()
    # More than the relay sends at once.
    await scene.emit(1100)
    await scene.put_back(copy)
    await eventually(scene.whole)
    assert [row["id"] for row in await scene.outbox()] == await scene.ids()


@pytest.mark.parametrize("between", [1, 7, 60], ids=lambda number: f"{number} events")
async def test_it_is_seen_also_if_something_was_published_between(scene: Scene, tmp_path: Path, between: int) -> None:
    await scene.told(13)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(30)
    await scene.halt("relay")
    await scene.put_back(copy)
    await scene.emit(between)
    # As a client does that sends what it had kept when it is connected again.
    for row in (await scene.outbox())[43:]:
        await scene.stream.context.publish(row["subject"], row["payload"], headers={"Nats-Msg-Id": row["id"]})
    scene.run(relay=scene.relay.run)
    await eventually(scene.whole)
    assert len(set(await scene.ids())) == 43 + between


@pytest.mark.parametrize("idle", [True, False], ids=["nothing is published", "something is published"])
async def test_it_is_seen_also_on_the_same_connection(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: bool
) -> None:
    """A stream that is restored from a backup while NATS runs."""
    if not idle:
        # It has to be seen by what JetStream answers.
        monkeypatch.setattr(agreement, "LOOK_SECONDS", 300)
    await scene.told(20)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(20)
    monkeypatch.setattr(Stream, "connections", scene.stream.connections)
    scene.server.kill()
    shutil.rmtree(scene.store)
    shutil.copytree(copy, scene.store)
    scene.server.restart()
    await eventually(lambda: scene.stream.connected)
    await scene.emit(0 if idle else 5)
    await eventually(scene.whole)


async def test_it_is_seen_by_a_service_that_was_away_meanwhile(scene: Scene, tmp_path: Path) -> None:
    await scene.told(20)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(20)
    await scene.halt()
    await scene.put_back(copy)
    # More than it reads back to find what was published last.
    await scene.emit(1100)
    scene.relay = Relay(scene.database, scene.stream)
    scene.run()
    await eventually(scene.whole)


async def test_what_was_published_without_a_place_is_told_by_its_time(scene: Scene, tmp_path: Path) -> None:
    """Rows of a version of DSM that kept no places."""
    await scene.told(10)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(10)
    async with scene.database.write(keyed=False) as tx:
        await tx.execute("UPDATE outbox SET sequence = NULL WHERE position BETWEEN 6 AND 15")
    await scene.told(10)
    before = await scene.outbox()
    await scene.put_back(copy)
    await eventually(scene.whole)
    after = await scene.outbox()
    kept = [old["publish_time"] == new["publish_time"] for old, new in zip(before, after, strict=True)]
    assert kept == [True] * 10 + [False] * 20


async def test_a_consumer_that_is_ahead_of_its_stream_begins_anew(scene: Scene) -> None:
    """After a power failure NATS may know what consumers were given better than what the stream held."""
    await scene.told(50)
    scene.server.stop()
    shutil.rmtree(scene.store / "$G" / "streams" / STREAM / "msgs")
    await scene.again()
    await scene.told(5)
    assert len(await scene.ids()) == 55


async def test_a_fault_while_they_are_compared_is_got_over(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await scene.told(20)
    copy = await scene.snapshot(tmp_path / "copy")
    await scene.told(20)
    asked = scene.stream.message_id
    faults = iter([nats.errors.TimeoutError(), OSError(), nats.errors.NoServersError()])

    async def fail_at_first(name: str, sequence: int) -> str | None:
        if asyncio.current_task() is scene._tasks["relay"] and (fault := next(faults, None)):
            assert (await scene.stream.state(STREAM)) == before, "something was published that was not compared"
            raise fault
        return await asked(name, sequence)

    monkeypatch.setattr(scene.stream, "message_id", fail_at_first)
    await scene.halt("relay")
    await scene.put_back(copy)
    before = await scene.stream.state(STREAM)
    await scene.emit(3)
    scene.run(relay=scene.relay.run)
    await eventually(scene.whole)
    assert next(faults, None) is None


async def test_what_was_deleted_by_hand_stays_deleted(scene: Scene) -> None:
    await scene.told(30)
    js = scene.stream.context
    for place in (3, 17, 30):
        await js.delete_msg(STREAM, place)
    await _looked_at(scene)
    assert len(await scene.ids()) == 28
    await js.purge_stream(STREAM)
    await _looked_at(scene)
    assert len(await scene.ids()) == 1
    await js.purge_stream(STREAM)
    await _looked_at(scene)
    assert len(await scene.ids()) == 1


async def _looked_at(scene: Scene) -> None:
    """Have the streams compared, and nothing published but one event, which is so after that."""
    before = await scene.outbox()
    scene.server.kill()
    await scene.again()
    await scene.emit(1)
    await eventually(lambda: _drained(scene))
    assert (await scene.outbox())[:-1] == before


async def _drained(scene: Scene) -> bool:
    return (await scene.relay.depth())[0] == 0
