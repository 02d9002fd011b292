"""What the tests of the backlog service share."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.backlog.v1.task_pb2 import Task
from dsm.project.v1 import project_service_pb2
from dsm.project.v1.project_pb2 import PROJECT_STATUS_ARCHIVED, Project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from tests.harness import World, eventually

if TYPE_CHECKING:
    from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceAsyncStub

_numbers = itertools.count(1)


class Backlog:
    """The service, and projects to use it with."""

    def __init__(self, world: World, stub: BacklogServiceAsyncStub) -> None:
        self.world = world
        self.stub = stub

    async def project(self) -> str:
        """A new project of the test's own."""
        project_id = f"BL-{next(_numbers)}"
        stub = ProjectServiceStub(await self.world.channel("project"))
        project = Project(project_id=project_id, name="Backlog")
        await stub.CreateProject(project_service_pb2.CreateProjectRequest(project=project))
        return project_id

    async def archive(self, project_id: str) -> None:
        """Make a project read-only, and wait until the backlog knows."""
        stub = ProjectServiceStub(await self.world.channel("project"))
        request = project_service_pb2.SetProjectStatusRequest(project_id=project_id, status=PROJECT_STATUS_ARCHIVED)
        await stub.SetProjectStatus(request)
        sql = "SELECT status FROM project_state WHERE project_id = %(project_id)s AND status = 'ARCHIVED'"
        await eventually(lambda: self.world.query("backlog", sql, {"project_id": project_id}))

    async def create(self, project_id: str, title: str = "Work", **fields: Any) -> Task:
        """One task."""
        task = Task(project_id=project_id, title=title, **fields)
        return (await self.stub.CreateTask(pb.CreateTaskRequest(task=task))).task

    async def create_many(self, project_id: str, *tasks: Task | str) -> list[Task]:
        """Several tasks, in order of rank."""
        given = [Task(title=task) if isinstance(task, str) else task for task in tasks]
        request = pb.BatchCreateTasksRequest(project_id=project_id, tasks=given)
        return list((await self.stub.BatchCreateTasks(request)).tasks)

    async def get(self, task_id: str) -> Task:
        """A task as it is now."""
        return (await self.stub.GetTask(pb.GetTaskRequest(task_id=task_id))).task

    async def reserve(self, sprint_id: str, project_id: str, **limits: Any) -> pb.ReserveTasksResponse:
        """Take tasks for a sprint."""
        request = pb.ReserveTasksRequest(sprint_id=sprint_id, project_id=project_id, **limits)
        return await self.stub.ReserveTasks(request)

    async def events(self, aggregate_id: str) -> list[tuple[str, int]]:
        """Subject and version of what was told of a thing, in order."""
        sql = "SELECT subject, aggregate_version FROM outbox WHERE aggregate_id = %(id)s ORDER BY position"
        rows = await self.world.query("backlog", sql, {"id": aggregate_id})
        return [(row["subject"].removeprefix("dsm.backlog.v1."), row["aggregate_version"]) for row in rows]


async def backlog_of(world: World) -> Backlog:
    """The backlog service of a world, started with the project service."""
    await world.start("project", "backlog")
    return Backlog(world, BacklogServiceStub(await world.channel("backlog")))


def update_of(task: Task, *paths: str, **fields: Any) -> pb.UpdateTaskRequest:
    """An update of some fields, whatever the version."""
    changed = Task(task_id=task.task_id, **fields)
    return pb.UpdateTaskRequest(task=changed, update_mask=FieldMask(paths=paths or list(fields)))


def ids(tasks: Any) -> list[str]:
    """Ids of tasks."""
    return [task.task_id for task in tasks]
