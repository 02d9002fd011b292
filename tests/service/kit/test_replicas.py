"""Several replicas of a service: calls are spread over them, clients find new ones, and alive is not ready."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import grpc
import psycopg
import pytest
from dsm.common.v1 import status_service_pb2 as pb
from dsm.common.v1.status_service_pb2_grpc import StatusServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.client import find_addresses
from services.kit.calling.callee import Callee
from services.kit.data.migrate import upgrade
from services.kit.server import LIVENESS, Server
from services.kit.service import Service, StatefulService
from services.kit.settings import ProcessSettings, ServiceSettings, StatefulSettings
from services.local.stack import Stack
from tests.harness import eventually


@asynccontextmanager
async def _serving(service: Service, **settings: Any) -> AsyncIterator[Server]:
    server = Server([service], ProcessSettings(port=0, metrics_port=-1, grace_seconds=0, **settings))
    server.bind()
    await server.start()
    try:
        yield server
    finally:
        await server.stop()


async def test_a_callee_spreads_its_calls_over_all_replicas() -> None:
    async with AsyncExitStack() as exits:
        servers = [
            await exits.enter_async_context(_serving(Service(name, ServiceSettings()))) for name in ("first", "second")
        ]
        callee = Callee("test", "both", _replicas(servers), ServiceSettings())
        exits.push_async_callback(callee.close)
        stub = StatusServiceStub(callee.channel)
        answered: Counter[str] = Counter()
        until = time.monotonic() + 10
        # The second connection may take a moment longer than the first.
        while len(answered) < 2 and time.monotonic() < until:
            answer = await callee.call(stub.GetStatus, pb.GetStatusRequest(), pb.GetStatusResponse)
            answered[answer.services[0].service] += 1
        assert set(answered) == {"first", "second"}


def _replicas(servers: list[Server]) -> str:
    """As the name of a headless service in a cluster: one target, several addresses."""
    return "ipv4:" + ",".join(f"127.0.0.1:{server.port}" for server in servers)


async def test_clients_connect_anew_after_a_while_and_no_call_fails() -> None:
    service = Service("aging", ServiceSettings())
    async with _serving(service, max_connection_age_seconds=0.3) as server:
        states: list[grpc.ChannelConnectivity] = []
        with grpc.insecure_channel(f"127.0.0.1:{server.port}") as watched:
            watched.subscribe(states.append, try_to_connect=True)
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
                stub: Any = StatusServiceStub(channel)
                until = time.monotonic() + 10
                while not _was_sent_away(states) and time.monotonic() < until:
                    await stub.GetStatus(pb.GetStatusRequest(), timeout=5)
        assert _was_sent_away(states)


def _was_sent_away(states: list[grpc.ChannelConnectivity]) -> bool:
    """Whether a connection was there, and was ended by the server."""
    ready = grpc.ChannelConnectivity.READY
    return ready in states and grpc.ChannelConnectivity.IDLE in states[states.index(ready) :]


async def test_a_service_without_its_database_is_alive_and_not_ready() -> None:
    nowhere = StatefulSettings(database_url="postgresql://nobody@127.0.0.1:1/none", nats_url="nats://127.0.0.1:1")
    async with (
        _serving(StatefulService("project", nowhere)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        check: Callable[..., Any] = getattr(health_pb2_grpc.HealthStub(channel), "Check")  # noqa: B009
        alive = await check(health_pb2.HealthCheckRequest(service=LIVENESS))
        ready = await check(health_pb2.HealthCheckRequest())
        assert alive.status == health_pb2.HealthCheckResponse.SERVING
        assert ready.status == health_pb2.HealthCheckResponse.NOT_SERVING


async def test_old_code_takes_calls_while_its_database_is_newer(stack: Stack) -> None:
    stack.postgres.ensure_database("dsm_newer")
    url = stack.postgres.url("dsm_newer")
    upgrade("project", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    there = StatefulSettings(database_url=url, nats_url=stack.nats.url)
    async with (
        _serving(StatefulService("project", there)) as server,
        grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel,
    ):
        assert await eventually(lambda: _ready(channel))


async def _ready(channel: grpc.aio.Channel) -> bool:
    check: Callable[..., Any] = getattr(health_pb2_grpc.HealthStub(channel), "Check")  # noqa: B009
    return bool((await check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING)


def test_commands_find_services_as_services_find_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSM_BACKLOG_ADDRESS", "dsm-backlog:7600")
    assert find_addresses()["backlog"] == "dsm-backlog:7600"
    assert find_addresses("localhost:1")["backlog"] == "localhost:1"
