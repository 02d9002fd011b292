"""WatchTasks: the changes of a project's tasks as they are committed."""

from collections.abc import AsyncIterator

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import Task
from dsm.events.v1 import event_pb2

from services.backlog.handlers.room import Room
from services.kit.serving.gate import Context


class WatchHandlers(Room):
    """WatchTasks."""

    async def WatchTasks(self, request: pb.WatchTasksRequest, context: Context) -> AsyncIterator[pb.WatchTasksResponse]:
        """Every change with the token to go on from; the token of the very beginning comes ahead as metadata."""
        await self._know_project(request.project_id)
        async with self._watch.open(request, request.project_id) as watcher:
            await context.send_initial_metadata(watcher.metadata)
            async for change in watcher:
                if response := _response(change.event):
                    response.resume_token = watcher.token(change)
                    yield response


def _response(event: event_pb2.Event) -> pb.WatchTasksResponse | None:
    """What an event says of a task; None for what is of a story, or was told by the event before."""
    match event.WhichOneof("payload"):
        case "task_created":
            return pb.WatchTasksResponse(task=event.task_created.task)
        case "task_updated":
            updated = event.task_updated
            return pb.WatchTasksResponse(task=updated.task, changed_fields=updated.changed_fields)
        case "task_deleted":
            gone = event.task_deleted
            return pb.WatchTasksResponse(task=Task(task_id=gone.task_id, project_id=gone.project_id), deleted=True)
        case _:
            return None
