"""Callee, on real servers."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from dsm.project.v1 import project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as pb

from services.kit.calling.callee import Callee
from services.kit.data.database import Database
from services.kit.errors import DependencyUnavailable
from services.kit.server import Server
from services.kit.service import Service
from services.kit.settings import ProcessSettings, ServiceSettings
from services.local.process import choose_port
from tests.harness import eventually
from tests.service.kit.small_service import Handlers, Running, creation


def _callee(address: str, **settings: Any) -> Callee:
    return Callee("test", "project", address, ServiceSettings(**settings))


async def test_a_callee_passes_typed_errors_on(running: Running) -> None:
    callee = _callee(running.address)
    stub = project_service_pb2_grpc.ProjectServiceStub(callee.channel)
    with pytest.raises(Exception) as failed:  # noqa: PT011  # its type is made for the occasion
        await callee.call(stub.GetProject, pb.GetProjectRequest(project_id="NOPE"), pb.GetProjectResponse)
    assert getattr(failed.value, "reason", "") == "PROJECT_NOT_FOUND"
    assert callee.breaker_state == "closed"
    await callee.close()


async def test_a_breaker_opens_and_closes_again(running: Running, database: Database) -> None:
    port = choose_port(0, 0)
    callee = _callee(f"127.0.0.1:{port}", breaker_failures=2, breaker_reset_seconds=0.3, call_timeout_seconds=1)
    stub = project_service_pb2_grpc.ProjectServiceStub(callee.channel)
    request = pb.GetProjectRequest(project_id="CLOSED")
    for _ in range(3):
        with pytest.raises(DependencyUnavailable) as failed:
            await callee.call(stub.GetProject, request, pb.GetProjectResponse)
    assert failed.value.metadata["breaker"] == "open"
    service = await _serve_on(database, port)
    await service.stub.CreateProject(creation("CLOSED"))
    await eventually(lambda: _answers(callee, stub, request))
    assert callee.breaker_state == "closed"
    await callee.close()
    await service.channel.close()
    await service.server.stop()


@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_call_that_meets_a_closing_server_is_not_taken_for_cancelled(repeatable: bool) -> None:
    async with _closing_server() as address:
        callee = _callee(address)
        stub = project_service_pb2_grpc.ProjectServiceStub(callee.channel)
        request = pb.GetProjectRequest(project_id="CLOSING")
        call = callee.call(stub.GetProject, request, pb.GetProjectResponse, repeatable=repeatable)
        if repeatable:
            assert (await call).project.project_id == "CLOSING"
        else:
            with pytest.raises(DependencyUnavailable):
                await call
        await callee.close()


class _Closing(project_service_pb2_grpc.ProjectServiceServicer):
    """Answers the first call as gRPC does for a server that closes."""

    closing = True

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        if self.closing:
            self.closing = False
            await context.abort(grpc.StatusCode.CANCELLED, "CANCELLED")
        return pb.GetProjectResponse(project=project_pb2.Project(project_id=request.project_id))


@asynccontextmanager
async def _closing_server() -> AsyncIterator[str]:
    server = grpc.aio.server()
    project_service_pb2_grpc.add_ProjectServiceServicer_to_server(_Closing(), server)  # type: ignore[abstract]
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def _serve_on(database: Database, port: int) -> Running:
    service = Service("project", ServiceSettings())
    handlers = Handlers(database)  # type: ignore[abstract]
    service.serve(
        pb.DESCRIPTOR.services_by_name["ProjectService"],
        project_service_pb2_grpc.add_ProjectServiceServicer_to_server,
        handlers,
    )
    server = Server([service], ProcessSettings(port=port, metrics_port=-1, grace_seconds=1))
    server.bind()
    await server.start()
    return Running(server, handlers)


async def _answers(callee: Callee, stub: Any, request: Any) -> bool:
    try:
        await callee.call(stub.GetProject, request, pb.GetProjectResponse)
    except DependencyUnavailable:
        return False
    return True
