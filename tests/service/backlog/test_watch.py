"""The backlog service on real sockets: watching a project's tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import TASK_STATE_COMPLETED, Story

from tests.harness import World, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, update_of


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


@asynccontextmanager
async def _watch(backlog: Backlog, project_id: str, token: str = "") -> AsyncIterator[Any]:
    """A watch that has begun."""
    stream = backlog.stub.WatchTasks(pb.WatchTasksRequest(project_id=project_id, resume_token=token))
    try:
        await asyncio.wait_for(stream.initial_metadata(), 10)
        yield stream
    finally:
        stream.cancel()


async def _next(stream: Any, count: int) -> list[pb.WatchTasksResponse]:
    return [await asyncio.wait_for(stream.read(), 10) for _ in range(count)]


async def test_every_change_comes_once_and_in_order(backlog: Backlog) -> None:
    project_id, other_id = await backlog.project(), await backlog.project()
    async with _watch(backlog, project_id) as stream:
        task = await backlog.create(project_id, "New")
        await backlog.create(other_id)
        await backlog.stub.CreateStory(pb.CreateStoryRequest(story=Story(project_id=project_id, title="Goal")))
        await backlog.stub.UpdateTask(update_of(task, title="Named", points=3))
        done = (await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=task.task_id))).task
        await backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task.task_id))
        made, named, completed, gone = await _next(stream, 4)
    assert (made.task, list(made.changed_fields)) == (task, [])
    assert (named.task.title, set(named.changed_fields)) == ("Named", {"title", "points"})
    assert (completed.task, completed.task.state) == (done, TASK_STATE_COMPLETED)
    assert (gone.deleted, gone.task.task_id, gone.task.title) == (True, task.task_id, "")
    async with _watch(backlog, project_id, made.resume_token) as stream:
        assert await _next(stream, 3) == [named, completed, gone]
    async with _watch(backlog, project_id, completed.resume_token) as stream:
        assert await _next(stream, 1) == [gone]


async def test_a_client_that_comes_and_goes_misses_nothing(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id)
    async with _watch(backlog, project_id) as stream:
        metadata = dict(await stream.initial_metadata())
    token, seen = str(metadata["dsm-resume-token"]), list[float]()

    async def change() -> None:
        for points in range(1, 61):
            await backlog.stub.UpdateTask(update_of(task, points=points))

    async def follow() -> None:
        nonlocal token
        while len(seen) < 60:
            async with _watch(backlog, project_id, token) as stream:
                for response in await _next(stream, min(7, 60 - len(seen))):
                    seen.append(response.task.points)
                    token = response.resume_token

    await asyncio.gather(change(), follow())
    assert seen == list(range(1, 61))


async def test_what_cannot_be_watched(backlog: Backlog) -> None:
    project_id = await backlog.project()
    async with _watch(backlog, project_id) as stream:
        token = str(dict(await stream.initial_metadata())["dsm-resume-token"])
    other_id = await backlog.project()
    for watched, given, reason in (
        (other_id, token, "PAGE_TOKEN_INVALID"),
        (project_id, "nonsense", "PAGE_TOKEN_INVALID"),
        ("NOSUCH", "", "PROJECT_NOT_FOUND"),
    ):
        request = pb.WatchTasksRequest(project_id=watched, resume_token=given)
        assert (await refused(backlog.stub.WatchTasks(request).read())).reason == reason
