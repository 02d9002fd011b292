"""Single calls under load."""

import argparse
import asyncio
import subprocess
import sys
from typing import Any

import grpc
import psutil
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import task_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from tests.bench import echo as echo_server
from tests.bench import scene
from tests.bench.load import Measure, measure, settle
from tests.bench.target import Target


async def echo(_: Target, options: argparse.Namespace) -> Measure:
    """A bare grpc.aio echo in a process of its own, with a message as long as a task's id."""
    command = [sys.executable, "-m", "tests.bench.echo"]
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE)
    try:
        assert process.stdout
        port = int(await process.stdout.readline())
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call: Any = channel.unary_unary(echo_server.METHOD)
            server = [psutil.Process(process.pid)]
            return await measure(
                lambda _: call(b"BENCH-TASK001"), server, calls=options.calls, width=options.concurrency
            )
    finally:
        process.kill()
        await process.wait()


async def get_task(target: Target, options: argparse.Namespace) -> Measure:
    """GetTask of many tasks."""
    ids = await scene.backlog(target, "BENCH-GET", 500)
    requests = [backlog_pb.GetTaskRequest(task_id=task_id) for task_id in ids]
    return await _measure(target, options, lambda number: target.backlog.GetTask(requests[number % len(requests)]))


async def list_tasks(target: Target, options: argparse.Namespace) -> Measure:
    """A page of 50 out of many, by rank."""
    await scene.backlog(target, "BENCH-LIST", options.tasks)
    request = backlog_pb.ListTasksRequest(project_id="BENCH-LIST", page_size=50)
    options = argparse.Namespace(**vars(options) | {"calls": max(100, options.calls // 10)})
    return await _measure(target, options, lambda _: target.backlog.ListTasks(request))


async def update_task(target: Target, options: argparse.Namespace) -> Measure:
    """UpdateTask of the title, of many tasks."""
    ids = await scene.backlog(target, "BENCH-UPDATE", 500)

    def call(number: int) -> object:
        task = task_pb2.Task(task_id=ids[number % len(ids)], title=f"Title {number}")
        request = backlog_pb.UpdateTaskRequest(task=task)
        request.update_mask.paths.append("title")
        return target.backlog.UpdateTask(request)

    return await _measure(target, options, call)


async def update_progress(target: Target, options: argparse.Namespace) -> Measure:
    """UpdateTaskProgress of the tasks of one sprint."""
    sprint = await scene.sprint(target, "BENCH-PROGRESS", people=8, tasks=400)

    def call(number: int) -> object:
        task = sprint.tasks[number % len(sprint.tasks)]
        request = sprint_pb.UpdateTaskProgressRequest(
            task_id=task.task_id, progress_percent=1 + number % 98, work_note="Went on.", work_date=sprint.start_date
        )
        return target.sprint.UpdateTaskProgress(request)

    return await _measure(target, options, call)


async def _measure(target: Target, options: argparse.Namespace, call: object) -> Measure:
    await settle(target.servers)
    return await measure(call, target.servers, calls=options.calls, width=options.concurrency)  # type: ignore[arg-type]
