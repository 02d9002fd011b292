"""Recovery: brings a service whose database was restored from a backup up to what the streams still hold.

Since the backup the service did things that others have heard of, and it took in what others did. Its own stream tells
the first: each event there that the outbox does not know is taken back, in order, with the effect in one transaction.
The streams of others tell the second: its consumers begin anew, and the inbox, which was restored with the rest, knows
what of it was applied. So nobody has to know of when the backup was.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import nats.errors
import psycopg
import structlog
from dsm.events.v1 import event_pb2
from google.protobuf.message import DecodeError
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy
from nats.js.errors import APIError
from psycopg.rows import scalar_row

from services.kit.clock import utc_now
from services.kit.convert import to_time
from services.kit.data.changes import event_params
from services.kit.data.database import WriteHandle
from services.kit.envelope import subject_of
from services.kit.errors import FailedPrecondition, Unavailable
from services.kit.service import StatefulService, TakeBack

log = structlog.get_logger()

_BATCH = 200
_FETCH_SECONDS = 2.0
_IDLE_SECONDS = 30.0
# What the outbox does not have any more because it served its time is not lost.
_MARGIN = timedelta(hours=1)
_LOST = """
    SELECT id::text FROM unnest(%(ids)s::uuid[]) AS id
    WHERE NOT EXISTS (SELECT FROM outbox WHERE event_id = id)
"""
_KEEP = """
    INSERT INTO outbox (event_id, subject, aggregate_id, aggregate_version, project_id, payload, publish_time)
    SELECT *, now() FROM unnest(%(event_ids)s::uuid[], %(subjects)s::text[], %(aggregate_ids)s::text[],
                                %(versions)s::bigint[], %(project_ids)s::text[], %(payloads)b::bytea[])
"""
_NATS_FAULTS = (nats.errors.Error, APIError, OSError)


class StreamUnavailable(Unavailable):
    """The event stream cannot be reached."""

    reason = "STREAM_UNAVAILABLE"

    def __init__(self, service: str) -> None:
        super().__init__(f"The event stream of the {service} service cannot be reached; try again.", service=service)


class RecoveryConflict(FailedPrecondition):
    """What was done since the restore stands against what was lost."""

    reason = "RECOVERY_CONFLICT"

    def __init__(self, event: event_pb2.Event) -> None:
        super().__init__(
            f"What the {event.source_service} service did since it was restored stands against event {event.event_id}: "
            "restore it again, and recover it before anything else is done with it.",
            service=event.source_service,
            event_id=event.event_id,
            subject=subject_of(event),
        )


class Contradiction(Exception):
    """What an event tells cannot be beside what the database has since."""


async def recover(service: StatefulService, since: datetime | None = None) -> tuple[int, int]:
    """Take back what the service has lost; how many events of its own, and how many streams it reads anew.

    Of its own stream, only what it holds `since` a time is looked at, if one is given.
    """
    taken = 0
    try:
        async for events in _own_events(service, since):
            taken += await _take_back(service, events)
        for consumer in service.consumers:
            # Its own loop finds it gone, and makes it again from the stream's beginning.
            await service.stream.forget(consumer.stream, consumer.name)
    except _NATS_FAULTS as error:
        raise StreamUnavailable(service.name) from error
    log.info("service.recovered", service=service.name, events=taken, streams=len(service.consumers))
    return taken, len(service.consumers)


async def _own_events(service: StatefulService, since: datetime | None) -> AsyncIterator[list[event_pb2.Event]]:
    """What the service's stream holds, oldest first, in batches."""
    name = f"DSM_{service.name.upper()}"
    await service.stream.ensure(name)
    js = service.stream.context
    config = ConsumerConfig(
        deliver_policy=DeliverPolicy.BY_START_TIME if since else DeliverPolicy.ALL,
        opt_start_time=since,
        ack_policy=AckPolicy.NONE,
        inactive_threshold=_IDLE_SECONDS,
    )
    made = await js.add_consumer(name, config)
    pull = await js.pull_subscribe_bind(consumer=made.name, stream=name)
    waiting = made.num_pending or 0
    while waiting:
        messages = await pull.fetch(_BATCH, timeout=_FETCH_SECONDS)
        yield [event for message in messages if (event := _decode(message.data))]
        waiting = messages[-1].metadata.num_pending or 0
    await pull.unsubscribe()


def _decode(payload: bytes) -> event_pb2.Event | None:
    """An event; None for what is none: nobody could have published it here but by mistake."""
    try:
        event = event_pb2.Event.FromString(payload)
    except DecodeError:
        return None
    return event if subject_of(event) else None


async def _take_back(service: StatefulService, events: Sequence[event_pb2.Event]) -> int:
    """Take back those of some events that were lost; how many."""
    oldest = utc_now() - timedelta(hours=service.retention_hours) + _MARGIN
    by_id = {event.event_id: event for event in events if to_time(event.event_time) > oldest}
    async with service.database.write(keyed=False) as tx:
        ids = set(await tx.all(_LOST, {"ids": list(by_id)}, row=scalar_row))
        lost = [event for event_id, event in by_id.items() if event_id in ids]
        if service.take_back:
            for event in lost:
                await _apply(service.take_back, tx, event)
        if lost:
            await tx.execute(_KEEP, event_params(lost))
    return len(lost)


async def _apply(take_back: TakeBack, tx: WriteHandle, event: event_pb2.Event) -> None:
    try:
        await take_back(tx, event)
    except (psycopg.IntegrityError, Contradiction) as error:
        log.warning("recovery.conflict", event_id=event.event_id, error=str(error))
        raise RecoveryConflict(event) from error
