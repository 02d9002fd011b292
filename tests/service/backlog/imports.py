"""What the tests of imports share."""

from __future__ import annotations

from typing import Any

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.import_pb2 import ImportOptions, ImportReport
from dsm.backlog.v1.task_pb2 import Task

from tests.service.backlog.backlogs import Backlog

_FIGURES = (
    "rows",
    "created_tasks",
    "updated_tasks",
    "unchanged_tasks",
    "stories",
    "refused_count",
    "states_kept",
    "skipped_rows",
)


async def send(backlog: Backlog, options: ImportOptions | None, *pieces: bytes) -> ImportReport:
    """Import a file that comes in pieces."""

    async def messages() -> Any:
        if options is not None:
            yield pb.ImportTasksRequest(options=options)
        for piece in pieces:
            yield pb.ImportTasksRequest(data=piece)

    return (await backlog.stub.ImportTasks(messages())).report


async def tasks_of(backlog: Backlog, project_id: str) -> list[Task]:
    """All tasks of a project by rank."""
    tasks: list[Task] = []
    token = ""
    while True:
        request = pb.ListTasksRequest(project_id=project_id, page_size=250, page_token=token)
        page = await backlog.stub.ListTasks(request)
        tasks += page.tasks
        token = page.next_page_token
        if not token:
            return tasks


async def tasks_by_key(backlog: Backlog, project_id: str) -> dict[str, Task]:
    """All tasks of a project by their origin's key."""
    return {task.origin.key: task for task in await tasks_of(backlog, project_id)}


def figures(report: ImportReport) -> dict[str, int]:
    """The figures of a report that are not 0."""
    return {name: getattr(report, name) for name in _FIGURES if getattr(report, name)}
