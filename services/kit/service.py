"""A service: what its `main` puts together, and how it starts and stops."""

import asyncio
import functools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from dsm.common.v1 import admin_service_pb2, status_service_pb2
from dsm.events.v1 import event_pb2
from google.protobuf.descriptor import ServiceDescriptor

from services.kit.calling.callee import Callee
from services.kit.data import housekeeping
from services.kit.data.database import Database, WriteHandle
from services.kit.data.migrate import current_schema, head_revision
from services.kit.errors import DatabaseUnavailable, DsmError, NotFound, Overloaded
from services.kit.events.inbox import Apply, Concerns, Consumer, Subscription, everything
from services.kit.events.measures import Measures
from services.kit.events.outbox import Relay
from services.kit.events.stream import Stream
from services.kit.saga import Sagas
from services.kit.security.tls import PemFiles, client_files, nats_files
from services.kit.serving.watch import Watch
from services.kit.settings import ServiceSettings, StatefulSettings
from services.kit.telemetry import metrics

log = structlog.get_logger()

Background = Callable[[], Awaitable[None]]
# Has the effect of an event that the service published, and that its restored database knows nothing of.
TakeBack = Callable[[WriteHandle, event_pb2.Event], Awaitable[None]]
Reconciler = Callable[[admin_service_pb2.ReconcileRequest], Awaitable[admin_service_pb2.ReconcileResponse]]
PING_SECONDS = 0.5
# How long a service that stops waits at most until what it has committed is told.
LAST_WORDS_SECONDS = 2.0


class ServiceNotFound(NotFound):
    """No service of this name runs in the process asked."""

    reason = "SERVICE_NOT_FOUND"

    def __init__(self, service: str) -> None:
        super().__init__(f"No service {service!r} runs in this process.", service=service)


@dataclass(frozen=True)
class Servicer:
    """One gRPC service: its name in the contract, and how to put its handlers on a server."""

    full_name: str
    add: Callable[[Any, grpc.aio.Server], None]
    handlers: Any


class Service:
    """The parts of one service without a database; see StatefulService."""

    def __init__(self, name: str, settings: ServiceSettings) -> None:
        self.name = name
        self.settings = settings
        self.servicers: list[Servicer] = []
        self.callees: list[Callee] = []
        # Why the service cannot take calls, and what works less well; kept fresh by the background.
        self.not_ready: list[str] = []
        # Add what only this service knows to its status.
        self.describers: list[Callable[[status_service_pb2.ServiceStatus], Awaitable[None]]] = []
        # Compares what this service and another know of the same things; AdminService asks the service that has one.
        self.reconciler: Reconciler | None = None
        # Files of TLS that the server looks at while it runs.
        self.files: list[PemFiles] = []
        if client := client_files(settings):
            self.files.append(client)
        self._client_files = client
        self._background: list[Background] = []
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def database(self) -> Database | None:
        """Where answers to request_ids are kept, if the service has a database."""
        return None

    def serve(self, descriptor: ServiceDescriptor, add: Callable[[Any, grpc.aio.Server], None], handlers: Any) -> None:
        """Answer a gRPC service of the contract with these handlers."""
        self.servicers.append(Servicer(descriptor.full_name, add, handlers))

    def callee(self, name: str, address: str) -> Callee:
        """Another service that this one calls."""
        callee = Callee(self.name, name, address, self.settings, self._client_files)
        self.callees.append(callee)
        return callee

    def run(self, background: Background) -> None:
        """Keep something running as long as the service does; what fails is begun again."""
        self._background.append(background)

    async def start(self) -> None:
        """Start everything in the background; does not wait for what is outside."""
        metrics.READY.labels(self.name).set_function(lambda: float(not self.not_ready))
        self._tasks = [asyncio.create_task(_keep(self.name, background)) for background in self._background]

    def drain(self) -> None:
        """Send away whoever would stay for ever; called before the server waits for the calls in flight."""

    async def stop(self) -> None:
        """Stop everything; called when no call is in flight any more."""
        running = set(self._tasks)
        while running:
            # Again and again: libraries that use wait_for lose a cancellation that comes together with a result.
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=0.5)
        for callee in self.callees:
            await callee.close()


class StatefulService(Service):
    """The parts of a service that has a database and publishes events."""

    def __init__(self, name: str, settings: StatefulSettings) -> None:
        super().__init__(name, settings)
        self._stateful = settings
        self._database = Database(
            name, settings.database_url, pool_size=settings.pool_size, pool_timeout=settings.pool_timeout_seconds
        )
        files = nats_files(settings)
        self.stream = Stream(
            name,
            settings.nats_url,
            duplicate_window=settings.duplicate_window_seconds,
            files=files,
            credentials=settings.nats_credentials_file,
        )
        self.files += [files] if files else []
        self.relay = Relay(self._database, self.stream, settings.retention_hours)
        self.watch = Watch(self._database, settings.retention_hours)
        self.consumers: list[Consumer] = []
        # What Recover does with the service's own events; without it they are known again, and have no effect.
        self.take_back: TakeBack | None = None
        self.sagas = Sagas(self._database, lease_seconds=settings.saga_lease_seconds)
        self.not_ready = ["The database has not answered yet."]
        self._fit = asyncio.Event()
        super().run(self._watch_database)
        self.run(self.relay.run)
        self.measures = Measures(self._database)
        self.run(lambda: self.measures.run(self.consumers))
        self.run(self.watch.run)
        self.run(lambda: housekeeping.run(self._database, settings.retention_hours))

    @property
    def database(self) -> Database:
        """The service's own database."""
        return self._database

    @property
    def retention_hours(self) -> float:
        """How long published events stay in the outbox."""
        return self._stateful.retention_hours

    def run(self, background: Background) -> None:
        """Keep something running, from when the database has a schema that the code can work on."""

        @functools.wraps(background)
        async def when_fit() -> None:
            await self._fit.wait()
            await background()

        super().run(when_fit)

    def consume(self, stream: str, subjects: tuple[str, ...], apply: Apply, *, concerns: Concerns = everything) -> None:
        """Apply events of a stream, each once; those that do not concern the service are only noted as come."""
        consumer = Consumer(
            self._database,
            self.stream,
            Subscription(stream, subjects, apply, concerns),
            batch=self._stateful.consumer_batch,
            max_deliveries=self._stateful.max_deliveries,
        )
        self.consumers.append(consumer)
        self.run(consumer.run)

    def with_sagas(self) -> Sagas:
        """The service's sagas, which it then also takes over from dead processes."""
        self.run(self.sagas.run)
        self.describers.append(self._count_sagas)
        return self.sagas

    async def start(self) -> None:
        """Connect in the background and start."""
        self._database.misfit = self.not_ready[0]
        metrics.STREAM_CONNECTED.labels(self.name).set_function(lambda: float(self.stream.connected))
        if self.consumers:
            self.measures.with_dead_letters(self.consumers)
        if self.sagas.used:
            self.measures.with_sagas(self.sagas.kinds)
        await self._database.open()
        self.stream.start()
        await super().start()

    def drain(self) -> None:
        """Send the watchers away."""
        self.watch.end()

    async def stop(self) -> None:
        """Let go of sagas, tell what is committed, stop, close."""
        if self.sagas.used:
            await self.sagas.stop()
        with suppress(DsmError, TimeoutError):
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._told_all()
        await super().stop()
        await self.stream.close()
        await self._database.close()

    async def _told_all(self) -> None:
        """Wait until every event is published, if this process does that and can: it may be long until the next one."""
        while self.relay.publishing and self.stream.connected and (await self.relay.depth())[0]:
            self.relay.wake()
            await asyncio.sleep(0.01)

    async def _count_sagas(self, status: status_service_pb2.ServiceStatus) -> None:
        with suppress(DsmError):
            status.running_sagas = await self.sagas.running()

    async def _watch_database(self) -> None:
        head = head_revision(self.name)
        while True:
            self.not_ready = await self._database_faults(head)
            await asyncio.sleep(PING_SECONDS)

    async def _database_faults(self, head: str) -> list[str]:
        try:
            async with asyncio.timeout(PING_SECONDS * 2):
                schema = await current_schema(self._database.read_any_schema)
        except Overloaded:
            # Busy is not away; to turn everybody away would only move the load.
            return self.not_ready
        except DsmError as error:
            return [error.message]
        except TimeoutError:
            return [DatabaseUnavailable(self.name).message]
        metrics.MIGRATIONS_BEHIND.labels(self.name).set(schema.behind(head))
        self._database.misfit = misfit = schema.misfit(head)
        if not misfit:
            self._fit.set()
        return [misfit] if misfit else []


async def _keep(service: str, background: Background) -> None:
    while True:
        try:
            await background()
        except Exception:
            log.exception("background.failed", service=service, what=getattr(background, "__qualname__", "?"))
        await asyncio.sleep(1)
