"""What the sprint service asks of the project and the backlog service."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from dsm.backlog.v1 import backlog_service_pb2, backlog_service_pb2_grpc, task_pb2
from dsm.project.v1 import calendar_pb2, project_pb2, project_service_pb2, project_service_pb2_grpc

from services.kit.calling.callee import Callee
from services.kit.convert import from_date, to_date
from services.sprint import convert
from services.sprint.domain.planning import BacklogFigures, ProjectNotActive, Reserved
from services.sprint.domain.scrum import NotAWorkingDay
from services.sprint.domain.sprint import Member

# Thousands of tasks with their tags take the backlog longer than an ordinary call.
_RESERVE_SECONDS = 20


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a team can work in a range of days."""

    members: tuple[Member, ...]
    working_dates: tuple[date, ...]
    person_days: Decimal


class Neighbours:
    """The two services, as this one needs them. Every call may be repeated."""

    def __init__(self, project: Callee, backlog: Callee) -> None:
        self._project = project
        self._backlog = backlog
        self._projects = project_service_pb2_grpc.ProjectServiceStub(project.channel)
        self._tasks = backlog_service_pb2_grpc.BacklogServiceStub(backlog.channel)

    async def project(self, project_id: str) -> project_pb2.Project:
        """The project; PROJECT_NOT_FOUND."""
        request = project_service_pb2.GetProjectRequest(project_id=project_id)
        answer = await self._project.call(self._projects.GetProject, request, project_service_pb2.GetProjectResponse)
        return answer.project

    async def active_project(self, project_id: str) -> project_pb2.Project:
        """The project; PROJECT_NOT_FOUND, ProjectNotActive."""
        project = await self.project(project_id)
        if project.status != project_pb2.PROJECT_STATUS_ACTIVE:
            status = project_pb2.ProjectStatus.Name(project.status).removeprefix("PROJECT_STATUS_")
            raise ProjectNotActive(project_id, status)
        return project

    async def capacity(self, project_id: str, start: date, end: date) -> Capacity:
        """Who works how much from one day to another, both included."""
        request = project_service_pb2.GetCapacityRequest(
            project_id=project_id, start_date=from_date(start), end_date=from_date(end)
        )
        answer = await self._project.call(self._projects.GetCapacity, request, project_service_pb2.GetCapacityResponse)
        return Capacity(
            members=tuple(map(convert.to_member, answer.members)),
            working_dates=tuple(to_date(day.date, "date") for day in answer.days),
            person_days=convert.to_person_days(answer.person_days),
        )

    async def at_work(self, project_id: str, day: date) -> dict[str, Decimal]:
        """The share of a day that each member of the team works, 0 = away; NotAWorkingDay."""
        capacity = await self.capacity(project_id, day, day)
        if not capacity.working_dates:
            raise NotAWorkingDay(day, await self._why_off(project_id, day))
        return {member.employee_id: member.person_days for member in capacity.members}

    async def figures(self, project_id: str) -> BacklogFigures:
        """What the backlog holds."""
        request = backlog_service_pb2.GetBacklogSummaryRequest(project_id=project_id)
        answer = await self._backlog.call(
            self._tasks.GetBacklogSummary, request, backlog_service_pb2.GetBacklogSummaryResponse
        )
        summary = answer.summary
        free = [c.tasks for c in summary.state_counts if c.state == task_pb2.TASK_STATE_UNASSIGNED]
        return BacklogFigures(
            free_tasks=sum(free),
            estimated_tasks=summary.total_tasks - summary.unestimated_tasks,
            total_points=Decimal(str(summary.total_points)),
        )

    async def reserve(self, request: backlog_service_pb2.ReserveTasksRequest) -> list[Reserved]:
        """Take tasks for a sprint, by rank; the same ones when asked again."""
        answer = await self._backlog.call(
            self._tasks.ReserveTasks,
            request,
            backlog_service_pb2.ReserveTasksResponse,
            timeout=_RESERVE_SECONDS,
        )
        return [convert.to_reserved(task) for task in answer.tasks]

    async def release(
        self,
        sprint_id: str,
        releases: Sequence[backlog_service_pb2.TaskRelease] = (),
        policy: backlog_service_pb2.ReleasePolicy.ValueType = backlog_service_pb2.RELEASE_POLICY_UNSPECIFIED,
        request_id: str = "",
    ) -> None:
        """Give tasks of a sprint back; without a list, undo its whole reservation."""
        request = backlog_service_pb2.ReleaseTasksRequest(
            sprint_id=sprint_id, tasks=releases, policy=policy, request_id=request_id
        )
        await self._backlog.call(
            self._tasks.ReleaseTasks,
            request,
            backlog_service_pb2.ReleaseTasksResponse,
            timeout=_RESERVE_SECONDS,
        )

    async def _why_off(self, project_id: str, day: date) -> str:
        """The name of the holiday that a day is, else that it is a weekend."""
        request = project_service_pb2.CheckAvailabilityRequest(
            project_id=project_id, start_date=from_date(day), end_date=from_date(day)
        )
        answer = await self._project.call(
            self._projects.CheckAvailability, request, project_service_pb2.CheckAvailabilityResponse
        )
        holidays = [c.details for c in answer.conflicts if c.kind == calendar_pb2.CONFLICT_KIND_HOLIDAY]
        return holidays[0] if holidays else "weekend"
