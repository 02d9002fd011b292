"""Asked for far more than it can do, a server sheds, says so, stays small, and serves the rest in good time."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import grpc
import psutil
import pytest
import pytest_asyncio
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import backlog_service_pb2_grpc, task_pb2
from dsm.project.v1 import project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as project
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.kit import status
from services.local.stack import Stack
from tests.faults.arena import Arena, count
from tests.harness import Failed, eventually, refused

pytestmark = pytest.mark.slow

LIMIT = 16
CLIENTS = 10 * LIMIT
STREAMS = 3
PROJECT = "CROWD"
# What a process may grow by under ten times its load, in bytes; every call of the crowd carries 20 kB of text.
GROWTH = 150 * 2**20
TEXT = "x" * 20_000
TAGS = [f"{number:03}" + "y" * 40 for number in range(20)]


@pytest_asyncio.fixture(scope="module")
async def crowded(fault_stack: Stack) -> AsyncIterator[Arena]:
    """Services that take on little at a time."""
    limits = {"DSM_MAX_CONCURRENT_CALLS": str(LIMIT), "DSM_MAX_OPEN_STREAMS": str(STREAMS)}
    arena = Arena(fault_stack, **limits, DSM_LOG_LEVEL="WARNING")
    await arena.start("project", "backlog")
    projects: Any = project_service_pb2_grpc.ProjectServiceStub(await arena.channel("project"))
    await projects.CreateProject(
        project.CreateProjectRequest(project=project_pb2.Project(project_id=PROJECT, name="Crowd"))
    )
    yield arena
    await arena.close()


def _connect(arena: Arena) -> tuple[grpc.aio.Channel, Any]:
    """A connection of its own, as another client has."""
    channel = grpc.aio.insecure_channel(arena.address("backlog"), options=[("grpc.use_local_subchannel_pool", 1)])
    return channel, backlog_service_pb2_grpc.BacklogServiceStub(channel)


def _create(number: int) -> backlog.CreateTaskRequest:
    task = task_pb2.Task(project_id=PROJECT, title=f"Task {number}", description=TEXT, tags=TAGS)
    return backlog.CreateTaskRequest(task=task)


async def test_ten_times_the_load_is_shed_and_the_rest_is_served(crowded: Arena) -> None:
    memory = psutil.Process(crowded.of("backlog").process.pid).memory_info
    clients = [_connect(crowded) for _ in range(8)]
    for _, stub in clients:
        await stub.CreateTask(_create(0), wait_for_ready=True)
    before, answers = memory().rss, Counter[str]()
    served: list[float] = []
    over = asyncio.Event()

    async def ask(number: int) -> None:
        stub = clients[number % len(clients)][1]
        while not over.is_set():
            began = time.monotonic()
            try:
                await stub.CreateTask(_create(number), timeout=30)
            except grpc.aio.AioRpcError as error:
                failed = Failed(error)
                answers[failed.reason] += 1
                assert (failed.code, failed.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED"), failed
                await asyncio.sleep(_retry_seconds(error) / 10)
            else:
                answers["OK"] += 1
                served.append(time.monotonic() - began)

    crowd = [asyncio.create_task(ask(number)) for number in range(CLIENTS)]
    await asyncio.sleep(count(20, 4))
    over.set()
    await asyncio.gather(*crowd)
    assert answers["OVERLOADED"] > 0, answers
    assert answers["OK"] > CLIENTS, answers
    assert memory().rss - before < GROWTH, (memory().rss - before) / 2**20
    # Nobody who is let in waits behind the whole crowd.
    assert sorted(served)[len(served) * 99 // 100] < 5, sorted(served)[-10:]
    # And it is over as soon as the crowd is.
    await clients[0][1].CreateTask(_create(-1), timeout=5)
    made = await crowded.query("backlog", "SELECT count(*) AS n FROM task WHERE project_id = 'CROWD'")
    assert made[0]["n"] == answers["OK"] + len(clients) + 1
    for channel, _ in clients:
        await channel.close()


async def test_clients_that_try_again_as_told_are_all_served(crowded: Arena) -> None:
    channel, stub = _connect(crowded)

    async def insist(number: int) -> int:
        for tries in range(1, 200):
            try:
                await stub.CreateTask(_create(number), timeout=30)
            except grpc.aio.AioRpcError as error:
                await asyncio.sleep(_retry_seconds(error) * (0.5 + number % 10 / 10))
            else:
                return tries
        raise AssertionError(f"client {number} was never served")

    tries = await asyncio.gather(*(insist(number) for number in range(CLIENTS)))
    assert max(tries) > 1
    await channel.close()


async def test_streams_have_a_limit_of_their_own(crowded: Arena) -> None:
    channel, stub = _connect(crowded)
    request = backlog.WatchTasksRequest(project_id=PROJECT)
    watches = [stub.WatchTasks(request) for _ in range(STREAMS)]
    for watch in watches:
        await watch.initial_metadata()
    failed = await refused(stub.WatchTasks(request).read())
    assert (failed.code, failed.reason, failed.metadata) == (
        "RESOURCE_EXHAUSTED",
        "OVERLOADED",
        {"limit": str(STREAMS)},
    )
    # Calls go on beside them, and a place that is free again is given again.
    await stub.ListTasks(backlog.ListTasksRequest(project_id=PROJECT, page_size=1))
    watches.pop().cancel()

    async def admitted() -> bool:
        watch = stub.WatchTasks(request)
        watches.append(watch)
        return bool(await watch.initial_metadata())

    await eventually(admitted)
    for watch in watches:
        watch.cancel()
    await channel.close()


async def test_a_message_beyond_the_limit_is_refused_before_it_is_read(crowded: Arena) -> None:
    channel, stub = _connect(crowded)
    request = backlog.BatchCreateTasksRequest(project_id=PROJECT, tasks=[task_pb2.Task(title="a", description=TEXT)])
    request.tasks.extend(request.tasks[:1] * 300)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await stub.BatchCreateTasks(request)
    # gRPC itself answers, without a reason of ours.
    assert failed.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    await stub.ListTasks(backlog.ListTasksRequest(project_id=PROJECT, page_size=1))
    await channel.close()


def _retry_seconds(error: grpc.aio.AioRpcError) -> float:
    """When the server asks to try again, which it must say."""
    assert status.error_info(error), error
    for detail in rpc_status.from_call(error).details:  # type: ignore[arg-type]
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(retry):
            return retry.retry_delay.ToTimedelta().total_seconds()
    raise AssertionError(f"no RetryInfo: {error}")
