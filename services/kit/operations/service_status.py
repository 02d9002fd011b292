"""StatusService: what a process runs, whether it is ready and, if not, why."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version

import nats.errors
from dsm.common.v1 import status_service_pb2 as pb
from dsm.common.v1 import status_service_pb2_grpc

from services.kit import failpoint
from services.kit.calling.callee import Callee
from services.kit.convert import from_time
from services.kit.data.migrate import current_schema, head_revision
from services.kit.errors import DatabaseUnavailable, DsmError
from services.kit.events.inbox import Consumer
from services.kit.service import Service, ServiceNotFound, StatefulService
from services.kit.serving.gate import Context

_BREAKERS = {
    "closed": pb.BREAKER_STATE_CLOSED,
    "open": pb.BREAKER_STATE_OPEN,
    "half-open": pb.BREAKER_STATE_HALF_OPEN,
}
_DEAD_LETTERS = "SELECT count(*) FROM dead_letter"


class StatusHandlers(status_service_pb2_grpc.StatusServiceServicer):
    """Answers dsm.common.v1.StatusService for all services of the process."""

    def __init__(self, services: Sequence[Service]) -> None:
        self._services = services
        self._start_time = datetime.now(UTC)

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """One service, or all."""
        chosen = [service for service in self._services if request.service in ("", service.name)]
        if not chosen:
            raise ServiceNotFound(request.service)
        statuses = await asyncio.gather(*(service_status(service) for service in chosen))
        return pb.GetStatusResponse(
            services=sorted(statuses, key=lambda status: status.service),
            version=version("dsm"),
            start_time=from_time(self._start_time),
        )


async def service_status(service: Service) -> pb.ServiceStatus:
    """How one service is, from fresh looks at all that it depends on."""
    status = pb.ServiceStatus(
        service=service.name, ready=not service.not_ready, not_ready_reasons=list(service.not_ready)
    )
    status.callees.extend(await asyncio.gather(*(_callee(callee) for callee in service.callees)))
    status.degraded_reasons.extend(
        f"The {callee.service} service does not answer." for callee in status.callees if not callee.reachable
    )
    if names := failpoint.armed():
        status.degraded_reasons.append(f"Failpoints are armed, for tests only: {', '.join(names)}.")
    if isinstance(service, StatefulService):
        status.database.CopyFrom(await _database(service))
        if not status.database.reachable and status.ready:
            # Seen just now, before the service itself noticed.
            status.ready = False
            status.not_ready_reasons.append(DatabaseUnavailable(service.name).message)
        if service.relay.outrun:
            status.degraded_reasons.append(
                "Its event stream holds what its database does not know: if that was restored from a backup, "
                f"run `dsm recover {service.name}`."
            )
        with suppress(DsmError):
            status.event_stream.CopyFrom(await _event_stream(service))
            if not status.event_stream.connected:
                waiting = status.event_stream.outbox_depth
                status.degraded_reasons.append(f"The event stream cannot be reached: {waiting} events wait.")
    for describe in service.describers:
        await describe(status)
    return status


async def _database(service: StatefulService) -> pb.DatabaseStatus:
    in_use, waiting = service.database.pool_load()
    status = pb.DatabaseStatus(
        pool_size=service.database.pool.max_size,
        pool_in_use=in_use,
        pool_waiting=waiting,
        migration_head=head_revision(service.name),
    )
    began = time.monotonic()
    with suppress(DsmError):
        status.migration_revision = (await current_schema(service.database.read_any_schema)).revision
        status.reachable = True
        status.latency_ms = (time.monotonic() - began) * 1000
    return status


async def _event_stream(service: StatefulService) -> pb.EventStreamStatus:
    depth, lag = await service.relay.depth()
    status = pb.EventStreamStatus(
        connected=service.stream.connected,
        outbox_depth=depth,
        outbox_lag_seconds=lag,
        publishing=service.relay.publishing,
        consumers=await asyncio.gather(*(_consumer(consumer) for consumer in service.consumers)),
    )
    if service.consumers:
        status.dead_letters = int(await service.database.read.value(_DEAD_LETTERS))
    return status


async def _consumer(consumer: Consumer) -> pb.ConsumerStatus:
    status = pb.ConsumerStatus(name=consumer.name, stream=consumer.stream)
    with suppress(nats.errors.Error, TimeoutError, OSError):
        async with asyncio.timeout(1):
            status.pending, status.unacknowledged = await consumer.pending()
    return status


async def _callee(callee: Callee) -> pb.CalleeStatus:
    latency = await callee.check()
    status = pb.CalleeStatus(
        service=callee.name, reachable=latency is not None, breaker=_BREAKERS[callee.breaker_state]
    )
    if latency is not None:
        status.latency_ms = latency
    return status
