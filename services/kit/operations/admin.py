"""AdminService: dead letters, replay and reconciliation, for the services of a process."""

from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

from dsm.common.v1 import admin_service_pb2 as pb
from dsm.common.v1 import admin_service_pb2_grpc

from services.kit.convert import from_time, to_time
from services.kit.data.database import Database, Row
from services.kit.data.paging import page_of
from services.kit.errors import DsmError, NotFound
from services.kit.events.inbox import BadEvent
from services.kit.operations.recovery import recover
from services.kit.service import Service, ServiceNotFound, StatefulService
from services.kit.serving.gate import Context

# The service that reconciles by the contract: what a process that has no reconciler says is missing.
_RECONCILING = "sprint"
_LIST = """
    SELECT * FROM dead_letter
    WHERE (%(consumer)s = '' OR consumer = %(consumer)s)
      AND (%(after_time)s::timestamptz IS NULL OR (create_time, dead_letter_id) > (%(after_time)s, %(after_id)s::uuid))
    ORDER BY create_time, dead_letter_id LIMIT %(limit)s
"""
# Letters that are replayed are read so many at a time: each holds a whole message.
_REPLAY_BATCH = 100
_CHOSEN = """
    SELECT * FROM dead_letter
    WHERE (%(ids)s::uuid[] = '{}' OR dead_letter_id = ANY(%(ids)s))
      AND (%(after_time)s::timestamptz IS NULL OR (create_time, dead_letter_id) > (%(after_time)s, %(after_id)s::uuid))
    ORDER BY create_time, dead_letter_id LIMIT %(limit)s
"""
_MISSING = """
    SELECT id::text FROM unnest(%(ids)s::uuid[]) AS id
    WHERE NOT EXISTS (SELECT FROM dead_letter WHERE dead_letter_id = id) ORDER BY id LIMIT 1
"""
_DELETE = "DELETE FROM dead_letter WHERE dead_letter_id = ANY(%(ids)s)"
_FAILED_AGAIN = """
    UPDATE dead_letter SET attempts = attempts + 1, error = %(error)s WHERE dead_letter_id = %(dead_letter_id)s
"""


class DeadLetterNotFound(NotFound):
    """No dead letter has this id."""

    reason = "DEAD_LETTER_NOT_FOUND"

    def __init__(self, dead_letter_id: str) -> None:
        super().__init__(f"There is no dead letter {dead_letter_id}.", dead_letter_id=dead_letter_id)


class AdminHandlers(admin_service_pb2_grpc.AdminServiceServicer):
    """Answers dsm.common.v1.AdminService for all services of the process."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._reconciler = next((service.reconciler for service in services if service.reconciler), None)
        self._services = {service.name: service for service in services if isinstance(service, StatefulService)}

    def database_of(self, request: Any) -> Database | None:
        """Where the answers to this request's request_id are kept: with the service that it names."""
        service = self._services.get(getattr(request, "service", ""))
        return service.database if service else None

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """A page of dead letters of one service, or of all."""
        page = page_of(request)
        after_time, after_id = page.after or (None, None)
        params = {"consumer": request.consumer, "after_time": after_time, "after_id": after_id, "limit": page.limit}
        letters: list[Row] = []
        for service in self._chosen(request.service):
            if service.consumers:
                rows = await service.database.read.rows(_LIST, params)
                letters += [row | {"service": service.name} for row in rows]
        letters.sort(key=_age)
        kept, token = page.cut(letters, key=_age)
        return pb.ListDeadLettersResponse(dead_letters=map(_encode, kept), next_page_token=token)

    async def ReplayDeadLetters(
        self, request: pb.ReplayDeadLettersRequest, context: Context
    ) -> pb.ReplayDeadLettersResponse:
        """Hand dead letters to their consumers again, each in a transaction of its own."""
        [service] = self._chosen(request.service)
        ids = [UUID(dead_letter_id) for dead_letter_id in request.dead_letter_ids]
        if missing := await _missing(service, ids):
            raise DeadLetterNotFound(missing)
        response = pb.ReplayDeadLettersResponse()
        async for letters in _letters(service, ids):
            applied = [letter["dead_letter_id"] for letter in letters if await _apply(service, letter)]
            # At once, so that what is done stays done if a later one finds the database away.
            async with service.database.write(keyed=False) as tx:
                await tx.execute(_DELETE, {"ids": applied})
            response.applied_count += len(applied)
            response.failed_count += len(letters) - len(applied)
        async with service.database.write() as tx:
            return tx.reply(response)

    async def ReplayOutbox(self, request: pb.ReplayOutboxRequest, context: Context) -> pb.ReplayOutboxResponse:
        """Queue what was published since a time again."""
        [service] = self._chosen(request.service)
        async with service.database.write() as tx:
            count = await service.relay.replay(tx, to_time(request.since_time, "since_time"))
            response = tx.reply(pb.ReplayOutboxResponse(event_count=count))
        service.relay.wake()
        return response

    async def Recover(self, request: pb.RecoverRequest, context: Context) -> pb.RecoverResponse:
        """Bring a service whose database was restored up to its streams."""
        [service] = self._chosen(request.service)
        since = to_time(request.since_time, "since_time") if request.HasField("since_time") else None
        events, streams = await recover(service, since)
        async with service.database.write() as tx:
            return tx.reply(pb.RecoverResponse(event_count=events, stream_count=streams))

    async def Reconcile(self, request: pb.ReconcileRequest, context: Context) -> pb.ReconcileResponse:
        """What the service says that compares itself with another."""
        if self._reconciler is None:
            raise ServiceNotFound(_RECONCILING)
        return await self._reconciler(request)

    def _chosen(self, name: str) -> list[StatefulService]:
        chosen = [service for service in self._services.values() if name in ("", service.name)]
        if name and not chosen:
            raise ServiceNotFound(name)
        return chosen


async def _missing(service: StatefulService, ids: Sequence[UUID]) -> str:
    """One of the ids that no dead letter has; empty if each has one."""
    if not service.consumers:
        return str(min(ids)) if ids else ""
    return await service.database.read.value(_MISSING, {"ids": ids}) or ""


async def _letters(service: StatefulService, ids: Sequence[UUID]) -> AsyncIterator[list[Row]]:
    """The dead letters of these ids, or all of them, oldest first, in batches."""
    after: tuple[Any, ...] = (None, None)
    while service.consumers:
        params = {"ids": ids, "after_time": after[0], "after_id": after[1], "limit": _REPLAY_BATCH}
        letters = await service.database.read.rows(_CHOSEN, params)
        if letters:
            yield letters
        if len(letters) < _REPLAY_BATCH:
            return
        after = _age(letters[-1])


async def _apply(service: StatefulService, letter: Row) -> bool:
    """Apply one dead letter; False, with its new error stored, if it fails again."""
    consumer = next((c for c in service.consumers if c.name == letter["consumer"]), None)
    try:
        if consumer is None:
            raise BadEvent(f"There is no consumer {letter['consumer']} any more.")
        await consumer.apply_payload(letter["payload"])
    except DsmError:
        # The database is away, not the event bad: let the caller try again.
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {error}"[:1000]
        async with service.database.write(keyed=False) as tx:
            await tx.execute(_FAILED_AGAIN, {"error": text, "dead_letter_id": letter["dead_letter_id"]})
        return False
    return True


def _age(letter: Row) -> tuple[Any, ...]:
    return letter["create_time"], str(letter["dead_letter_id"])


def _encode(letter: Row) -> pb.DeadLetter:
    names = ("service", "consumer", "subject", "event_id", "error", "attempts", "payload")
    return pb.DeadLetter(
        dead_letter_id=str(letter["dead_letter_id"]),
        create_time=from_time(letter["create_time"]),
        **{name: letter[name] for name in names},
    )
