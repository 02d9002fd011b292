"""Changes of scope: AddTaskToSprint, RemoveTaskFromSprint, ReassignTask, CancelSprintTask.

What the backlog must know at once is a saga. Adding reserves the task first and puts it into the sprint last; until
then it can be undone. Taking out marks the task as gone first, so that nobody works on it any more, then has the
backlog free it, as often as it takes. Each call to the backlog has a request_id of its own, kept with the saga: a call
that was given up and arrives late has no second effect.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from typing import cast
from uuid import uuid4

from dsm.backlog.v1 import backlog_service_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.clock import Clock
from services.kit.data.database import Database, WriteHandle
from services.kit.errors import RemoteError
from services.kit.saga import Definition, Local, Remote, Saga, Sagas, State
from services.kit.serving.gate import Context
from services.kit.serving.watch import Watch
from services.sprint import convert, events
from services.sprint.domain.progress import TaskNotInSprint, changed_fields
from services.sprint.domain.scope import (
    ScopeChanging,
    TaskNotAvailable,
    cancelled,
    check_on_team,
    gained,
    joined,
    lost,
    reassigned,
    removed,
)
from services.sprint.domain.sprint import Sprint, SprintNotInProgress, check_in_progress, day_in_sprint
from services.sprint.handlers.neighbours import Neighbours
from services.sprint.handlers.room import ADD, REMOVE, Room, scope_key
from services.sprint.store import contents, projects, sprints, tasks
from services.sprint.store.tasks import Current


class ScopeHandlers(Room):
    """AddTaskToSprint, RemoveTaskFromSprint, ReassignTask, CancelSprintTask."""

    def __init__(self, database: Database, neighbours: Neighbours, sagas: Sagas, watch: Watch, clock: Clock) -> None:
        super().__init__(database, neighbours, sagas, watch, clock)
        adding = (Remote("reserve", self._reserve_one, self._give_up), Local("add", self._add))
        removing = (Remote("release", self._release_one), Local("tell", self._tell_removed))
        sagas.define(Definition(ADD, adding, undoable=True))
        sagas.define(Definition(REMOVE, removing, undoable=False))

    async def AddTaskToSprint(self, request: pb.AddTaskToSprintRequest, context: Context) -> pb.AddTaskToSprintResponse:
        """Begin to bring a task in, and wait until it is."""
        sprint = await sprints.get(self.db.read, request.sprint_id)
        try:
            check_in_progress(sprint.sprint_id, sprint.state)
            await self._check_on_team(request.assignee_id, sprint.project_id, sprint)
            saga = await self._begin_adding(request)
        except (SprintNotInProgress, TaskNotAvailable, ScopeChanging):
            await self.rejoin(ADD, _key(request))
            raise
        return cast(pb.AddTaskToSprintResponse, await self.sagas.finish(saga))

    async def RemoveTaskFromSprint(
        self, request: pb.RemoveTaskFromSprintRequest, context: Context
    ) -> pb.RemoveTaskFromSprintResponse:
        """Take a task out, and wait until the backlog has it."""
        try:
            saga = await self._begin_removing(request)
        except (SprintNotInProgress, TaskNotInSprint):
            await self.rejoin(REMOVE, _key(request))
            raise
        return cast(pb.RemoveTaskFromSprintResponse, await self.sagas.finish(saga))

    async def ReassignTask(self, request: pb.ReassignTaskRequest, context: Context) -> pb.ReassignTaskResponse:
        """A task in other hands, or in nobody's."""
        found = await tasks.current(self.db.read, request.task_id, request.sprint_id)
        found.check_open()
        await self._check_on_team(request.assignee_id, found.task.project_id, found)
        async with self.db.write() as tx:
            found = await tasks.lock_current(tx, request.task_id, request.sprint_id)
            found.check_open()
            task = reassigned(found.task, request.assignee_id, self.now())
            if task is not found.task:
                await tasks.save(tx, [task])
                events.emit_task(tx, task, events.task_updated(found.task, task))
            return tx.reply(pb.ReassignTaskResponse(task=convert.from_task(task)))

    async def CancelSprintTask(
        self, request: pb.CancelSprintTaskRequest, context: Context
    ) -> pb.CancelSprintTaskResponse:
        """A task given up; the backlog follows."""
        async with self.db.write() as tx:
            found = await tasks.lock_current(tx, request.task_id, request.sprint_id)
            found.check_open()
            task = cancelled(found.task, self.now())
            await tasks.save(tx, [task])
            await tasks.change_scope(
                tx, task.sprint_id, task.task_id, lost(found.task, self._day_in(found)), request.reason
            )
            events.emit_task(tx, task, events.task_updated(found.task, task, reason=request.reason))
            return tx.reply(pb.CancelSprintTaskResponse(task=convert.from_task(task)))

    async def _begin_adding(self, request: pb.AddTaskToSprintRequest) -> Saga:
        # The answer is kept by the saga's last step, so nothing is kept for the request_id here.
        async with self.db.write(keyed=False) as tx:
            sprint = await sprints.lock(tx, request.sprint_id)
            check_in_progress(sprint.sprint_id, sprint.state)
            await projects.check_writable(tx, sprint.project_id)
            await self.check_scope_settled(tx, sprint.sprint_id, request.task_id)
            if found := await tasks.find_current(tx, request.task_id):
                raise TaskNotAvailable(request.task_id, found.task.state)
            state = {
                "sprint_id": sprint.sprint_id,
                "project_id": sprint.project_id,
                "task_id": request.task_id,
                "assignee_id": request.assignee_id,
                "reserve_id": str(uuid4()),
                "release_id": str(uuid4()),
            }
            return await self.sagas.begin(tx, ADD, _key(request), state)

    async def _reserve_one(self, state: State) -> State:
        [reserved] = await self.neighbours.reserve(_reservation(state))
        return state | {"reserved": convert.reserved_out(reserved)}

    async def _give_up(self, state: State) -> None:
        """Undo: have a reservation that may still be under way come to its end first, then take it back."""
        with suppress(RemoteError):
            await self.neighbours.reserve(_reservation(state))
        release = backlog_service_pb2.TaskRelease(task_id=state["task_id"])
        policy = backlog_service_pb2.RELEASE_POLICY_RESTORE
        await self.neighbours.release(state["sprint_id"], [release], policy, state["release_id"])

    async def _add(self, tx: WriteHandle, state: State) -> State:
        sprint = await sprints.lock(tx, state["sprint_id"])
        check_in_progress(sprint.sprint_id, sprint.state)
        [reserved] = await contents.newest(tx, [convert.reserved_in(state.pop("reserved"))])
        task_id, day = state["task_id"], self._day_in(sprint)
        version = (await tasks.last_versions(tx, [task_id])).get(task_id, 0)
        position = await tasks.next_position(tx, sprint.sprint_id)
        task = joined(sprint, reserved, state["assignee_id"], version, position, day, self.now())
        await tasks.insert(tx, [task])
        await tasks.change_scope(tx, sprint.sprint_id, task_id, gained(task, day))
        events.emit_task(tx, task, events.task_joined(task))
        tx.reply(pb.AddTaskToSprintResponse(task=convert.from_task(task)))
        return state

    async def _begin_removing(self, request: pb.RemoveTaskFromSprintRequest) -> Saga:
        """From here on nobody works on the task in the sprint."""
        async with self.db.write(keyed=False) as tx:
            await sprints.lock(tx, request.sprint_id)
            found = await tasks.lock_current(tx, request.task_id, request.sprint_id)
            found.check_open()
            task = removed(found.task, self.now())
            await tasks.save(tx, [task])
            await tasks.change_scope(tx, task.sprint_id, task.task_id, lost(found.task, self._day_in(found)))
            state = {
                "sprint_id": task.sprint_id,
                "task_id": task.task_id,
                "version": task.version,
                "assignee_id": task.assignee_id,
                "progress_percent": task.progress_percent,
                "policy": request.policy or backlog_service_pb2.RELEASE_POLICY_TO_BACKLOG,
                "changed_fields": changed_fields(found.task, task),
                "release_id": str(uuid4()),
            }
            return await self.sagas.begin(tx, REMOVE, _key(request), state)

    async def _release_one(self, state: State) -> State:
        names = ("task_id", "version", "assignee_id", "progress_percent")
        release = backlog_service_pb2.TaskRelease(**{name: state[name] for name in names})
        await self.neighbours.release(state["sprint_id"], [release], state["policy"], state["release_id"])
        return state

    async def _tell_removed(self, tx: WriteHandle, state: State) -> State:
        """The event confirms what the backlog has done."""
        task = await tasks.get(tx, state["sprint_id"], state["task_id"])
        events.emit_task(tx, task, events.task_changed(task, state["changed_fields"]))
        tx.reply(pb.RemoveTaskFromSprintResponse(task=convert.from_task(task)))
        return state

    async def _check_on_team(self, employee_id: str, project_id: str, sprint: Sprint | Current) -> None:
        """AssigneeNotOnTeam unless the person is on the team on some day that is left of the sprint."""
        if employee_id:
            left = await self.neighbours.capacity(project_id, self._day_in(sprint), sprint.end_date)
            check_on_team(employee_id, {member.employee_id for member in left.members}, project_id)

    def _day_in(self, sprint: Sprint | Current) -> date:
        return day_in_sprint(self.today(sprint.time_zone), sprint.start_date, sprint.end_date)


def _reservation(state: State) -> backlog_service_pb2.ReserveTasksRequest:
    return backlog_service_pb2.ReserveTasksRequest(
        sprint_id=state["sprint_id"],
        project_id=state["project_id"],
        task_ids=[state["task_id"]],
        request_id=state["reserve_id"],
    )


def _key(request: pb.AddTaskToSprintRequest | pb.RemoveTaskFromSprintRequest) -> str:
    return scope_key(request.sprint_id, request.task_id)
