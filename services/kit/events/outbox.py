"""The relay: publishes what was committed, in order, one relay at a time per service.

Every replica runs one; an advisory lock lets one publish. It reads what is unpublished (not 'after the last id', which
would lose rows that commit late), keeps many publishes in flight, and marks what JetStream acknowledged. It is woken by
the commits of its own process at once, by NOTIFY from the relays of other replicas, and looks by itself every second.
"""

import asyncio
import time
from contextlib import suppress
from datetime import datetime
from typing import Any

import nats.errors
import psycopg
import structlog
from dsm.events.v1 import event_pb2
from nats.js.api import PubAck
from nats.js.errors import APIError, NoStreamResponseError, TooManyStalledMsgsError
from psycopg.rows import dict_row, tuple_row

from services.kit import failpoint
from services.kit.data.database import Database, WriteHandle
from services.kit.envelope import stream_of
from services.kit.errors import DatabaseUnavailable
from services.kit.events.agreement import Acknowledged, Agreement, Place
from services.kit.events.rest import rest
from services.kit.events.stream import Stream
from services.kit.telemetry import metrics, trace

log = structlog.get_logger()

BATCH = 1000
IDLE_SECONDS = 1.0
ACK_TIMEOUT = 5.0
# How soon it is seen that the connection was lost meanwhile.
_LOOK_SECONDS = 0.25
# A relay that hangs, though its connection stays, loses its lock after so long, and another replica publishes.
_SESSION = """
    SET idle_session_timeout = '15s'; SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 2;
    SET tcp_keepalives_count = 3
"""
_CHANNEL = "outbox"
# One lock per database; the number is "dsm" and says nothing else.
_LOCK = "SELECT pg_try_advisory_lock(6583149)"
_UNPUBLISHED = """
    SELECT position, event_id, subject, payload FROM outbox
    WHERE publish_time IS NULL ORDER BY position LIMIT %(limit)s
"""
_PUBLISHED = """
    UPDATE outbox SET publish_time = now(), sequence = acknowledged.sequence
    FROM unnest(%(positions)s::bigint[], %(sequences)s::bigint[]) AS acknowledged(position, sequence)
    WHERE outbox.position = acknowledged.position
"""
_DEPTH = """
    SELECT count(*), coalesce(extract(epoch FROM now() - min(create_time)), 0)::float8
    FROM outbox WHERE publish_time IS NULL
"""
_REPLAY = "UPDATE outbox SET publish_time = NULL WHERE create_time >= %(since)s AND publish_time IS NOT NULL"
_LOST = (psycopg.OperationalError, psycopg.InterfaceError, OSError)
_NATS_FAULTS = (nats.errors.Error, APIError, NoStreamResponseError, TooManyStalledMsgsError, TimeoutError, OSError)


class Relay:
    """Publishes the outbox of one database."""

    def __init__(self, database: Database, stream: Stream, retention_hours: float = 7 * 24) -> None:
        self._database = database
        self._stream = stream
        self._retention_hours = retention_hours
        self._wake = asyncio.Event()
        self._ensured: set[str] = set()
        self._agreement = self._new_agreement()
        self.publishing = False
        database.on_commit.append(self._wake.set)

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            try:
                self._database.refuse_misfit()
                url = self._database.url
                async with await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=5) as connection:
                    await connection.execute(_SESSION)
                    await self._serve(connection)
            except (*_LOST, DatabaseUnavailable):
                await asyncio.sleep(0.25)
            finally:
                self.publishing = False

    @property
    def outrun(self) -> bool:
        """Whether the stream holds what the database does not know."""
        return self._agreement.outrun

    async def depth(self) -> tuple[int, float]:
        """Events that wait, and the age of the oldest in seconds."""
        return await self._database.read.one(_DEPTH, row=tuple_row)

    async def replay(self, tx: WriteHandle, since: datetime) -> int:
        """Queue everything committed since a time again; the number of events. `wake` it after the commit."""
        return await tx.execute(_REPLAY, {"since": since})

    def wake(self) -> None:
        """Look for unpublished events now."""
        self._wake.set()

    def _new_agreement(self) -> Agreement:
        return Agreement(self._database.service, self._stream, self._retention_hours)

    async def _serve(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while not await _try_lock(connection):
            await self._idle(connection)
            self._wake.clear()
            # Another replica publishes: tell it that this one has committed something.
            await connection.execute(f"NOTIFY {_CHANNEL}")
        self.publishing = True
        # Meanwhile another replica may have published.
        self._agreement = self._new_agreement()
        await connection.execute(f"LISTEN {_CHANNEL}")
        while True:
            # Leaves the lock to a replica that knows the schema.
            self._database.refuse_misfit()
            self._wake.clear()
            if not self._stream.connected:
                # Keeps the session, and with it the lock.
                await connection.execute("SELECT")
                await asyncio.sleep(0.1)
                continue
            began = time.monotonic()
            published = await self._publish(connection) if await self._agreement.reached(connection) else 0
            if not published:
                await self._idle(connection)
            elif published < BATCH:
                await rest(time.monotonic() - began)

    async def _publish(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Publish one batch; the number of events acknowledged. A fault leaves the rest for the next round."""
        cursor = connection.cursor(row_factory=dict_row)
        batch = await (await cursor.execute(_UNPUBLISHED, {"limit": BATCH})).fetchall()
        if not batch:
            return 0
        await failpoint.reach(failpoint.OUTBOX_BEFORE_PUBLISH)
        acknowledged = await self._send(batch)
        await failpoint.reach(failpoint.OUTBOX_AFTER_PUBLISH)
        if not self._agreement.take(acknowledged):
            # Published again when the streams have been looked at.
            acknowledged = []
        if acknowledged:
            positions = [one.position for one in acknowledged]
            sequences = [one.place.sequence for one in acknowledged]
            await connection.execute(_PUBLISHED, {"positions": positions, "sequences": sequences})
            metrics.EVENTS_PUBLISHED.labels(self._database.service).inc(len(acknowledged))
        if len(acknowledged) < len(batch):
            await asyncio.sleep(0.1)
        return len(acknowledged)

    async def _send(self, batch: list[dict[str, Any]]) -> list[Acknowledged]:
        js, connections = self._stream.context, self._stream.connections
        pending: list[tuple[dict[str, Any], asyncio.Future[PubAck], trace.Span]] = []
        try:
            for row in batch:
                await self._ensure(row["subject"])
                span = self._span(row)
                headers = {"Nats-Msg-Id": str(row["event_id"]), "Dsm-Type": row["subject"]}
                if span.traceparent:
                    headers[trace.HEADER] = span.traceparent
                future = await js.publish_async(row["subject"], row["payload"], wait_stall=ACK_TIMEOUT, headers=headers)
                pending.append((row, future, span))
        except _NATS_FAULTS as error:
            log.info("outbox.publish_failed", service=self._database.service, error=type(error).__name__)
        waiting, until = {future for _, future, _ in pending}, time.monotonic() + ACK_TIMEOUT
        # What was on its way when the connection was lost is acknowledged to nobody.
        while waiting and time.monotonic() < until and self._stream.connections == connections:
            _, waiting = await asyncio.wait(waiting, timeout=_LOOK_SECONDS)
        answers = [(row, _answer(future, span)) for row, future, span in pending]
        acknowledged = [_acknowledged(row, answer) for row, answer in answers if answer]
        if len(acknowledged) < len(batch):
            # The stream itself may be gone; look again before the next batch.
            self._ensured.clear()
        return acknowledged

    def _span(self, row: dict[str, Any]) -> trace.Span:
        """The span of a publishing, in the trace of what caused the event."""
        parent = trace.given(event_pb2.Event.FromString(row["payload"]).traceparent)
        if not parent:
            return trace.Span()
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.type": "send",
            "messaging.destination.name": row["subject"],
            "messaging.message.id": str(row["event_id"]),
        }
        name = f"publish {row['subject']}"
        return trace.follow(self._database.service, name, trace.Kind.PRODUCER, parent, attributes)

    async def _ensure(self, subject: str) -> None:
        stream = stream_of(subject)
        if stream not in self._ensured:
            await self._stream.ensure(stream)
            self._ensured.add(stream)

    async def _idle(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Wait for a commit here, a NOTIFY from elsewhere (the socket becomes readable), or a second."""
        loop = asyncio.get_running_loop()
        loop.add_reader(connection.fileno(), self._wake.set)
        try:
            # Not wait_for, which in Python 3.11 loses a cancellation that comes together with the wake-up.
            with suppress(TimeoutError):
                async with asyncio.timeout(IDLE_SECONDS):
                    await self._wake.wait()
        finally:
            loop.remove_reader(connection.fileno())


async def _try_lock(connection: psycopg.AsyncConnection[Any]) -> bool:
    row = await (await connection.execute(_LOCK)).fetchone()
    return bool(row and row[0])


def _answer(future: asyncio.Future[PubAck], span: trace.Span) -> PubAck | None:
    """What JetStream said of an event; None if it did not, or refused it."""
    done = future.done()
    if not done:
        future.cancel()
    answer = future.result() if done and not future.cancelled() and future.exception() is None else None
    if answer is None:
        span.failed("UNACKNOWLEDGED")
    span.end()
    return answer


def _acknowledged(row: dict[str, Any], answer: PubAck) -> Acknowledged:
    place = Place(answer.seq, str(row["event_id"]))
    return Acknowledged(row["position"], row["subject"], place, repeated=bool(answer.duplicate))
