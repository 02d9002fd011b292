"""Flows over several services, and what the whole costs."""

import argparse
import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import import_pb2
from dsm.embedding.v1 import embedding_service_pb2 as embedding_pb
from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from tests.bench import scene
from tests.bench.load import percentile
from tests.bench.target import Target

_BACKLOG = Path(__file__).parents[3] / "shared" / "data" / "backlog" / "XD.csv"
_DELAYS = 200


async def delay(target: Target, _: argparse.Namespace) -> dict[str, str]:
    """From a progress update's answer to the backlog's row, one at a time."""
    sprint = await scene.sprint(target, "BENCH-DELAY", people=4, tasks=50)
    seconds = []
    for number in range(_DELAYS):
        task = sprint.tasks[number % len(sprint.tasks)]
        request = sprint_pb.UpdateTaskProgressRequest(
            task_id=task.task_id, progress_percent=1 + number // len(sprint.tasks), work_date=sprint.start_date
        )
        version = (await target.sprint.UpdateTaskProgress(request)).task.version
        began = time.perf_counter()
        while True:
            found = await target.backlog.GetTask(backlog_pb.GetTaskRequest(task_id=task.task_id))
            if found.task.sprint_version >= version:
                break
            await asyncio.sleep(0.001)
        seconds.append(time.perf_counter() - began)
    p50, p99 = (percentile(seconds, share) * 1000 for share in (0.5, 0.99))
    return {"from committed progress to the backlog's row": f"p50 {p50:.0f} ms, p99 {p99:.0f} ms"}


async def start_sprint(target: Target, _: argparse.Namespace) -> dict[str, str]:
    """StartSprint with 500 tasks and 20 people."""
    await scene.backlog(target, "BENCH-START", 500, people=20)
    began = time.perf_counter()
    answer = await target.sprint.StartSprint(sprint_pb.StartSprintRequest(project_id="BENCH-START", max_tasks=500))
    seconds = time.perf_counter() - began
    return {f"StartSprint with {len(answer.sprint.tasks)} tasks and 20 people": f"{seconds * 1000:.0f} ms"}


async def import_backlog(target: Target, _: argparse.Namespace) -> dict[str, str]:
    """ImportTasks of a real backlog, first and second run."""
    if not _BACKLOG.exists():
        return {"import": f"not measured: {_BACKLOG.name} is not here"}
    await scene.project(target, "BENCH-IMPORT")
    rates = []
    for _run in range(2):
        report = (await target.backlog.ImportTasks(_requests("BENCH-IMPORT"))).report
        rates.append(report.rows / report.duration_ms * 1000)
    return {f"import of {_BACKLOG.name}": f"{rates[0]:.0f} rows/s; again, unchanged: {rates[1]:.0f} rows/s"}


def _requests(project_id: str) -> Iterator[backlog_pb.ImportTasksRequest]:
    options = import_pb2.ImportOptions(project_id=project_id, format=import_pb2.IMPORT_FORMAT_JIRA_CSV)
    yield backlog_pb.ImportTasksRequest(options=options)
    data = _BACKLOG.read_bytes()
    for first in range(0, len(data), 1 << 16):
        yield backlog_pb.ImportTasksRequest(data=data[first : first + (1 << 16)])


async def memory(target: Target, _: argparse.Namespace) -> dict[str, str]:
    """Proportional set size of services, PostgreSQL and NATS after the first embedding."""
    await EmbeddingServiceStub(target.channel("embedding")).Embed(
        embedding_pb.EmbedRequest(text="Memory of the whole stack.")
    )
    everybody = [target.process, *target.process.children(recursive=True)]
    sizes = {process.pid: _pss(process) for process in everybody if process.is_running()}
    own = sum(sizes[process.pid] for process in target.servers)
    return {"memory after the first embedding": f"{sum(sizes.values()):.0f} MB PSS in all, {own:.0f} MB services"}


def _pss(process: psutil.Process) -> float:
    try:
        return float(process.memory_full_info().pss) / 1e6
    except psutil.NoSuchProcess:
        return 0.0
