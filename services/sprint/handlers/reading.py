"""Sprints, tasks, counts and burndown, read."""

from __future__ import annotations

from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.sprint import convert
from services.sprint.domain.burndown import burndown
from services.sprint.domain.sprint import NoActiveSprint, Sprint, summarize
from services.sprint.handlers.room import Room
from services.sprint.store import sprints, tasks


class ReadingHandlers(Room):
    """GetSprint to GetTaskSummary, and GetBurndown."""

    async def GetSprint(self, request: pb.GetSprintRequest, context: Context) -> pb.GetSprintResponse:
        """One sprint with its tasks."""
        sprint = await sprints.get(self.db.read, request.sprint_id)
        return pb.GetSprintResponse(sprint=await self._whole(sprint))

    async def ListSprints(self, request: pb.ListSprintsRequest, context: Context) -> pb.ListSprintsResponse:
        """A page of sprints with counts instead of tasks."""
        page = page_of(request)
        states = [sprint_pb2.SprintState.Name(state).removeprefix("SPRINT_STATE_") for state in request.states]
        found = await sprints.page(self.db.read, page, request.project_id, states)
        shown, token = page.cut(found, lambda sprint: (sprint.start_date, sprint.sprint_id))
        counts = await tasks.summaries(self.db.read, [sprint.sprint_id for sprint in shown])
        return pb.ListSprintsResponse(
            sprints=[convert.from_sprint(sprint, counts[sprint.sprint_id]) for sprint in shown],
            next_page_token=token,
        )

    async def GetActiveSprint(self, request: pb.GetActiveSprintRequest, context: Context) -> pb.GetActiveSprintResponse:
        """The open sprint of a project, or the one that started first."""
        sprint = await sprints.active(self.db.read, request.project_id)
        if sprint is None:
            raise NoActiveSprint(request.project_id)
        return pb.GetActiveSprintResponse(sprint=await self._whole(sprint))

    async def ListProjectsWithSprints(
        self, request: pb.ListProjectsWithSprintsRequest, context: Context
    ) -> pb.ListProjectsWithSprintsResponse:
        """A page of project ids."""
        page = page_of(request)
        found = await sprints.projects(self.db.read, page)
        shown, token = page.cut(found, lambda project_id: (project_id,))
        return pb.ListProjectsWithSprintsResponse(project_ids=shown, next_page_token=token)

    async def ListSprintTasks(self, request: pb.ListSprintTasksRequest, context: Context) -> pb.ListSprintTasksResponse:
        """A page of a sprint's tasks."""
        page = page_of(request)
        await sprints.get(self.db.read, request.sprint_id)
        found = await tasks.page(self.db.read, page, request.sprint_id, request.assignee_id)
        shown, token = page.cut(found, lambda task: (task.position, task.task_id))
        return pb.ListSprintTasksResponse(tasks=map(convert.from_task, shown), next_page_token=token)

    async def GetTaskSummary(self, request: pb.GetTaskSummaryRequest, context: Context) -> pb.GetTaskSummaryResponse:
        """Counts of a sprint's tasks."""
        sprint = await sprints.get(self.db.read, request.sprint_id)
        counts = await tasks.summaries(self.db.read, [sprint.sprint_id])
        return pb.GetTaskSummaryResponse(summary=convert.from_summary(counts[sprint.sprint_id]))

    async def GetBurndown(self, request: pb.GetBurndownRequest, context: Context) -> pb.GetBurndownResponse:
        """A sprint day by day."""
        sprint = await sprints.get(self.db.read, request.sprint_id)
        found = await tasks.of_sprint(self.db.read, sprint.sprint_id)
        changes = await tasks.scope_changes(self.db.read, sprint.sprint_id)
        days = burndown(sprint, found, changes, self.today(sprint.time_zone))
        return pb.GetBurndownResponse(
            days=map(convert.from_burndown_day, days),
            start_points=float(sprint.planned_points),
            start_tasks=sprint.planned_tasks,
        )

    async def _whole(self, sprint: Sprint) -> sprint_pb2.Sprint:
        found = await tasks.of_sprint(self.db.read, sprint.sprint_id)
        return convert.from_sprint(sprint, summarize(found), found)
