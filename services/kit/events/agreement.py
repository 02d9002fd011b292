"""Whether the streams hold what the outbox says was published to them; what they lost is published again.

Who restores a database knows it; NATS may come back as another one without a word. A stream is made anew and is empty.
Or it is as it was some time ago, because a snapshot of it was restored, or because what it had acknowledged was not on
the disk when the power went. Each row of the outbox keeps the place in the stream (JetStream's sequence) that its event
was acknowledged for. Two histories of a stream are the same up to the place at which one began again, and differ from
there on: so the newest such row tells whether a stream went back, and a search how far.

The other way round, a stream that ends with an event which the outbox does not know is that of a restored database:
then nothing at all is published until `dsm recover` has been run.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import nats.errors
import psycopg
import structlog
from dsm.events.v1 import event_pb2
from google.protobuf.message import DecodeError
from nats.js.errors import APIError
from psycopg.rows import class_row

from services.kit.clock import utc_now
from services.kit.convert import to_time
from services.kit.envelope import consumer_name, stream_of, stream_subjects
from services.kit.events.stream import Stream, StreamState

log = structlog.get_logger()

# How often the streams are looked at, and how soon again if they could not be.
LOOK_SECONDS = 2.0
_AGAIN_SECONDS = 0.25
# What was published to a stream before the stream was made: it was another stream, which is gone. The two times are of
# two clocks, hence the seconds; publishing an event again does no harm.
_REPLAY_LOST = """
    UPDATE outbox SET publish_time = NULL, sequence = NULL
    WHERE publish_time < %(made)s + interval '5 seconds' AND create_time < %(made)s + interval '5 seconds'
      AND starts_with(subject, %(prefix)s)
"""
# What was published to a stream behind a place. Of a row without one (written by a version of DSM that kept none, or
# taken back by `dsm recover`) the time must tell.
_REPLAY_BEHIND = """
    UPDATE outbox SET publish_time = NULL, sequence = NULL
    WHERE starts_with(subject, %(prefix)s) AND (sequence > %(place)s OR sequence IS NULL AND publish_time > coalesce(
        (SELECT max(publish_time) FROM outbox WHERE starts_with(subject, %(prefix)s) AND sequence <= %(place)s),
        '-infinity'))
"""
# Published in the order of their positions, but for a few: those that were committed late. Quick however much waits.
_NEWEST = """
    SELECT sequence, event_id::text FROM outbox
    WHERE position > (SELECT position FROM outbox WHERE sequence IS NOT NULL ORDER BY position DESC LIMIT 1) - 1000
      AND sequence IS NOT NULL AND starts_with(subject, %(prefix)s)
    ORDER BY sequence DESC LIMIT 1
"""
# Reads the whole outbox, which only a stream that went back is worth.
_NEWEST_UP_TO = """
    SELECT sequence, event_id::text FROM outbox
    WHERE sequence > %(after)s AND sequence <= %(up_to)s AND starts_with(subject, %(prefix)s)
    ORDER BY sequence DESC LIMIT 1
"""
# An outbox with nothing in it is not a restored one, but that of a new database beside an old stream.
_KNOWN = """
    SELECT NOT EXISTS (SELECT FROM outbox) OR EXISTS (SELECT FROM outbox WHERE event_id = %(event_id)s::uuid)
"""

_NATS_FAULTS = (nats.errors.Error, APIError, TimeoutError, OSError)

Connection = psycopg.AsyncConnection[Any]


@dataclass(frozen=True, slots=True)
class Place:
    """Where in its stream an event is."""

    sequence: int
    event_id: str


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """What JetStream said of an event: its place, and whether it was `repeated`, that is, there already."""

    position: int
    subject: str
    place: Place
    repeated: bool


class Agreement:
    """What the relay that publishes knows of its service's streams; made anew by whoever gets the relay's lock."""

    def __init__(self, service: str, stream: Stream, retention_hours: float) -> None:
        self._service = service
        self._own = f"DSM_{service.upper()}"
        self._stream = stream
        self._retention = timedelta(hours=retention_hours)
        # The connection on which everything was compared, or is to be; another one may be to another NATS.
        self._connection = -1
        self._compared = False
        self._look_at = 0.0
        # When each stream was made, as last seen, and the newest place that was acknowledged for it.
        self._made: dict[str, datetime | None] = {}
        self._newest: dict[str, Place] = {}
        # The stream's last event, if the outbox does not know it though it is not old: the database was restored.
        self._unknown = ""

    @property
    def outrun(self) -> bool:
        """Whether the stream holds what the database does not know."""
        return bool(self._unknown)

    async def reached(self, connection: Connection) -> bool:
        """Look at the streams if it is time to; whether events may be published to them.

        Not before they were compared as they are now: what is published to a stream that went back takes the places by
        which that is seen. Nor while the database is outrun: what it publishes would stand against what is on the
        stream.
        """
        if self._connection != self._stream.connections:
            self._connection = self._stream.connections
            self._suspect()
        if time.monotonic() >= self._look_at:
            await self._look(connection)
        return self._compared and self._connection == self._stream.connections and not self._unknown

    def take(self, acknowledged: Sequence[Acknowledged]) -> bool:
        """Remember the places of events; False if one of them was another event's before, and then it does not count.

        A stream that gives a place again went back behind our back: all is compared before anything else is published.
        """
        newest = dict(self._newest)
        for one in acknowledged:
            stream = stream_of(one.subject)
            before = self._newest.get(stream)
            if before and one.place.sequence <= before.sequence and not one.repeated:
                self._suspect()
                return False
            if stream not in newest or one.place.sequence > newest[stream].sequence:
                newest[stream] = one.place
        self._newest = newest
        return True

    def _suspect(self) -> None:
        self._compared, self._look_at = False, 0.0

    async def _look(self, connection: Connection) -> None:
        self._look_at = time.monotonic() + LOOK_SECONDS
        try:
            await self._stream.ensure(self._own)
            if self._unknown or not self._compared:
                await self._compare_last(connection)
            for name in (self._own, f"{self._own}_IN"):
                await self._look_at_stream(connection, name)
        except _NATS_FAULTS as error:
            self._look_at = time.monotonic() + _AGAIN_SECONDS
            log.info("outbox.streams_unknown", service=self._service, error=type(error).__name__)
        else:
            self._compared = True

    async def _look_at_stream(self, connection: Connection, name: str) -> None:
        state = await self._stream.state(name)
        if state is None:
            return
        if anew := state.made != self._made.get(name):
            await self._replay(connection, name, _REPLAY_LOST, {"made": state.made})
            self._made[name] = state.made
        newest = self._newest.get(name)
        if anew or not self._compared or (newest and newest.sequence > state.last):
            await self._compare(connection, name)

    async def _compare(self, connection: Connection, name: str) -> None:
        """Publish again what a stream has lost; consumers know what they have had of it."""
        delivered = await self._stream.delivered(name)
        # Looked at after the consumers, who otherwise seem to be ahead of it while others publish.
        state = await self._stream.state(name)
        if state is None:
            return
        agreed, newest = state.last, self._newest.get(name)
        went_back = bool(newest and not self._unknown and not await self._holds(name, state, newest))
        if went_back:
            agreed = await self._agreed(connection, name, state)
        # First of all: when it is filled again nobody sees any more that they are ahead of it.
        await self._begin_anew(name, [consumer for consumer, at in delivered.items() if at > agreed])
        if went_back:
            await self._replay(connection, name, _REPLAY_BEHIND, {"place": agreed})

    async def _holds(self, name: str, state: StreamState, place: Place) -> bool:
        """Whether the stream has an event where it was acknowledged, or did until it expired or somebody deleted it."""
        if not state.first <= place.sequence <= state.last:
            return place.sequence < state.first
        return await self._stream.message_id(name, place.sequence) in (place.event_id, None)

    async def _agreed(self, connection: Connection, name: str, state: StreamState) -> int:
        """The place up to which stream and outbox tell the same; found by halving, for nothing behind it agrees."""
        agreed, differs, middle = max(0, state.first - 1), state.last + 1, state.last
        while agreed < differs - 1:
            place = await _place(connection, name, _NEWEST_UP_TO, {"after": agreed, "up_to": middle})
            if place is None or await self._holds(name, state, place):
                agreed = middle
            else:
                differs = place.sequence
            middle = (agreed + differs) // 2
        return agreed

    async def _begin_anew(self, name: str, consumers: Sequence[str]) -> None:
        """Forget consumers that are ahead of their stream: they would never be given what comes to those places now.

        DSM's own find themselves gone, and begin again; the inbox knows what they have had. Of others somebody else has
        to know.
        """
        for consumer in consumers:
            if consumer.endswith(consumer_name("", name)):
                await self._stream.forget(name, consumer)
            log.warning("stream.consumer_ahead", stream=name, consumer=consumer)

    async def _replay(self, connection: Connection, name: str, sql: str, params: dict[str, Any]) -> None:
        cursor = await connection.execute(sql, params | {"prefix": _prefix(name)})
        if cursor.rowcount:
            log.warning("outbox.replayed", stream=name, events=cursor.rowcount)
        self._newest.pop(name, None)
        if place := await _place(connection, name, _NEWEST, {}):
            self._newest[name] = place

    async def _compare_last(self, connection: Connection) -> None:
        """See whether the stream's last event is one of the outbox."""
        last, before = _event_of(await self._stream.last(self._own)), self._unknown
        self._unknown = ""
        # What is older may have served its time here.
        if last and to_time(last.event_time) > utc_now() - self._retention:
            cursor = await connection.execute(_KNOWN, {"event_id": last.event_id})
            [known] = await cursor.fetchone() or [True]
            self._unknown = "" if known else last.event_id
        if self._unknown and not before:
            log.warning("outbox.outrun", service=self._service, event_id=self._unknown)


async def _place(connection: Connection, name: str, sql: str, params: dict[str, Any]) -> Place | None:
    cursor = connection.cursor(row_factory=class_row(Place))
    return await (await cursor.execute(sql, params | {"prefix": _prefix(name)})).fetchone()


def _prefix(stream: str) -> str:
    """What the subjects of a stream begin with."""
    return stream_subjects(stream).removesuffix(">")


def _event_of(payload: bytes | None) -> event_pb2.Event | None:
    """An event with an id; None for anything else that somebody may have published."""
    try:
        event = event_pb2.Event.FromString(payload or b"")
        UUID(event.event_id)
    except (DecodeError, ValueError):
        return None
    return event
