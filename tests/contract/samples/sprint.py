"""Good requests of the sprint service."""

from __future__ import annotations

from dsm.sprint.v1 import daily_scrum_service_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from tests.contract.samples.scene import LAST_DAY, MONDAY, TUESDAY, Scene


class SprintService:
    """One request for each call, named as the call."""

    async def StartSprint(self, scene: Scene) -> pb.StartSprintRequest:
        return pb.StartSprintRequest(project_id=await scene.new_plannable(), start_date=MONDAY)

    async def GetSprint(self, scene: Scene) -> pb.GetSprintRequest:
        return pb.GetSprintRequest(sprint_id=scene.sprint.sprint_id)

    async def ListSprints(self, scene: Scene) -> pb.ListSprintsRequest:
        return pb.ListSprintsRequest(project_id=scene.sprint.project_id)

    async def GetActiveSprint(self, scene: Scene) -> pb.GetActiveSprintRequest:
        return pb.GetActiveSprintRequest(project_id=scene.sprint.project_id)

    async def ListProjectsWithSprints(self, scene: Scene) -> pb.ListProjectsWithSprintsRequest:
        return pb.ListProjectsWithSprintsRequest()

    async def ListSprintTasks(self, scene: Scene) -> pb.ListSprintTasksRequest:
        return pb.ListSprintTasksRequest(sprint_id=scene.sprint.sprint_id)

    async def GetTaskSummary(self, scene: Scene) -> pb.GetTaskSummaryRequest:
        return pb.GetTaskSummaryRequest(sprint_id=scene.sprint.sprint_id)

    async def UpdateTaskProgress(self, scene: Scene) -> pb.UpdateTaskProgressRequest:
        task_id = await scene.new_sprint_task()
        return pb.UpdateTaskProgressRequest(task_id=task_id, progress_percent=50, work_date=TUESDAY)

    async def RunDailyScrum(self, scene: Scene) -> pb.RunDailyScrumRequest:
        return pb.RunDailyScrumRequest(sprint_id=(await scene.new_sprint()).sprint_id, report_date=TUESDAY)

    async def CloseSprint(self, scene: Scene) -> pb.CloseSprintRequest:
        return pb.CloseSprintRequest(sprint_id=(await scene.new_sprint()).sprint_id, close_date=LAST_DAY)

    async def GetBurndown(self, scene: Scene) -> pb.GetBurndownRequest:
        return pb.GetBurndownRequest(sprint_id=scene.sprint.sprint_id)

    async def AddTaskToSprint(self, scene: Scene) -> pb.AddTaskToSprintRequest:
        sprint = await scene.new_sprint()
        [task_id] = await scene.new_tasks(sprint.project_id, count=1)
        return pb.AddTaskToSprintRequest(sprint_id=sprint.sprint_id, task_id=task_id)

    async def RemoveTaskFromSprint(self, scene: Scene) -> pb.RemoveTaskFromSprintRequest:
        sprint = await scene.new_sprint()
        return pb.RemoveTaskFromSprintRequest(sprint_id=sprint.sprint_id, task_id=sprint.tasks[0].task_id)

    async def ReassignTask(self, scene: Scene) -> pb.ReassignTaskRequest:
        sprint = await scene.new_sprint()
        return pb.ReassignTaskRequest(sprint_id=sprint.sprint_id, task_id=sprint.tasks[0].task_id)

    async def CancelSprintTask(self, scene: Scene) -> pb.CancelSprintTaskRequest:
        sprint = await scene.new_sprint()
        return pb.CancelSprintTaskRequest(sprint_id=sprint.sprint_id, task_id=sprint.tasks[0].task_id)

    async def RaiseImpediment(self, scene: Scene) -> pb.RaiseImpedimentRequest:
        return pb.RaiseImpedimentRequest(task_id=await scene.new_begun_task(), text="No access")

    async def ResolveImpediment(self, scene: Scene) -> pb.ResolveImpedimentRequest:
        return pb.ResolveImpedimentRequest(impediment_id=await scene.new_impediment(), resolution="Access given")

    async def ListImpediments(self, scene: Scene) -> pb.ListImpedimentsRequest:
        return pb.ListImpedimentsRequest(sprint_id=scene.sprint.sprint_id)

    async def WatchSprint(self, scene: Scene) -> pb.WatchSprintRequest:
        return pb.WatchSprintRequest(sprint_id=scene.sprint.sprint_id)


class DailyScrumService:
    """The deprecated service's one call."""

    async def RunScrum(self, scene: Scene) -> daily_scrum_service_pb2.RunScrumRequest:
        return daily_scrum_service_pb2.RunScrumRequest(sprint_id=(await scene.new_sprint()).sprint_id, seed=1)
