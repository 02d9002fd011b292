"""Consumers: each event has its effect exactly once, with its id in the same transaction.

A batch is one transaction. If it fails, its halves are tried, and theirs, until the bad event is alone: it holds
nobody up, is delivered again after a while and, after the last try, kept as a dead letter. A database that is away
counts as no try: its events wait.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from uuid import UUID, uuid4

import nats.errors
import structlog
from dsm.events.v1 import event_pb2
from google.protobuf.message import DecodeError
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError, FetchTimeoutError, NotFoundError
from psycopg.rows import scalar_row

from services.kit import call, failpoint
from services.kit.call import Call
from services.kit.clock import utc_now
from services.kit.data.database import CONFLICTS, Database, WriteHandle
from services.kit.envelope import consumer_name, subject_of
from services.kit.errors import Unavailable
from services.kit.events.rest import rest
from services.kit.events.stream import Stream
from services.kit.telemetry import metrics, trace

log = structlog.get_logger()

Apply = Callable[[WriteHandle, Sequence[event_pb2.Event]], Awaitable[None]]
Concerns = Callable[[event_pb2.Event], bool]

# How long what a dead process had taken waits until another gets it. Who lives and is slow says so meanwhile.
ACK_WAIT = 5.0
# A request for messages is lost with the NATS that it was sent to, and made again after so long.
FETCH_SECONDS = 2.0
_RETRY_SECONDS = (0.2, 1.0, 5.0, 15.0)
_TAKE = """
    INSERT INTO inbox (event_id, consumer) SELECT unnest(%(event_ids)s::uuid[]), %(consumer)s
    ON CONFLICT DO NOTHING RETURNING event_id::text
"""
_BURY = """
    INSERT INTO dead_letter (dead_letter_id, consumer, subject, event_id, payload, error, attempts)
    VALUES (%(dead_letter_id)s, %(consumer)s, %(subject)s, %(event_id)s, %(payload)s, %(error)s, %(attempts)s)
"""
_NATS_FAULTS = (nats.errors.Error, APIError, OSError)


class BadEvent(Exception):
    """A message that no number of tries will make good."""


def everything(_: event_pb2.Event) -> bool:
    """Each event has an effect."""
    return True


@dataclass(frozen=True)
class Subscription:
    """What a consumer reads, what it does with it, and which of the events have an effect at all."""

    stream: str
    subjects: tuple[str, ...]
    apply: Apply
    concerns: Concerns = everything


@dataclass(frozen=True)
class Backlog:
    """What a consumer has to do: events not delivered, delivered but not applied, and the age of the oldest of both."""

    pending: int
    unacknowledged: int
    age_seconds: float


class Consumer:
    """One durable consumer of a service on one stream; replicas share its work."""

    def __init__(
        self,
        database: Database,
        stream: Stream,
        subscription: Subscription,
        *,
        batch: int = 200,
        max_deliveries: int = 5,
    ) -> None:
        self._database = database
        self._stream = stream
        self._subscription = subscription
        self._batch = batch
        self._max_deliveries = max_deliveries
        self.name = consumer_name(database.service, subscription.stream)
        self.stream = subscription.stream
        # There from the start, so that the first one is seen as an increase.
        for counter in (metrics.EVENTS_APPLIED, metrics.EVENTS_REPEATED, metrics.DEAD_LETTERS):
            counter.labels(database.service, self.name)

    async def run(self) -> None:
        """Consume for ever."""
        while True:
            try:
                await self._stream.wait_connected()
                pull = await self._subscribe()
                await self._consume(pull)
            except _NATS_FAULTS as error:
                # The stream or consumer is gone, or NATS is: begin again with making sure of both.
                log.debug("consumer.restarted", consumer=self.name, error=type(error).__name__)
                await asyncio.sleep(0.2)

    async def pending(self) -> tuple[int, int]:
        """Messages not delivered, and delivered but not acknowledged."""
        info = await self._stream.context.consumer_info(self.stream, self.name)
        return info.num_pending or 0, info.num_ack_pending or 0

    async def backlog(self) -> Backlog:
        """What there is to do."""
        info = await self._stream.context.consumer_info(self.stream, self.name)
        pending, unacknowledged = info.num_pending or 0, info.num_ack_pending or 0
        applied = info.ack_floor.stream_seq if info.ack_floor else 0
        age = await self._age_after(applied) if pending or unacknowledged else 0.0
        return Backlog(pending, unacknowledged, age)

    async def _age_after(self, sequence: int) -> float:
        """Seconds since the first message for this consumer after a place in the stream was published."""
        times = []
        for subject in self._subscription.subjects:
            with suppress(NotFoundError):
                found = await self._stream.context.get_msg(self.stream, sequence + 1, subject, next=True)
                times += [found.time] if found.time else []
        return max(0.0, (utc_now() - min(times)).total_seconds()) if times else 0.0

    async def apply_payload(self, payload: bytes) -> None:
        """Apply one message as if it had been delivered now; raises what applying raises."""
        # In a task of its own, so that the call which asked for it, with its request_id, stays the one at hand.
        await asyncio.create_task(self._apply([_decode(payload)]))

    async def _subscribe(self) -> JetStreamContext.PullSubscription:
        await self._stream.ensure(self.stream)
        js = self._stream.context
        config = ConsumerConfig(
            durable_name=self.name,
            deliver_policy=DeliverPolicy.ALL,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT,
            max_deliver=-1,
            max_ack_pending=self._batch * 10,
            filter_subjects=list(self._subscription.subjects),
        )
        await js.add_consumer(self.stream, config)
        return await js.pull_subscribe_bind(durable=self.name, stream=self.stream)

    async def _consume(self, pull: JetStreamContext.PullSubscription) -> None:
        while True:
            try:
                messages = await pull.fetch(self._batch, timeout=FETCH_SECONDS)
            except (FetchTimeoutError, nats.errors.TimeoutError):
                messages = []
            if not messages:
                # Nothing came, or the wait was cut short: look whether the consumer was deleted behind our back.
                await self._stream.context.consumer_info(self.stream, self.name)
                continue
            began, keeping = time.monotonic(), asyncio.create_task(_keep(messages))
            try:
                await self._take(messages)
            finally:
                keeping.cancel()
            if len(messages) < self._batch:
                await rest(time.monotonic() - began)

    async def _take(self, messages: list[Msg]) -> None:
        try:
            await self._apply([_decode(message.data, message.headers) for message in messages])
            await failpoint.reach(failpoint.INBOX_BEFORE_ACK)
        except Unavailable:
            await asyncio.gather(*(message.nak(delay=1) for message in messages))
            await asyncio.sleep(0.5)
        except Exception as error:
            if len(messages) == 1:
                await self._refuse(messages[0], error)
            else:
                middle = len(messages) // 2
                await self._take(messages[:middle])
                await self._take(messages[middle:])
        else:
            # One after the other, which is one write to the socket too, and no task for each.
            for message in messages:
                await message.ack()

    async def _apply(self, events: list[event_pb2.Event]) -> None:
        first = events[0]
        correlation_id = first.correlation_id if len(events) == 1 else ""
        call.enter(Call(correlation_id=correlation_id, actor=first.actor, service=self._database.service))
        spans = [(_about(event), self._span(event)) for event in events]
        with metrics.APPLY_SECONDS.labels(self._database.service, self.name).time(), trace.together(spans):
            for attempt in range(4):
                try:
                    return await self._apply_once(events)
                except CONFLICTS:
                    await asyncio.sleep(0.01 * 2**attempt)
            return await self._apply_once(events)

    def _span(self, event: event_pb2.Event) -> trace.Span:
        subject = subject_of(event)
        attributes = {
            "messaging.system": "nats",
            "messaging.operation.type": "process",
            "messaging.destination.name": subject,
            "messaging.message.id": event.event_id,
            "messaging.consumer.group.name": self.name,
        }
        kind, name = trace.Kind.CONSUMER, f"apply {subject}"
        return trace.follow(self._database.service, name, kind, event.traceparent, attributes)

    async def _apply_once(self, events: list[event_pb2.Event]) -> None:
        # A batch may hold an event twice: the first of each counts.
        events_by_id: dict[str, event_pb2.Event] = {}
        for event in events:
            events_by_id.setdefault(event.event_id, event)
        take = {"event_ids": list(events_by_id), "consumer": self.name}
        if any(map(self._subscription.concerns, events)):
            new = await self._take_with_effect(take, events_by_id)
        else:
            # That they came is all that there is to keep.
            new = await self._database.change(_TAKE, take, row=scalar_row, keyed=False)
        labels = (self._database.service, self.name)
        metrics.EVENTS_APPLIED.labels(*labels).inc(len(new))
        metrics.EVENTS_REPEATED.labels(*labels).inc(len(events) - len(new))

    async def _take_with_effect(
        self, take: Mapping[str, Any], events_by_id: Mapping[str, event_pb2.Event]
    ) -> Collection[str]:
        async with self._database.write(keyed=False) as tx:
            new = set(await tx.all(_TAKE, take, row=scalar_row))
            fresh = [event for event_id, event in events_by_id.items() if event_id in new]
            if concerning := list(filter(self._subscription.concerns, fresh)):
                await failpoint.reach(failpoint.INBOX_BEFORE_EFFECT)
                await self._subscription.apply(tx, concerning)
        return new

    async def _refuse(self, message: Msg, error: Exception) -> None:
        tries = message.metadata.num_delivered or 1
        if tries < self._max_deliveries and not isinstance(error, BadEvent):
            await message.nak(delay=_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS)) - 1])
            return
        try:
            await self._bury(message, error, tries)
        except Unavailable:
            await message.nak(delay=1)
        else:
            await message.term()

    async def _bury(self, message: Msg, error: Exception, tries: int) -> None:
        params: dict[str, Any] = {
            "dead_letter_id": uuid4(),
            "consumer": self.name,
            "subject": message.subject,
            "event_id": (message.headers or {}).get("Nats-Msg-Id", ""),
            "payload": message.data,
            "error": f"{type(error).__name__}: {error}"[:1000],
            "attempts": tries,
        }
        async with self._database.write(keyed=False) as tx:
            await tx.execute(_BURY, params)
        metrics.DEAD_LETTERS.labels(self._database.service, self.name).inc()
        log.warning("event.dead_letter", consumer=self.name, subject=message.subject, error=params["error"])


async def _keep(messages: list[Msg]) -> None:
    """Say of messages in work, again and again, that they are, so that they are not delivered again meanwhile."""
    while True:
        await asyncio.sleep(ACK_WAIT / 3)
        waiting = (message.in_progress() for message in messages if not message.is_acked)
        await asyncio.gather(*waiting, return_exceptions=True)


def _about(event: event_pb2.Event) -> str:
    """What an event is about; those from outside need not name the aggregate."""
    return event.aggregate_id or event.task_progressed.task_id


def _decode(payload: bytes, headers: Mapping[str, str] | None = None) -> event_pb2.Event:
    """The event, with the trace that its publishing belongs to. BadEvent if it is none."""
    try:
        event = event_pb2.Event.FromString(payload)
    except DecodeError as error:
        raise BadEvent("The message is no event.") from error
    try:
        UUID(event.event_id)
    except ValueError as error:
        raise BadEvent("The event has no valid event_id.") from error
    if not subject_of(event):
        raise BadEvent("The event has no payload that is known here.")
    event.traceparent = trace.given((headers or {}).get(trace.HEADER)) or trace.given(event.traceparent)
    return event
