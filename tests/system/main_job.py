"""A main job to be done: a real backlog, a team with time off, and what can be counted of them."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import holidays
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import backlog_service_pb2_grpc, import_pb2, task_pb2
from dsm.chronicle.v1 import chronicle_service_pb2_grpc
from dsm.orchestrator.v1 import orchestrator_service_pb2_grpc
from dsm.project.v1 import calendar_pb2, employee_pb2, project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as project_service_pb
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2_grpc

from tests.harness import DATA, SERVICES, World

WEEKS = 2
# Allocation in percent, and PTO as (first day, last day, starts at midday) counted from the sprint's start.
TEAM: dict[str, tuple[int, tuple[int, int, bool] | None]] = {
    "ADA": (100, None),
    "BOB": (100, (1, 3, False)),
    "CYD": (50, None),
    "DEE": (80, (8, 8, True)),
    "EVE": (100, (0, 13, False)),
}


@dataclass
class Job:
    """One run of the main job: where it happens and what came of it."""

    world: World
    csv: Path
    project_id: str
    start: date
    project: Any
    backlog: Any
    sprint: Any
    chronicle: Any
    orchestrator: Any
    sprint_id: str = ""
    planned: sprint_pb2.Sprint = field(default_factory=sprint_pb2.Sprint)

    @property
    def end(self) -> date:
        """The sprint's last day."""
        return self.start + timedelta(days=7 * WEEKS - 1)

    def employee(self, name: str) -> str:
        """Somebody's id; people are not shared by jobs."""
        return f"{self.csv.stem}-{name}"

    def working_offsets(self) -> list[int]:
        """The days on which the team works, counted from the sprint's start."""
        public = holidays.country_holidays("US")
        days = [self.start + timedelta(days=offset) for offset in range(7 * WEEKS)]
        return [at for at, day in enumerate(days) if day.weekday() < 5 and day not in public and at != 9]

    def rows(self) -> list[dict[str, str]]:
        """What is in the file."""
        with self.csv.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    async def import_backlog(self) -> import_pb2.ImportReport:
        """Import the file, in pieces."""

        def requests() -> Iterator[backlog_pb.ImportTasksRequest]:
            options = import_pb2.ImportOptions(project_id=self.project_id, format=import_pb2.IMPORT_FORMAT_JIRA_CSV)
            yield backlog_pb.ImportTasksRequest(options=options)
            data = self.csv.read_bytes()
            for at in range(0, len(data), 65536):
                yield backlog_pb.ImportTasksRequest(data=data[at : at + 65536])

        report: import_pb2.ImportReport = (await self.backlog.ImportTasks(requests())).report
        return report

    async def tasks(self) -> dict[str, task_pb2.Task]:
        """Every task of the project, by id, page by page."""
        found: dict[str, task_pb2.Task] = {}
        token = ""
        while True:
            request = backlog_pb.ListTasksRequest(project_id=self.project_id, page_size=250, page_token=token)
            answer = await self.backlog.ListTasks(request)
            assert not found.keys() & {task.task_id for task in answer.tasks}, "a page repeated a task"
            found |= {task.task_id: task for task in answer.tasks}
            token = answer.next_page_token
            if not token:
                return found

    async def stories(self) -> list[task_pb2.Story]:
        """Every story of the project, page by page."""
        found: list[task_pb2.Story] = []
        token = ""
        while True:
            request = backlog_pb.ListStoriesRequest(project_id=self.project_id, page_size=250, page_token=token)
            answer = await self.backlog.ListStories(request)
            found += answer.stories
            token = answer.next_page_token
            if not token:
                return found


def share_of(name: str, offset: int) -> Fraction:
    """What a person can work on a day of the sprint, counted here on its own."""
    percent, pto = TEAM[name]
    share = Fraction(percent, 100)
    if pto and pto[0] <= offset <= pto[1]:
        return share / 2 if pto[2] else Fraction(0)
    return share


async def open_job(world: World, backlog: str) -> Job:
    """A project whose backlog is imported, with a sprint's start four weeks ago."""
    await world.start(*SERVICES)
    today = datetime.now(UTC).date()
    monday = today - timedelta(days=today.weekday() + 28)
    made = Job(
        world,
        DATA / "backlog" / f"{backlog}.csv",
        f"MAIN-{backlog}",
        monday,
        project_service_pb2_grpc.ProjectServiceStub(await world.channel("project")),
        backlog_service_pb2_grpc.BacklogServiceStub(await world.channel("backlog")),
        sprint_service_pb2_grpc.SprintServiceStub(await world.channel("sprint")),
        chronicle_service_pb2_grpc.ChronicleServiceStub(await world.channel("chronicle")),
        orchestrator_service_pb2_grpc.OrchestratorServiceStub(await world.channel("orchestrator")),
    )
    await _found_project(made)
    await made.import_backlog()
    return made


async def _found_project(job: Job) -> None:
    project = project_pb2.Project(project_id=job.project_id, name=job.csv.stem, time_zone="America/New_York")
    await job.project.CreateProject(project_service_pb.CreateProjectRequest(project=project))
    assignments = []
    for name, (percent, pto) in TEAM.items():
        employee_id = job.employee(name)
        employee = employee_pb2.Employee(employee_id=employee_id, name=name, hours_per_day=8)
        await job.project.CreateEmployee(project_service_pb.CreateEmployeeRequest(employee=employee))
        assignments.append(project_service_pb.TeamAssignment(employee_id=employee_id, allocation_percent=percent))
        if pto:
            first, last, at_midday = pto
            off = calendar_pb2.Pto(
                employee_id=employee_id,
                start_date=str(job.start + timedelta(days=first)),
                end_date=str(job.start + timedelta(days=last)),
                starts_at_midday=at_midday,
            )
            await job.project.AddPto(project_service_pb.AddPtoRequest(pto=off))
    request = project_service_pb.AssignTeamMembersRequest(project_id=job.project_id, assignments=assignments)
    await job.project.AssignTeamMembers(request)
    company_day = project_service_pb.AddHolidayRequest(
        project_id=job.project_id, date=str(job.start + timedelta(days=9)), name="Company day"
    )
    await job.project.AddHoliday(company_day)
