"""Gate, on real servers."""

import asyncio

import pytest
from dsm.project.v1 import project_service_pb2 as pb

from services.kit.data.database import Database
from services.kit.errors import DatabaseUnavailable, Overloaded
from services.local.process import choose_port
from tests.harness import eventually, refused
from tests.service.kit.small_service import Running, creation, serve


async def test_every_failure_carries_one_declared_reason(running: Running) -> None:
    stub = running.stub
    missing = await refused(stub.GetProject(pb.GetProjectRequest(project_id="NOPE")))
    assert (missing.code, missing.reason, missing.metadata) == (
        "NOT_FOUND",
        "PROJECT_NOT_FOUND",
        {"project_id": "NOPE"},
    )
    bad = await refused(stub.GetProject(pb.GetProjectRequest(project_id="no good")))
    assert (bad.code, bad.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert bad.metadata["field"] == "project_id"
    assert bad.metadata["value"] == "no good"
    nameless = await refused(stub.CreateProject(creation("A", name="")))
    assert nameless.metadata["field"] == "project.name"
    unbuilt = await refused(stub.ListProjects(pb.ListProjectsRequest()))
    assert (unbuilt.code, unbuilt.reason) == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")


async def test_an_unforeseen_failure_tells_nothing_of_its_inside(running: Running) -> None:
    failed = await refused(running.stub.GetProject(pb.GetProjectRequest(project_id="BROKEN")))
    assert (failed.code, failed.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in failed.message + str(failed.metadata)


async def test_a_call_without_a_deadline_gets_the_default_one(running: Running) -> None:
    failed = await refused(running.stub.GetProject(pb.GetProjectRequest(project_id="SLOW")))
    assert (failed.code, failed.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_an_overfull_server_turns_calls_away(database: Database) -> None:
    running = await serve(database, max_concurrent_calls=1)
    slow = asyncio.ensure_future(running.stub.GetProject(pb.GetProjectRequest(project_id="SLOW")))
    await eventually(lambda: running.server._gate._calls.at_work == 1)
    failed = await refused(running.stub.GetProject(pb.GetProjectRequest(project_id="A")))
    assert (failed.code, failed.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    await refused(slow)
    await running.channel.close()
    await running.server.stop()


async def test_a_full_queue_for_the_database_is_overload_not_absence(database: Database) -> None:
    small = Database("project", database.url, pool_size=1)
    await small.open()
    many = [small.read.value("SELECT 1 FROM pg_sleep(0.05)") for _ in range(40)]
    results = await asyncio.gather(*many, return_exceptions=True)
    refused_calls = [result for result in results if isinstance(result, Overloaded)]
    assert refused_calls
    assert all(result == 1 for result in results if not isinstance(result, Overloaded))
    assert refused_calls[0].retry_after
    await small.close()


async def test_a_database_that_is_away_is_not_overload() -> None:
    """Callers that gave up stay in the pool's queue; they are not counted as waiting."""
    gone = Database("project", f"postgresql://postgres@127.0.0.1:{choose_port(0, 0)}/none", pool_timeout=0.2)
    await gone.open()
    with pytest.raises(DatabaseUnavailable):
        await gone.read.value("SELECT 1")
    for _ in range(3):
        results = await asyncio.gather(*(gone.read.value("SELECT 1") for _ in range(400)), return_exceptions=True)
        assert {type(result) for result in results} == {DatabaseUnavailable}
    await gone.close()
