"""Teams that are orchestrated: made, worked for and asked about through the services."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from dsm.backlog.v1 import backlog_service_pb2, task_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.orchestrator.v1 import decision_pb2, episode_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.project.v1 import employee_pb2, project_pb2, project_service_pb2
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from tests.harness import World, eventually

CLOSE, START, SCHEDULE = (
    decision_pb2.ACTION_KIND_CLOSE_SPRINT,
    decision_pb2.ACTION_KIND_START_SPRINT,
    decision_pb2.ACTION_KIND_SCHEDULE_DAILY_SCRUM,
)
DONE, SKIPPED, FAILED, PENDING = (
    decision_pb2.ACTION_STATE_DONE,
    decision_pb2.ACTION_STATE_SKIPPED,
    decision_pb2.ACTION_STATE_FAILED,
    decision_pb2.ACTION_STATE_PENDING,
)
EMBEDDED = episode_pb2.EPISODE_EMBEDDING_STATE_EMBEDDED
ANALYZE_ONLY = decision_pb2.ORCHESTRATE_ACTION_ANALYZE_ONLY
TODAY = datetime.now(UTC).date()
NEIGHBOURS = ("project", "backlog", "sprint", "chronicle", "embedding")


@dataclass(frozen=True)
class Dsm:
    """The services that a test talks to."""

    world: World
    projects: Any
    backlogs: Any
    sprints: Any
    orchestrator: Any

    async def project(self, project_id: str, *, tasks: int = 8, people: int = 4, points: float = 2) -> str:
        """A project with a team and a backlog."""
        project = project_pb2.Project(project_id=project_id, name=project_id)
        await self.projects.CreateProject(project_service_pb2.CreateProjectRequest(project=project))
        if people:
            await self.people(project_id, people)
        if tasks:
            await self.tasks(project_id, tasks, points)
        return project_id

    async def people(self, project_id: str, count: int) -> None:
        """People who have been on the team for two years."""
        names = [f"{project_id}-E{number}" for number in range(1, count + 1)]
        for name in names:
            employee = employee_pb2.Employee(employee_id=name, name=name)
            await self.projects.CreateEmployee(project_service_pb2.CreateEmployeeRequest(employee=employee))
        since = (TODAY - timedelta(days=730)).isoformat()
        request = project_service_pb2.AssignTeamMembersRequest(project_id=project_id)
        for name in names:
            request.assignments.add(employee_id=name, allocation_percent=100, start_date=since)
        await self.projects.AssignTeamMembers(request)

    async def tasks(self, project_id: str, count: int, points: float = 2) -> None:
        """Unassigned tasks."""
        tasks = [task_pb2.Task(project_id=project_id, title=f"Task {number}", points=points) for number in range(count)]
        request = backlog_service_pb2.BatchCreateTasksRequest(project_id=project_id, tasks=tasks)
        await self.backlogs.BatchCreateTasks(request)

    async def orchestrate(self, project_id: str, **given: Any) -> decision_pb2.DecisionRecord:
        """Orchestrate with some options."""
        action, request_id = given.pop("action", 0), given.pop("request_id", "")
        options = decision_pb2.OrchestrateOptions(**given)
        request = pb.OrchestrateRequest(project_id=project_id, action=action, options=options, request_id=request_id)
        answer: pb.OrchestrateResponse = await self.orchestrator.Orchestrate(request)
        return answer.decision

    async def complete(self, sprint: sprint_pb2.Sprint, count: int) -> None:
        """Complete some of a sprint's tasks."""
        for task in sprint.tasks[:count]:
            request = sprint_service_pb2.UpdateTaskProgressRequest(task_id=task.task_id, progress_percent=100)
            await self.sprints.UpdateTaskProgress(request)

    async def sprint(self, sprint_id: str) -> sprint_pb2.Sprint:
        """A sprint with its tasks."""
        answer = await self.sprints.GetSprint(sprint_service_pb2.GetSprintRequest(sprint_id=sprint_id))
        found: sprint_pb2.Sprint = answer.sprint
        return found

    async def status(self, project_id: str) -> pb.OrchestrationStatus:
        """Where a project stands."""
        request = pb.GetOrchestrationStatusRequest(project_id=project_id)
        answer: pb.GetOrchestrationStatusResponse = await self.orchestrator.GetOrchestrationStatus(request)
        return answer.status

    async def episodes(self, project_id: str, **more: Any) -> Any:
        """A project's episodes, newest first."""
        answer = await self.orchestrator.ListEpisodes(pb.ListEpisodesRequest(project_id=project_id, **more))
        return answer.episodes

    async def embedded(self, project_id: str, count: int = 1) -> Any:
        """A project's episodes once all of them, so many, are embedded."""

        async def found() -> Any:
            episodes = await self.episodes(project_id)
            ready = len(episodes) == count and all(episode.embedding_state == EMBEDDED for episode in episodes)
            return episodes if ready else None

        return await eventually(found)


async def dsm_of(world: World, *absent: str) -> Dsm:
    """All services but some."""
    await world.start(*(name for name in NEIGHBOURS if name not in absent))
    channel = await world.channel("orchestrator")
    return Dsm(
        world,
        ProjectServiceStub(await world.channel("project")),
        BacklogServiceStub(await world.channel("backlog")) if "backlog" not in absent else None,
        SprintServiceStub(await world.channel("sprint")) if "sprint" not in absent else None,
        OrchestratorServiceStub(channel),
    )


def states(record: decision_pb2.DecisionRecord) -> dict[int, int]:
    """How each action ended, by its kind."""
    return {action.kind: action.state for action in record.actions}
