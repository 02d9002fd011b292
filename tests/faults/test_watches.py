"""Whoever watches and comes back with the last token sees each change once and in order, whatever dies (I12)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import backlog_service_pb2_grpc
from dsm.events.v1 import event_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from dsm.sprint.v1 import sprint_service_pb2_grpc

from tests.faults.arena import count, only_full, seeded
from tests.faults.faults import kill, stop_postgres
from tests.faults.flows import make_scene
from tests.faults.healing import healed
from tests.faults.history import History
from tests.faults.invariants import judge
from tests.faults.load import FaultStage, make_fault_stage, under_load
from tests.faults.machine import Machine
from tests.harness import eventually

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)]

_TOLD = "SELECT payload FROM outbox WHERE project_id = %(id)s AND position > %(after)s ORDER BY position"
_LAST = "SELECT coalesce(max(position), 0) AS position FROM outbox"


class Watcher:
    """Watches, and comes back with the last token whenever it is cut off."""

    def __init__(self, watch: Callable[[str], Any]) -> None:
        self._watch = watch
        self._token = ""
        self.seen: list[Any] = []
        self.cuts: list[str] = []
        self.began = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Watch no more."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        while True:
            try:
                stream = self._watch(self._token)
                headers = dict(await stream.initial_metadata())
                self._token = self._token or headers["dsm-resume-token"]
                self.began.set()
                async for change in stream:
                    self.seen.append(change)
                    self._token = change.resume_token
            except grpc.aio.AioRpcError as error:
                self.cuts.append(error.code().name)
                await asyncio.sleep(0.1)


async def test_watchers_see_each_change_once_and_in_order(machine: Machine, tmp_path: Path) -> None:
    seed = seeded("watch").randrange(10**6)
    stage = await make_fault_stage(machine, History(tmp_path, "watch", seed), seed)
    project_id = stage.grounds[0].project_id
    stub = backlog_service_pb2_grpc.BacklogServiceStub(await machine.channel("backlog"))
    after = (await machine.query("backlog", _LAST))[0]["position"]
    watcher = Watcher(
        lambda token: stub.WatchTasks(backlog.WatchTasksRequest(project_id=project_id, resume_token=token))
    )
    await watcher.began.wait()

    async def strike() -> None:
        for fault in ((kill("backlog"), stop_postgres()) * 4)[: count(8, 1)]:
            await asyncio.sleep(2)
            await fault.strike(machine)
            await healed(machine)

    try:
        await under_load(stage, strike, seed=seed)
        (await judge(stage)).passed("watching tasks")
        told = await _told_tasks(stage, project_id, after)
        await eventually(lambda: len(watcher.seen) >= len(told))
    finally:
        await watcher.stop()
    assert [(change.task.task_id, change.task.etag, change.deleted) for change in watcher.seen] == told
    assert set(watcher.cuts) == {"UNAVAILABLE"}


async def _told_tasks(stage: FaultStage, project_id: str, after: int) -> list[tuple[str, str, bool]]:
    """What watchers of a project's tasks are told of: every event about a task, in the order of the commits."""
    found = []
    for row in await stage.machine.query("backlog", _TOLD, {"id": project_id, "after": after}):
        event = event_pb2.Event.FromString(bytes(row["payload"]))
        kind = event.WhichOneof("payload") or ""
        if kind in ("task_created", "task_updated"):
            task = getattr(event, kind).task
            found.append((task.task_id, task.etag, False))
        elif kind == "task_deleted":
            found.append((event.task_deleted.task_id, "", True))
    return found


@only_full
async def test_a_watcher_of_a_sprint_sees_each_report_once(machine: Machine, tmp_path: Path) -> None:
    scene = await make_scene(machine, History(tmp_path, "watch-sprint", "-"))
    await scene.plan()
    stub = sprint_service_pb2_grpc.SprintServiceStub(await machine.channel("sprint"))
    watcher = Watcher(
        lambda token: stub.WatchSprint(sprint.WatchSprintRequest(sprint_id=scene.sprint_id, resume_token=token))
    )
    await watcher.began.wait()
    reported = []
    try:
        for percent in range(1, 80):
            if percent % 6 == 3:
                await kill("sprint").strike(machine)
                await machine.ready("sprint")
            request = sprint.UpdateTaskProgressRequest(task_id=scene.tasks[0], progress_percent=percent)
            await scene.ask("UpdateTaskProgress", request)
            reported.append(percent)
        await eventually(lambda: len(watcher.seen) >= len(reported))
    finally:
        await watcher.stop()
    assert [change.task.progress_percent for change in watcher.seen] == reported
    assert set(watcher.cuts) == {"UNAVAILABLE"}
