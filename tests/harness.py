"""A world for tests: real PostgreSQL and NATS, and DSM's services on real sockets in this process."""

import asyncio
import importlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import grpc
import nats
import psycopg
from nats.js import JetStreamContext
from psycopg.rows import dict_row

from services.kit import status
from services.kit.data.migrate import upgrade
from services.kit.server import Server
from services.kit.service import Service
from services.kit.settings import ProcessSettings, load
from services.local.process import choose_port
from services.local.stack import Stack

SERVICES = ("project", "backlog", "sprint", "chronicle", "orchestrator", "embedding")
STATEFUL = tuple(name for name in SERVICES if name != "embedding")
DATA = Path(__file__).parent.parent.parent / "shared" / "data"

T = TypeVar("T")


class World:
    """DSM's services, each started when first asked for, each on a port of its own."""

    def __init__(self, stack: Stack, **settings: str) -> None:
        self.stack = stack
        self._ports: dict[str, int] = {}
        for name in SERVICES:
            self._ports[name] = choose_port(0, 0, taken=tuple(self._ports.values()))
        self._settings = settings
        self._servers: dict[str, Server] = {}
        self._built: dict[str, Service] = {}
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._starting = asyncio.Lock()

    def address(self, name: str) -> str:
        """Where a service listens, or would."""
        return f"127.0.0.1:{self._ports[name]}"

    def environ(self, name: str) -> dict[str, str]:
        """The settings of a service, as environment variables."""
        environ = {f"DSM_{callee.upper()}_ADDRESS": self.address(callee) for callee in SERVICES}
        # Tests wait for what runs in the background.
        environ |= {"DSM_NATS_URL": self.stack.nats.url, "DSM_CHRONICLE_EMBEDDING_SHARE": "1"}
        if name in STATEFUL:
            environ |= {f"DSM_{name.upper()}_DATABASE_URL": self.stack.postgres.url(f"dsm_{name}")}
        return environ | self._settings

    async def start(self, *names: str) -> None:
        """Start services; what runs already stays."""
        async with self._starting:
            started = [name for name in names if name not in self._servers]
            for name in started:
                await self._start(name)
            await self._found(started)

    async def _found(self, names: Sequence[str]) -> None:
        """Give those who call services a moment to find them: who missed one for a while looks only now and then."""
        running = [service for name, service in self._built.items() if name in self._servers]
        for callee in (each for service in running for each in service.callees if each.name in names):
            with suppress(AssertionError):  # Some tests have services that are not to find each other.
                await eventually(callee.check, 3)

    async def stop(self, *names: str) -> None:
        """Stop services; by default all."""
        for name in names or tuple(self._servers):
            if server := self._servers.pop(name, None):
                await server.stop()

    async def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to a service, which is started if need be."""
        await self.start(name)
        if name not in self._channels:
            self._channels[name] = grpc.aio.insecure_channel(self.address(name))
        return self._channels[name]

    async def close(self) -> None:
        """Stop everything."""
        for channel in self._channels.values():
            await channel.close()
        await self.stop()

    async def query(self, name: str, sql: str, params: dict[str, Any] | None = None) -> list[dict[str, Any]]:
        """Look into a service's database."""
        url = self.stack.postgres.url(f"dsm_{name}")
        async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row, autocommit=True) as connection:
            cursor = await connection.execute(sql, params)
            return await cursor.fetchall() if cursor.description else []

    async def published(self, name: str) -> bool:
        """Whether everything that a service has committed is in its stream."""
        return not await self.query(name, "SELECT FROM outbox WHERE publish_time IS NULL LIMIT 1")

    @asynccontextmanager
    async def jetstream(self) -> AsyncIterator[JetStreamContext]:
        """The streams, by a connection of the test's own."""
        client = await nats.connect(self.stack.nats.url)
        try:
            yield client.jetstream()
        finally:
            await client.close()

    async def start_whole(self) -> Server:
        """All services behind one port, as `dsm up` runs them; beside the single ones they are second replicas."""
        await self.start(*SERVICES)
        return await self._serve([self._build(name) for name in SERVICES], port=0)

    async def _start(self, name: str) -> None:
        if name in STATEFUL:
            self.stack.postgres.ensure_database(f"dsm_{name}")
            await asyncio.to_thread(upgrade, name, self.stack.postgres.url(f"dsm_{name}"))
        self._built[name] = self._build(name)
        self._servers[name] = await self._serve([self._built[name]], self._ports[name])

    async def _serve(self, services: Sequence[Service], port: int) -> Server:
        process = load(ProcessSettings, self._settings, port=port, metrics_port=-1, grace_seconds=1)
        server = Server(services, process)
        server.bind()
        await server.start()
        await eventually(lambda: server.ready)
        return server

    def _build(self, name: str) -> Service:
        module = importlib.import_module(f"services.{name}.main")
        service: Service = module.build(load(module.SETTINGS, self.environ(name), name))
        return service


async def eventually(check: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait until a check, which may be a coroutine function, gives something true; fail after a while."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        found = check()
        if isinstance(found, Awaitable):
            found = await found
        if found:
            return found
        if asyncio.get_running_loop().time() > deadline:
            raise AssertionError(f"It did not happen within {seconds} s; last: {found!r}")
        await asyncio.sleep(0.02)


class Failed:
    """What a refused call said: code, reason, metadata and field violations."""

    def __init__(self, error: grpc.aio.AioRpcError) -> None:
        info = status.error_info(error)
        assert info is not None, f"{error.code()} without an ErrorInfo: {error.details()}"
        self.code = error.code().name
        self.reason = info.reason
        self.metadata = dict(info.metadata)
        self.message = error.details() or ""

    def __repr__(self) -> str:
        return f"{self.code} {self.reason} {self.metadata} {self.message}"


async def refused(call: Awaitable[Any]) -> Failed:
    """Await a call that must be refused, and what it said."""
    try:
        answer = await call
    except grpc.aio.AioRpcError as error:
        return Failed(error)
    raise AssertionError(f"The call was answered: {answer}")


async def make_world(stack: Stack, exits: AsyncExitStack, **settings: str) -> World:
    """A world that is closed with the exit stack."""
    world = World(stack, **settings)
    exits.push_async_callback(world.close)
    return world
