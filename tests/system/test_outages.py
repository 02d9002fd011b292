"""PostgreSQL or NATS goes away while DSM runs, and comes back."""

from typing import Any

import pytest_asyncio
from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from dsm.project.v1 import project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as pb
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import REGISTRY

from tests.harness import World, eventually, refused


@pytest_asyncio.fixture(scope="module")
async def fragile(world: World) -> World:
    """A project service whose servers these tests break."""
    await world.start("project")
    return world


class _Client:
    """Calls to the project service."""

    def __init__(self, channel: Any) -> None:
        self.projects = project_service_pb2_grpc.ProjectServiceStub(channel)
        self._status = status_service_pb2_grpc.StatusServiceStub(channel)
        self._health = health_pb2_grpc.HealthStub(channel)

    def create(self, project_id: str) -> Any:
        project = project_pb2.Project(project_id=project_id, name=project_id)
        return self.projects.CreateProject(pb.CreateProjectRequest(project=project))

    async def status(self) -> Any:
        answer: Any = await self._status.GetStatus(status_service_pb2.GetStatusRequest())
        return answer.services[0]

    async def serving(self) -> bool:
        answer: Any = await self._health.Check(health_pb2.HealthCheckRequest(service="project"))  # type: ignore[attr-defined]
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest_asyncio.fixture
async def client(fragile: World) -> _Client:
    return _Client(await fragile.channel("project"))


async def test_without_its_database_a_service_says_so_and_comes_back(fragile: World, client: _Client) -> None:
    await client.create("BEFORE")
    fragile.stack.postgres.stop_immediately()
    try:
        for call in (client.create("DURING"), client.projects.GetProject(pb.GetProjectRequest(project_id="BEFORE"))):
            failed = await refused(call)
            assert (failed.code, failed.reason) == ("UNAVAILABLE", "DATABASE_UNAVAILABLE")
        status = await client.status()
        assert not status.ready
        assert status.not_ready_reasons
        assert not status.database.reachable

        async def not_serving() -> bool:
            return not await client.serving()

        await eventually(not_serving)
    finally:
        fragile.stack.postgres.restart()
    await eventually(client.serving, seconds=30)
    assert (await client.projects.GetProject(pb.GetProjectRequest(project_id="BEFORE"))).project.name == "BEFORE"
    failed = await refused(client.projects.GetProject(pb.GetProjectRequest(project_id="DURING")))
    assert failed.reason == "PROJECT_NOT_FOUND"
    await client.create("AFTER")


async def test_without_nats_writes_are_ok_and_events_wait(fragile: World, client: _Client) -> None:
    fragile.stack.nats.kill()
    try:

        async def degraded() -> bool:
            status = await client.status()
            return status.ready and not status.event_stream.connected and bool(status.degraded_reasons)

        await eventually(degraded)
        for number in range(20):
            await client.create(f"QUIET-{number}")
        assert await client.serving()
        assert (await client.status()).event_stream.outbox_depth >= 20
    finally:
        fragile.stack.nats.restart()

    async def drained() -> bool:
        stream = (await client.status()).event_stream
        return bool(stream.connected and stream.outbox_depth == 0)

    await eventually(drained)


async def test_the_metrics_follow_without_being_asked_for_a_status(fragile: World, client: _Client) -> None:
    def waiting() -> float | None:
        return REGISTRY.get_sample_value("dsm_outbox_depth", {"service": "project"})

    fragile.stack.nats.kill()
    try:
        await client.create("MEASURED")
        await eventually(lambda: (waiting() or 0) >= 1)
    finally:
        fragile.stack.nats.restart()
    await eventually(lambda: waiting() == 0, seconds=30)
