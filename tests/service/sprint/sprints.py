"""A project with a team and a backlog, and the stubs to run its sprints."""

from __future__ import annotations

import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.project.v1 import employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from tests.harness import World

if TYPE_CHECKING:
    from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceAsyncStub
    from dsm.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub
    from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceAsyncStub

# Two weeks of ten working days without a public holiday in the United States.
MONDAY = "2025-03-03"
FRIDAY = "2025-03-07"
SATURDAY = "2025-03-08"
LAST_DAY = "2025-03-16"

_numbers = itertools.count(random.Random().randrange(10**6))


@dataclass
class Fixture:
    """A project of its own, with the three stubs."""

    world: World
    projects: ProjectServiceAsyncStub
    backlog: BacklogServiceAsyncStub
    sprints: SprintServiceAsyncStub
    project_id: str
    people: list[str]
    task_ids: list[str]

    async def start(self, **fields: object) -> pb.StartSprintResponse:
        """Start a sprint of two weeks in March 2025."""
        fields = {"project_id": self.project_id, "start_date": MONDAY} | fields
        return await self.sprints.StartSprint(pb.StartSprintRequest(**fields))  # type: ignore[arg-type]

    async def started(self, **fields: object) -> sprint_pb2.Sprint:
        """The sprint that start() starts."""
        return (await self.start(**fields)).sprint

    async def report(self, task_id: str, percent: int, **fields: object) -> sprint_pb2.SprintTask:
        """Report work on a task."""
        request = pb.UpdateTaskProgressRequest(task_id=task_id, progress_percent=percent, **fields)  # type: ignore[arg-type]
        return (await self.sprints.UpdateTaskProgress(request)).task

    async def sprint(self, sprint_id: str) -> sprint_pb2.Sprint:
        """A sprint as it is now."""
        return (await self.sprints.GetSprint(pb.GetSprintRequest(sprint_id=sprint_id))).sprint

    async def task(self, task_id: str) -> task_pb2.Task:
        """A task as the backlog has it now."""
        return (await self.backlog.GetTask(backlog.GetTaskRequest(task_id=task_id))).task

    async def events(self, suffix: str) -> list[str]:
        """Aggregates of the sprint service's events about this project, oldest first."""
        rows = await self.world.query(
            "sprint",
            """
            SELECT aggregate_id FROM outbox
            WHERE subject = %(subject)s AND aggregate_id LIKE %(mine)s ORDER BY position
            """,
            {"subject": f"dsm.sprint.v1.{suffix}", "mine": f"{self.project_id}-%"},
        )
        return [row["aggregate_id"] for row in rows]


async def make(
    world: World,
    *,
    people: int = 2,
    points: Sequence[float | None] = (5, 5, 5, 5),
    assignees: Sequence[int | None] = (),
    skills: Sequence[str] = (),
    tags: Sequence[str] = (),
    **settings: object,
) -> Fixture:
    """A project whose team works full time, with one task for each of `points`, in that order of rank."""
    await world.start("project", "backlog", "sprint")
    projects = ProjectServiceStub(await world.channel("project"))
    tasks = BacklogServiceStub(await world.channel("backlog"))
    sprints = SprintServiceStub(await world.channel("sprint"))
    project_id = f"SPR{next(_numbers)}"
    new = project_pb2.Project(project_id=project_id, name="A project", **settings)  # type: ignore[arg-type]
    await projects.CreateProject(project.CreateProjectRequest(project=new))
    who = [f"{project_id}-E{number}" for number in range(1, people + 1)]
    for number, employee_id in enumerate(who):
        employee = employee_pb2.Employee(employee_id=employee_id, name="Somebody", skills=skills[number : number + 1])
        await projects.CreateEmployee(project.CreateEmployeeRequest(employee=employee))
    if who:
        places = [project.TeamAssignment(employee_id=employee_id) for employee_id in who]
        await projects.AssignTeamMembers(project.AssignTeamMembersRequest(project_id=project_id, assignments=places))
    owners = [*assignees, *([None] * len(points))]
    wanted = [
        task_pb2.Task(
            title=f"Task {number + 1}",
            points=size,
            assignee_id="" if (owner := owners[number]) is None else who[owner],
            tags=tags[number : number + 1],
        )
        for number, size in enumerate(points)
    ]
    made = []
    if wanted:
        answer = await tasks.BatchCreateTasks(backlog.BatchCreateTasksRequest(project_id=project_id, tasks=wanted))
        made = [task.task_id for task in answer.tasks]
    return Fixture(world, projects, tasks, sprints, project_id, who, made)


async def under_way(world: World) -> Fixture:
    """A sprint under way with two tasks."""
    fixture = await make(world, points=(5, 3))
    await fixture.start(max_tasks=2)
    return fixture
