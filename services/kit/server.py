"""One gRPC server for the services of a process: sockets, health, reflection, start and stop."""

import asyncio
import platform
from collections.abc import Sequence
from importlib.metadata import version

import grpc
import structlog
from dsm.common.v1 import admin_service_pb2, admin_service_pb2_grpc, status_service_pb2, status_service_pb2_grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from services.kit import failpoint
from services.kit.data.database import Database
from services.kit.operations.admin import AdminHandlers
from services.kit.operations.connections import too_many
from services.kit.operations.service_status import StatusHandlers
from services.kit.security.guard import guard_of
from services.kit.security.keys import Secret
from services.kit.security.tls import server_credentials, server_files
from services.kit.security.tokens import OwnToken, secret_of
from services.kit.service import Service, StatefulService
from services.kit.serving import probes
from services.kit.serving.gate import DatabaseOf, Gate
from services.kit.settings import ProcessSettings
from services.kit.telemetry import metrics

log = structlog.get_logger()

_STATUS = status_service_pb2.DESCRIPTOR.services_by_name["StatusService"].full_name
_ADMIN = admin_service_pb2.DESCRIPTOR.services_by_name["AdminService"].full_name
_COMMON = (_STATUS, _ADMIN)
# The health of the process itself: a database that is away is no reason to start it again.
LIVENESS = "liveness"
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# How often files of TLS are looked at while nobody connects.
_FILES_SECONDS = 1.0


class ServerError(Exception):
    """The server cannot start; one sentence that says why."""


class Server:
    """Answers the calls of some services on one port."""

    def __init__(self, services: Sequence[Service], settings: ProcessSettings) -> None:
        self._services = services
        self._settings = settings
        self._files = server_files(settings)
        if settings.failpoints:
            failpoint.arm(settings.failpoints, self._failpoints())
        self._admin = AdminHandlers(services)
        secret = secret_of(settings)
        self._introduce(secret)
        self._gate = Gate(
            self._databases(),
            max_concurrent_calls=settings.max_concurrent_calls,
            max_open_streams=settings.max_open_streams,
            default_deadline=max(service.settings.default_deadline_seconds for service in services),
            guard=guard_of(settings, secret),
        )
        self._health = health.aio.HealthServicer()
        self._server = self._make_server()
        self._watching: list[asyncio.Task[None]] = []
        self._draining = False
        self.port = 0
        self.metrics_port = 0

    @property
    def ready(self) -> bool:
        """True if every service takes calls."""
        return not any(service.not_ready for service in self._services)

    async def start(self) -> None:
        """Listen and start every service; `port` tells where. ServerError if their pools are more than fits."""
        await failpoint.reach(failpoint.SERVER_BEFORE_START)
        if sentence := await too_many([s.database for s in self._services if isinstance(s, StatefulService)]):
            raise ServerError(sentence)
        metrics.BUILD.info({"version": version("dsm"), "python": platform.python_version()})
        for service in self._services:
            await service.start()
        await self._publish_health()
        await self._server.start()
        if self._settings.metrics_port >= 0:
            checks = {probes.LIVE_PATH: probes.hung(asyncio.get_running_loop()), probes.READY_PATH: self._not_ready}
            self.metrics_port = probes.serve(self._settings.host, self._settings.metrics_port, checks)
        self._watching = [asyncio.create_task(self._watch_health()), asyncio.create_task(self._watch_files())]
        log.info("server.started", port=self.port, services=[service.name for service in self._services])

    async def stop(self) -> None:
        """Turn new calls away, let the running ones end, then stop every service."""
        log.info("server.draining")
        self._draining = True
        for task in self._watching:
            task.cancel()
        self._gate.drain()
        for service in self._services:
            service.drain()
        await self._health.enter_graceful_shutdown()
        await self._server.stop(self._settings.grace_seconds)
        await asyncio.gather(*(service.stop() for service in self._services))
        log.info("server.stopped")

    def _introduce(self, secret: Secret | None) -> None:
        """Let each service say who it is to those that it calls. ServerError if identity is on and one has no means."""
        for service in self._services:
            if not service.callees or service.settings.service_token_file:
                continue
            if secret is None and self._settings.jwt_jwks:
                raise ServerError(
                    f"The {service.name} service has no token for the services that it calls: set "
                    "DSM_SERVICE_TOKEN_FILE, or DSM_JWT_SECRET_FILE as well, by which it makes its own."
                )
            if secret is not None:
                own = OwnToken(service.name, secret, self._settings)
                for callee in service.callees:
                    callee.own_token = own

    def _failpoints(self) -> frozenset[str]:
        stateful = (service for service in self._services if isinstance(service, StatefulService))
        return failpoint.POINTS.union(*(service.sagas.failpoints for service in stateful))

    def _databases(self) -> dict[str, DatabaseOf]:
        """Where each gRPC service keeps the answers to request_ids."""
        found: dict[str, DatabaseOf] = {_ADMIN: self._admin.database_of}
        for service in self._services:
            for servicer in service.servicers:
                found[servicer.full_name] = _always(service.database)
        return found

    def _make_server(self) -> grpc.aio.Server:
        options = [
            ("grpc.max_receive_message_length", self._settings.max_message_bytes),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", self._settings.max_connection_calls),
            ("grpc.so_reuseport", 0),
        ]
        if self._settings.max_connection_age_seconds:
            options.append(("grpc.max_connection_age_ms", round(self._settings.max_connection_age_seconds * 1000)))
        server = grpc.aio.server(interceptors=[self._gate], options=options)
        # grpc.aio waits for the next call of every registered method apart, which costs each call the more, the more
        # methods there are: a fifth of GetTask's CPU. Handlers are found without that.
        server.add_registered_method_handlers = _not_registered  # type: ignore[method-assign]
        for service in self._services:
            for servicer in service.servicers:
                servicer.add(servicer.handlers, server)
        status_service_pb2_grpc.add_StatusServiceServicer_to_server(StatusHandlers(self._services), server)
        admin_service_pb2_grpc.add_AdminServiceServicer_to_server(self._admin, server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        if self._settings.reflection:
            names = [s.full_name for service in self._services for s in service.servicers]
            reflection.enable_server_reflection(
                [*names, *_COMMON, health.SERVICE_NAME, reflection.SERVICE_NAME], server
            )
        return server

    def bind(self) -> int:
        """Take the port; ServerError if somebody else has it."""
        address = f"{self._settings.host}:{self._settings.port}"
        try:
            if self._files:
                self.port = self._server.add_secure_port(address, server_credentials(self._files))
            else:
                self.port = self._server.add_insecure_port(address)
        except RuntimeError:
            self.port = 0
        if not self.port:
            raise ServerError(f"{address} is taken: stop what listens there, or set DSM_PORT to another port.")
        return self.port

    async def _watch_health(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            await self._publish_health()

    async def _watch_files(self) -> None:
        """Take changed files of TLS and tell of broken ones, also while nobody connects."""
        files = [*([self._files] if self._files else []), *(it for service in self._services for it in service.files)]
        while files:
            await asyncio.sleep(_FILES_SECONDS)
            for each in files:
                await asyncio.to_thread(each.look)

    def _not_ready(self) -> str:
        """Why no calls are taken, in one line."""
        if self._draining:
            return "The server is draining."
        reasons = [f"{service.name}: {reason}" for service in self._services for reason in service.not_ready]
        return " ".join(" ".join(reasons).split())

    async def _publish_health(self) -> None:
        """Under the gRPC name, the short name and, for all together, the empty name; LIVENESS whatever they are."""
        await self._health.set(LIVENESS, _SERVING)
        for service in self._services:
            state = _NOT_SERVING if service.not_ready else _SERVING
            for name in (service.name, *(servicer.full_name for servicer in service.servicers)):
                await self._health.set(name, state)
        for name in ("", *_COMMON):
            await self._health.set(name, _SERVING if self.ready else _NOT_SERVING)


def _not_registered(service_name: str, method_handlers: object) -> None:
    """In place of registering methods."""


def _always(database: Database | None) -> DatabaseOf:
    return lambda _: database
