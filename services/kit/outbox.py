"""The relay: publishes what was committed, in order, one relay at a time per service.

Every replica runs one; an advisory lock lets one publish. It reads what is unpublished (not 'after the last id', which
would lose rows that commit late), keeps many publishes in flight, and marks what JetStream acknowledged. It is woken by
the commits of its own process at once, by NOTIFY from the relays of other replicas, and looks by itself every second.
"""

import asyncio
import time
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import nats.errors
import psycopg
import structlog
from dsm.events.v1 import event_pb2
from google.protobuf.message import DecodeError
from nats.js.errors import APIError, NoStreamResponseError, TooManyStalledMsgsError
from psycopg.rows import dict_row, tuple_row

from services.kit import failpoint, metrics, trace
from services.kit.clock import utc_now
from services.kit.convert import to_time
from services.kit.database import Database, WriteHandle
from services.kit.errors import DatabaseUnavailable
from services.kit.events import stream_of, stream_subjects
from services.kit.stream import Stream

log = structlog.get_logger()

BATCH = 1000
IDLE_SECONDS = 1.0
ACK_TIMEOUT = 5.0
# How soon it is seen that the connection was lost meanwhile.
_LOOK_SECONDS = 0.25
# How often the streams themselves are looked at: whether they are still the ones that were published to.
STREAMS_SECONDS = 2.0
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
_PUBLISHED = "UPDATE outbox SET publish_time = now() WHERE position = ANY(%(positions)s)"
_DEPTH = """
    SELECT count(*), coalesce(extract(epoch FROM now() - min(create_time)), 0)::float8
    FROM outbox WHERE publish_time IS NULL
"""
_REPLAY = "UPDATE outbox SET publish_time = NULL WHERE create_time >= %(since)s AND publish_time IS NOT NULL"
# What was published to a stream before the stream was made: it was another stream, which is gone. The two times are of
# two clocks, hence the seconds; publishing an event again does no harm.
_REPLAY_LOST = """
    UPDATE outbox SET publish_time = NULL
    WHERE publish_time < %(made)s + interval '5 seconds' AND create_time < %(made)s + interval '5 seconds'
      AND starts_with(subject, %(prefix)s)
"""
# An outbox with nothing in it is not a restored one, but that of a new database beside an old stream.
_KNOWN = """
    SELECT NOT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM outbox WHERE event_id = %(event_id)s::uuid)
"""
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
        # When each stream was made, as last seen.
        self._made: dict[str, datetime] = {}
        self._look_at = 0.0
        self.publishing = False
        # The stream's last event, if the outbox does not know it though it is not old: the database was restored.
        self._unknown = ""
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
        return bool(self._unknown)

    async def depth(self) -> tuple[int, float]:
        """Events that wait, and the age of the oldest in seconds."""
        return await self._database.read.one(_DEPTH, row=tuple_row)

    async def replay(self, tx: WriteHandle, since: datetime) -> int:
        """Queue everything committed since a time again; the number of events. `wake` it after the commit."""
        return await tx.execute(_REPLAY, {"since": since})

    def wake(self) -> None:
        """Look for unpublished events now."""
        self._wake.set()

    async def _serve(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while not await _try_lock(connection):
            await self._idle(connection)
            self._wake.clear()
            # Another replica publishes: tell it that this one has committed something.
            await connection.execute(f"NOTIFY {_CHANNEL}")
        self.publishing = True
        await connection.execute(f"LISTEN {_CHANNEL}")
        compared = False
        while True:
            # Leaves the lock to a replica that knows the schema.
            self._database.refuse_misfit()
            self._wake.clear()
            if not self._stream.connected:
                # Keeps the session, and with it the lock.
                await connection.execute("SELECT")
                await asyncio.sleep(0.1)
                continue
            await self._look_at_streams(connection)
            if not compared:
                # Before the first publishing: after it, the stream's last event would be a known one again.
                compared = True
                await self._compare_last(connection)
            # Until it is recovered, a restored database adds nothing that stands against what is on the stream.
            if self._unknown or not await self._publish(connection):
                await self._idle(connection)

    async def _look_at_streams(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """Queue again what was published to a stream that is gone; consumers know what they have had of it."""
        if time.monotonic() < self._look_at:
            return
        self._look_at = time.monotonic() + STREAMS_SECONDS
        if self._unknown:
            await self._compare_last(connection)
        own = f"DSM_{self._database.service.upper()}"
        try:
            await self._stream.ensure(own)
            for stream in (own, f"{own}_IN"):
                made = await self._stream.made(stream)
                if made and made != self._made.get(stream):
                    prefix = stream_subjects(stream).removesuffix(">")
                    cursor = await connection.execute(_REPLAY_LOST, {"made": made, "prefix": prefix})
                    self._made[stream] = made
                    if cursor.rowcount:
                        log.warning("outbox.replayed", stream=stream, events=cursor.rowcount)
        except _NATS_FAULTS as error:
            log.info("outbox.streams_unknown", service=self._database.service, error=type(error).__name__)

    async def _compare_last(self, connection: psycopg.AsyncConnection[Any]) -> None:
        """See whether the stream's last event is one of the outbox; what cannot be seen is no reason not to publish."""
        try:
            payload = await self._stream.last(f"DSM_{self._database.service.upper()}")
        except _NATS_FAULTS:
            return
        last, before = _event_of(payload), self._unknown
        self._unknown = ""
        # What is older may have served its time here.
        if last and to_time(last.event_time) > utc_now() - timedelta(hours=self._retention_hours):
            cursor = await connection.execute(_KNOWN, {"event_id": last.event_id})
            [known] = await cursor.fetchone() or [True]
            self._unknown = "" if known else last.event_id
        if self._unknown and not before:
            log.warning("outbox.outrun", service=self._database.service, event_id=self._unknown)

    async def _publish(self, connection: psycopg.AsyncConnection[Any]) -> int:
        """Publish one batch; the number of events acknowledged. A fault leaves the rest for the next round."""
        cursor = connection.cursor(row_factory=dict_row)
        batch = await (await cursor.execute(_UNPUBLISHED, {"limit": BATCH})).fetchall()
        if not batch:
            return 0
        await failpoint.reach(failpoint.OUTBOX_BEFORE_PUBLISH)
        positions = await self._send(batch)
        await failpoint.reach(failpoint.OUTBOX_AFTER_PUBLISH)
        if positions:
            await connection.execute(_PUBLISHED, {"positions": positions})
            metrics.EVENTS_PUBLISHED.labels(self._database.service).inc(len(positions))
        if len(positions) < len(batch):
            await asyncio.sleep(0.1)
        return len(positions)

    async def _send(self, batch: list[dict[str, Any]]) -> list[int]:
        js, connections = self._stream.context, self._stream.connections
        pending: list[tuple[int, asyncio.Future[Any], trace.Span]] = []
        try:
            for row in batch:
                await self._ensure(row["subject"])
                span = self._span(row)
                headers = {"Nats-Msg-Id": str(row["event_id"]), "Dsm-Type": row["subject"]}
                if span.traceparent:
                    headers[trace.HEADER] = span.traceparent
                future = await js.publish_async(row["subject"], row["payload"], wait_stall=ACK_TIMEOUT, headers=headers)
                pending.append((row["position"], future, span))
        except _NATS_FAULTS as error:
            log.info("outbox.publish_failed", service=self._database.service, error=type(error).__name__)
        waiting, until = {future for _, future, _ in pending}, time.monotonic() + ACK_TIMEOUT
        # What was on its way when the connection was lost is acknowledged to nobody.
        while waiting and time.monotonic() < until and self._stream.connections == connections:
            _, waiting = await asyncio.wait(waiting, timeout=_LOOK_SECONDS)
        acknowledged = [position for position, future, span in pending if _acknowledged(future, span)]
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


def _event_of(payload: bytes | None) -> event_pb2.Event | None:
    """An event with an id; None for anything else that somebody may have published."""
    try:
        event = event_pb2.Event.FromString(payload or b"")
        UUID(event.event_id)
    except (DecodeError, ValueError):
        return None
    return event


async def _try_lock(connection: psycopg.AsyncConnection[Any]) -> bool:
    row = await (await connection.execute(_LOCK)).fetchone()
    return bool(row and row[0])


def _acknowledged(future: asyncio.Future[Any], span: trace.Span) -> bool:
    done = future.done()
    if not done:
        future.cancel()
    acknowledged = done and not future.cancelled() and future.exception() is None
    if not acknowledged:
        span.failed("UNACKNOWLEDGED")
    span.end()
    return acknowledged
