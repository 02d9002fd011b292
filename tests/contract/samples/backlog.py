"""Good requests of the backlog service."""

from __future__ import annotations

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import import_pb2, task_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from tests.contract.samples.scene import Scene

_TITLE = FieldMask(paths=["title"])
_CSV = b"Summary,Issue key\nLogin,AB-1\n"


class BacklogService:
    """One request for each call, named as the call."""

    async def CreateTask(self, scene: Scene) -> pb.CreateTaskRequest:
        return pb.CreateTaskRequest(task=task_pb2.Task(project_id=scene.project_id, title="A task"))

    async def GetTask(self, scene: Scene) -> pb.GetTaskRequest:
        return pb.GetTaskRequest(task_id=scene.task_ids[0])

    async def ListTasks(self, scene: Scene) -> pb.ListTasksRequest:
        return pb.ListTasksRequest(project_id=scene.project_id, query="task")

    async def UpdateTask(self, scene: Scene) -> pb.UpdateTaskRequest:
        task = task_pb2.Task(task_id=await scene.new_task(), title="Another title")
        return pb.UpdateTaskRequest(task=task, update_mask=_TITLE)

    async def DeleteTask(self, scene: Scene) -> pb.DeleteTaskRequest:
        return pb.DeleteTaskRequest(task_id=await scene.new_task())

    async def BatchCreateTasks(self, scene: Scene) -> pb.BatchCreateTasksRequest:
        return pb.BatchCreateTasksRequest(project_id=scene.project_id, tasks=[task_pb2.Task(title="A task")])

    async def BatchUpdateTasks(self, scene: Scene) -> pb.BatchUpdateTasksRequest:
        task = task_pb2.Task(task_id=await scene.new_task(), title="Another title")
        updates = [pb.TaskUpdate(task=task, update_mask=_TITLE)]
        return pb.BatchUpdateTasksRequest(project_id=scene.project_id, updates=updates)

    async def RankTask(self, scene: Scene) -> pb.RankTaskRequest:
        return pb.RankTaskRequest(task_id=await scene.new_task(), before_task_id=scene.task_ids[0])

    async def GetBacklogSummary(self, scene: Scene) -> pb.GetBacklogSummaryRequest:
        return pb.GetBacklogSummaryRequest(project_id=scene.project_id)

    async def ListBacklogSummaries(self, scene: Scene) -> pb.ListBacklogSummariesRequest:
        return pb.ListBacklogSummariesRequest()

    async def GenerateBacklog(self, scene: Scene) -> pb.GenerateBacklogRequest:
        return pb.GenerateBacklogRequest(project_id=await scene.new_project(), count=3)

    async def SeedSampleData(self, scene: Scene) -> pb.SeedSampleDataRequest:
        return pb.SeedSampleDataRequest(project_id=await scene.new_project())

    async def CreateStory(self, scene: Scene) -> pb.CreateStoryRequest:
        return pb.CreateStoryRequest(story=task_pb2.Story(project_id=scene.project_id, title="A story"))

    async def GetStory(self, scene: Scene) -> pb.GetStoryRequest:
        return pb.GetStoryRequest(story_id=scene.story_id)

    async def ListStories(self, scene: Scene) -> pb.ListStoriesRequest:
        return pb.ListStoriesRequest(project_id=scene.project_id)

    async def UpdateStory(self, scene: Scene) -> pb.UpdateStoryRequest:
        story = task_pb2.Story(story_id=await scene.new_story(), title="Another title")
        return pb.UpdateStoryRequest(story=story, update_mask=_TITLE)

    async def DeleteStory(self, scene: Scene) -> pb.DeleteStoryRequest:
        return pb.DeleteStoryRequest(story_id=await scene.new_story())

    async def LinkTasks(self, scene: Scene) -> pb.LinkTasksRequest:
        return pb.LinkTasksRequest(story_id=await scene.new_story(), task_ids=scene.task_ids)

    async def UnlinkTasks(self, scene: Scene) -> pb.UnlinkTasksRequest:
        return pb.UnlinkTasksRequest(story_id=await scene.new_story(), task_ids=scene.task_ids)

    async def ReserveTasks(self, scene: Scene) -> pb.ReserveTasksRequest:
        project_id = await scene.new_project()
        await scene.new_tasks(project_id)
        return pb.ReserveTasksRequest(sprint_id=f"{project_id}-S01", project_id=project_id, max_tasks=1)

    async def ReleaseTasks(self, scene: Scene) -> pb.ReleaseTasksRequest:
        stub = BacklogServiceStub(await scene.world.channel("backlog"))
        reserved = await self.ReserveTasks(scene)
        await stub.ReserveTasks(reserved)
        return pb.ReleaseTasksRequest(sprint_id=reserved.sprint_id)

    async def AssignTask(self, scene: Scene) -> pb.AssignTaskRequest:
        return pb.AssignTaskRequest(task_id=await scene.new_task(), assignee_id=scene.employee_id)

    async def StartTask(self, scene: Scene) -> pb.StartTaskRequest:
        return pb.StartTaskRequest(task_id=await scene.new_task())

    async def CompleteTask(self, scene: Scene) -> pb.CompleteTaskRequest:
        return pb.CompleteTaskRequest(task_id=await scene.new_task())

    async def CancelTask(self, scene: Scene) -> pb.CancelTaskRequest:
        return pb.CancelTaskRequest(task_id=await scene.new_task())

    async def ReopenTask(self, scene: Scene) -> pb.ReopenTaskRequest:
        stub = BacklogServiceStub(await scene.world.channel("backlog"))
        task_id = await scene.new_task()
        await stub.CompleteTask(pb.CompleteTaskRequest(task_id=task_id))
        return pb.ReopenTaskRequest(task_id=task_id)

    async def ImportTasks(self, scene: Scene) -> list[pb.ImportTasksRequest]:
        options = import_pb2.ImportOptions(
            project_id=await scene.new_project(), format=import_pb2.IMPORT_FORMAT_JIRA_CSV
        )
        return [pb.ImportTasksRequest(options=options), pb.ImportTasksRequest(data=_CSV)]

    async def ExportProject(self, scene: Scene) -> pb.ExportProjectRequest:
        return pb.ExportProjectRequest(project_id=scene.project_id)

    async def WatchTasks(self, scene: Scene) -> pb.WatchTasksRequest:
        return pb.WatchTasksRequest(project_id=scene.project_id)
