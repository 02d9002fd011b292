"""Calls that move a task that is in no open sprint: assign, start, complete, cancel, reopen."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from dsm.backlog.v1 import backlog_service_pb2 as pb
from google.protobuf.message import Message
from psycopg.rows import tuple_row

from services.backlog.convert.tasks import from_task
from services.backlog.domain.task import Task, TaskState, assigned, moved
from services.backlog.events import task_changed
from services.backlog.handlers.room import Room
from services.backlog.store.tasks import SAVE_COURSE, course_params
from services.kit.convert import check_etag
from services.kit.errors import Aborted
from services.kit.serving.gate import Context

R = TypeVar("R", bound=Message)
Move = Callable[[Task, datetime], Task]

_ATTEMPTS = 5


class CourseHandlers(Room):
    """The RPCs that move a task outside open sprints."""

    async def AssignTask(self, request: pb.AssignTaskRequest, context: Context) -> pb.AssignTaskResponse:
        """To somebody, or to nobody."""
        move: Move = lambda task, now: assigned(task, request.assignee_id, now)  # noqa: E731
        return await self._move(request.task_id, request.etag, move, pb.AssignTaskResponse)

    async def StartTask(self, request: pb.StartTaskRequest, context: Context) -> pb.StartTaskResponse:
        """To IN_PROGRESS."""
        return await self._move(request.task_id, request.etag, _to(TaskState.IN_PROGRESS), pb.StartTaskResponse)

    async def CompleteTask(self, request: pb.CompleteTaskRequest, context: Context) -> pb.CompleteTaskResponse:
        """To COMPLETED, now."""
        return await self._move(request.task_id, request.etag, _to(TaskState.COMPLETED), pb.CompleteTaskResponse)

    async def CancelTask(self, request: pb.CancelTaskRequest, context: Context) -> pb.CancelTaskResponse:
        """To CANCELLED."""
        return await self._move(request.task_id, request.etag, _to(TaskState.CANCELLED), pb.CancelTaskResponse)

    async def ReopenTask(self, request: pb.ReopenTaskRequest, context: Context) -> pb.ReopenTaskResponse:
        """Back to UNASSIGNED."""
        return await self._move(request.task_id, request.etag, _to(TaskState.UNASSIGNED), pb.ReopenTaskResponse)

    async def _move(self, task_id: str, etag: str, move: Move, response: Callable[..., R]) -> R:
        for _ in range(_ATTEMPTS):
            before = await self._open_task(task_id)
            check_etag(etag, before.version)
            after = move(before, self._clock())
            events = task_changed(self._db.event, (before, after))
            reply = response(task=from_task(after))
            params = course_params([(before, after)])
            if await self._db.change(SAVE_COURSE, params, row=tuple_row, events=events, reply=reply):
                return reply
        raise Aborted(f"Other calls kept changing task {task_id}: try again.")


def _to(state: TaskState) -> Move:
    return lambda task, now: moved(task, state, now)
