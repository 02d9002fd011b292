"""The backlog service on real sockets: the streams in which files come, and how they are refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.import_pb2 import IMPORT_FORMAT_JIRA_CSV, ImportOptions

from tests.harness import World, refused
from tests.service.backlog.backlogs import Backlog, backlog_of


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


async def test_a_stream_begins_with_options_once(backlog: Backlog) -> None:
    project_id = await backlog.project()
    options = ImportOptions(project_id=project_id, format=IMPORT_FORMAT_JIRA_CSV)

    async def messages(*requests: pb.ImportTasksRequest) -> Any:
        for request in requests:
            yield request

    first, data = pb.ImportTasksRequest(options=options), pb.ImportTasksRequest(data=b"key,summary\n")
    for requests in ((), (data,), (first, data, first)):
        failed = await refused(backlog.stub.ImportTasks(messages(*requests)))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "IMPORT_STREAM_INVALID")


async def test_whoever_is_refused_while_still_sending_is_told_why(backlog: Backlog) -> None:
    """A client of grpc.aio takes a message that cannot be sent any more for an INTERNAL error of its own."""
    options = ImportOptions(project_id="NOSUCH", format=IMPORT_FORMAT_JIRA_CSV)

    async def upload() -> Any:
        yield pb.ImportTasksRequest(options=options)
        for _ in range(50):
            yield pb.ImportTasksRequest(data=b"x" * 1000)

    async def reason() -> str:
        return (await refused(backlog.stub.ImportTasks(upload()))).reason

    # Where they are not heard out, one of thirty is told INTERNAL.
    for _ in range(12):
        assert set(await asyncio.gather(*(reason() for _ in range(20)))) == {"PROJECT_NOT_FOUND"}


async def test_whoever_never_ends_is_refused_all_the_same(backlog: Backlog) -> None:
    call = backlog.stub.ImportTasks()
    await call.write(pb.ImportTasksRequest(data=b"key,summary\n"))
    assert (await refused(call)).reason == "IMPORT_STREAM_INVALID"
