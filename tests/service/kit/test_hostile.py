"""Input that means harm, or means nothing."""

import signal
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest
from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from dsm.project.v1 import project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as pb

from services.local.process import choose_port, spawn
from tests.harness import World, refused
from tests.processes import clean_environ

SECRET = "tr0ub4dor"


@pytest.mark.parametrize("text", ["a\0b", "\0"])
async def test_what_cannot_be_stored_is_the_callers_error(world: World, text: str) -> None:
    stub = project_service_pb2_grpc.ProjectServiceStub(await world.channel("project"))
    project = project_pb2.Project(project_id="NUL", name=text)
    failed = await refused(stub.CreateProject(pb.CreateProjectRequest(project=project)))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")


@pytest.mark.parametrize("text", ["'; DROP TABLE project; --", "=1+1", "%(id)s", "%s", "‮", "🦄" * 50, "\u202e\ufeff"])
async def test_strange_text_comes_back_as_it_was(world: World, text: str) -> None:
    stub = project_service_pb2_grpc.ProjectServiceStub(await world.channel("project"))
    project_id = f"ODD-{abs(hash(text))}"
    project = project_pb2.Project(project_id=project_id, name=text)
    await stub.CreateProject(pb.CreateProjectRequest(project=project))
    answer = await stub.GetProject(pb.GetProjectRequest(project_id=project_id))
    assert answer.project.name == text


async def test_no_secret_is_told_by_log_error_or_status(tmp_path: Path) -> None:
    """The passwords of a database and an event stream that are away."""
    port, log = choose_port(0, 0), tmp_path / "log"
    environ = clean_environ() | {
        "DSM_PORT": str(port),
        "DSM_METRICS_PORT": "-1",
        "DSM_LOG_LEVEL": "DEBUG",
        "DSM_PROJECT_DATABASE_URL": f"postgresql://dsm:{SECRET}@127.0.0.1:1/dsm_project",
        "DSM_NATS_URL": f"nats://dsm:{SECRET}@127.0.0.1:1",
    }
    command = [sys.executable, "-m", "services.cli", "serve", "project"]
    process = spawn(command, log_file=log, on_parent_death=signal.SIGKILL, env=environ)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            project: Any = project_service_pb2_grpc.ProjectServiceStub(channel)
            request = pb.GetProjectRequest(project_id="A")
            # Asked as soon as it listens, and when it has seen that its database is away.
            failures = [await refused(project.GetProject(request, wait_for_ready=True)) for _ in range(3)]
            status: Any = status_service_pb2_grpc.StatusServiceStub(channel)
            told = await status.GetStatus(status_service_pb2.GetStatusRequest())
    finally:
        process.terminate()
        process.wait(20)
    assert {(failed.code, failed.reason) for failed in failures} == {("UNAVAILABLE", "DATABASE_UNAVAILABLE")}
    said = log.read_text() + str(failures) + str(told)
    assert "server.started" in said
    assert SECRET not in said
