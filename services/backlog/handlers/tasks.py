"""Calls on the content of tasks: create, read, update, delete, one by one or many at once."""

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import task_pb2
from psycopg.rows import tuple_row

from services.backlog.convert.tasks import content_paths, course_paths, from_task, masked_content, to_content
from services.backlog.domain.course import Change
from services.backlog.domain.errors import ProjectArchived, ProjectMismatch, TaskNotFound
from services.backlog.domain.sample import sample_contents
from services.backlog.domain.task import (
    RANK_STEP,
    Content,
    Course,
    Task,
    check_assignee_id,
    check_content,
    check_outside,
    check_references,
    new_task,
    refuse_course,
    revised,
)
from services.backlog.events import task_changed, task_created, task_deleted
from services.backlog.handlers.references import at_index, check_circles, check_keys_free, check_referred
from services.backlog.handlers.room import ARCHIVED, Room
from services.backlog.store.projects import count_up
from services.backlog.store.tasks import (
    DELETE,
    SAVE_CONTENT,
    content_params,
    delete_params,
    insert_tasks,
    lock_tasks,
    save_contents,
)
from services.kit.convert import check_etag
from services.kit.data.database import WriteHandle
from services.kit.errors import Aborted, InvalidArgument
from services.kit.serving.gate import Context

_ATTEMPTS = 5
_DEFAULT_COUNT = 10
# What other tasks must be looked at for before it is written.
_LINKING = {"parent_task_id", "depends_on", "origin"}

Update = pb.UpdateTaskRequest | pb.TaskUpdate


class TaskHandlers(Room):
    """The RPCs on tasks' content."""

    async def CreateTask(self, request: pb.CreateTaskRequest, context: Context) -> pb.CreateTaskResponse:
        """One task, at the end of the rank."""
        content = _new_content(request.task, "task")
        await self._check_project(request.task.project_id)
        async with self._db.write() as tx:
            [task] = await self._create(tx, request.task.project_id, [content], [request.task.assignee_id])
            return tx.reply(pb.CreateTaskResponse(task=from_task(task)))

    async def BatchCreateTasks(
        self, request: pb.BatchCreateTasksRequest, context: Context
    ) -> pb.BatchCreateTasksResponse:
        """Many tasks of one project, all or none."""
        contents = []
        for index, task in enumerate(request.tasks):
            with at_index(index):
                contents.append(_new_content(task, f"tasks[{index}]"))
        await self._check_project(request.project_id)
        async with self._db.write() as tx:
            tasks = await self._create(tx, request.project_id, contents, [task.assignee_id for task in request.tasks])
            return tx.reply(pb.BatchCreateTasksResponse(tasks=map(from_task, tasks)))

    async def GenerateBacklog(self, request: pb.GenerateBacklogRequest, context: Context) -> pb.GenerateBacklogResponse:
        """Sample tasks for a project that exists by the project service's word, asked for it each time."""
        if await self._ask_for_project(request.project_id) == ARCHIVED:
            raise ProjectArchived(request.project_id)
        contents = sample_contents(request.count or _DEFAULT_COUNT, Random(request.seed or 1))
        async with self._db.write() as tx:
            tasks = await self._create(tx, request.project_id, contents, [""] * len(contents))
            return tx.reply(pb.GenerateBacklogResponse(tasks=map(from_task, tasks), tasks_count=len(tasks)))

    async def GetTask(self, request: pb.GetTaskRequest, context: Context) -> pb.GetTaskResponse:
        """One task."""
        task = await self._tasks.ask(request.task_id)
        if task is None:
            raise TaskNotFound(request.task_id)
        return pb.GetTaskResponse(task=from_task(task))

    async def UpdateTask(self, request: pb.UpdateTaskRequest, context: Context) -> pb.UpdateTaskResponse:
        """In one statement, unless other tasks must be looked at."""
        if _LINKING.intersection(content_paths(request)):
            project_id = (await self._open_task(request.task.task_id)).project_id
            async with self._db.write() as tx:
                [task] = await self._update(tx, project_id, [request], ["task"])
                return tx.reply(pb.UpdateTaskResponse(task=from_task(task)))
        for _ in range(_ATTEMPTS):
            before = await self._open_task(request.task.task_id)
            after = self._updated(before, request, "task")
            events = task_changed(self._db.event, (before, after))
            reply = pb.UpdateTaskResponse(task=from_task(after))
            params = content_params([(before, after)])
            if await self._db.change(SAVE_CONTENT, params, row=tuple_row, events=events, reply=reply):
                return reply
        raise Aborted(f"Other calls kept changing task {request.task.task_id}: try again.")

    async def BatchUpdateTasks(
        self, request: pb.BatchUpdateTasksRequest, context: Context
    ) -> pb.BatchUpdateTasksResponse:
        """Many tasks of one project, all or none."""
        await self._check_project(request.project_id)
        paths = [f"updates[{index}].task" for index in range(len(request.updates))]
        async with self._db.write() as tx:
            tasks = await self._update(tx, request.project_id, list(request.updates), paths)
            return tx.reply(pb.BatchUpdateTasksResponse(tasks=map(from_task, tasks)))

    async def DeleteTask(self, request: pb.DeleteTaskRequest, context: Context) -> pb.DeleteTaskResponse:
        """Out of sight for good."""
        for _ in range(_ATTEMPTS):
            task = await self._open_task(request.task_id)
            check_outside(task, "RemoveTaskFromSprint")
            check_etag(request.etag, task.version)
            events, reply = [task_deleted(self._db.event, task)], pb.DeleteTaskResponse()
            params = delete_params(task, self._clock())
            if await self._db.change(DELETE, params, row=tuple_row, events=events, reply=reply):
                return reply
        raise Aborted(f"Other calls kept changing task {request.task_id}: try again.")

    async def _create(
        self, tx: WriteHandle, project_id: str, contents: Sequence[Content], assignee_ids: Sequence[str]
    ) -> list[Task]:
        """New tasks at the end of the rank, with ids in the order given."""
        count, now = len(contents), self._clock()
        last = await count_up(tx, project_id, tasks=count, step=RANK_STEP)
        await check_referred(tx, project_id, contents)
        tasks = [
            new_task(
                project_id,
                last.last_task - count + index,
                last.last_rank + (index - count) * RANK_STEP,
                content,
                now,
                Course(assignee_id=assignee_id),
            )
            for index, (content, assignee_id) in enumerate(zip(contents, assignee_ids, strict=True), start=1)
        ]
        await check_keys_free(tx, project_id, tasks)
        await insert_tasks(tx, tasks)
        for task in tasks:
            task_created(tx.emit, task)
        return tasks

    async def _update(
        self, tx: WriteHandle, project_id: str, updates: Sequence[Update], paths: Sequence[str]
    ) -> list[Task]:
        """Locked tasks with other content. The project's counter is held, so that no two close a circle together."""
        await count_up(tx, project_id)
        task_ids = [update.task.task_id for update in updates]
        locked = await lock_tasks(tx, task_ids)
        changes: list[Change] = []
        for index, update in enumerate(updates):
            with at_index(index):
                if task_ids.index(update.task.task_id) < index:
                    raise InvalidArgument(f"{paths[index]}.task_id", "must not be named twice", update.task.task_id)
                before = _of_project(locked, update.task.task_id, project_id)
                changes.append((before, self._updated(before, update, paths[index])))
        await check_referred(tx, project_id, [_new_references(before, after) for before, after in changes])
        await check_circles(tx, changes)
        await check_keys_free(tx, project_id, [after for _, after in changes])
        await save_contents(tx, changes)
        for change in changes:
            task_changed(tx.emit, change)
        return [after for _, after in changes]

    def _updated(self, before: Task, update: Update, path: str) -> Task:
        refuse_course(before, course_paths(update))
        check_etag(update.task.etag, before.version)
        content = masked_content(before.content, update, path)
        check_content(content, path)
        check_references(before.task_id, content)
        return revised(before, self._clock(), content=content)


def _new_content(task: task_pb2.Task, path: str) -> Content:
    content = to_content(task, path)
    check_content(content, path)
    check_assignee_id(task.assignee_id, f"{path}.assignee_id")
    return content


def _of_project(tasks: dict[str, Task], task_id: str, project_id: str) -> Task:
    if task_id not in tasks:
        raise TaskNotFound(task_id)
    if tasks[task_id].project_id != project_id:
        raise ProjectMismatch(task_id, project_id)
    return tasks[task_id]


def _new_references(before: Task, after: Task) -> Content:
    """The content with those references alone that were not there before: an old one may have been deleted since."""
    old = set(before.content.depends_on)
    parent = after.content.parent_task_id
    return replace(
        after.content,
        depends_on=tuple(task_id for task_id in after.content.depends_on if task_id not in old),
        parent_task_id="" if parent == before.content.parent_task_id else parent,
    )
