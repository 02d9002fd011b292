"""StartSprint: a saga that ends in a whole sprint or in none."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import cast
from uuid import uuid4

from dsm.backlog.v1 import backlog_service_pb2
from dsm.project.v1 import project_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from psycopg.errors import UniqueViolation

from services.kit.clock import Clock
from services.kit.data.database import Database, WriteHandle
from services.kit.saga import Definition, Local, Remote, Saga, Sagas, State
from services.kit.serving.gate import Context
from services.kit.serving.watch import Watch
from services.sprint import convert, events
from services.sprint.domain.assigning import assign, keep_assignees, loads
from services.sprint.domain.planning import Limit, NoCapacity, NoUnassignedTasks, SprintAlreadyOpen, begin, limit_of
from services.sprint.domain.sprint import Sprint, SprintState, moved, summarize
from services.sprint.handlers.neighbours import Neighbours
from services.sprint.handlers.room import Room
from services.sprint.store import contents, sprints, tasks

KIND = "start-sprint"


class PlanningHandlers(Room):
    """StartSprint."""

    def __init__(self, database: Database, neighbours: Neighbours, sagas: Sagas, watch: Watch, clock: Clock) -> None:
        super().__init__(database, neighbours, sagas, watch, clock)
        steps = (Remote("reserve", self._reserve, self._release), Local("start", self._start))
        sagas.define(Definition(KIND, steps, undoable=True))

    async def StartSprint(self, request: pb.StartSprintRequest, context: Context) -> pb.StartSprintResponse:
        """Check what can be checked without changing anything, then begin the saga and wait for its end."""
        try:
            await self._refuse_second(request.project_id)
            project = await self.neighbours.active_project(request.project_id)
            sprint, state = await self._plan(request, project)
            saga = await self._open(sprint, state)
        except (SprintAlreadyOpen, NoUnassignedTasks):
            # The sprint in the way, or the one that has taken every task, may be this very call's.
            await self.rejoin(KIND, request.project_id)
            raise
        return cast(pb.StartSprintResponse, await self.sagas.finish(saga))

    async def _refuse_second(self, project_id: str) -> None:
        if found := await sprints.open_of(self.db.read, project_id):
            raise SprintAlreadyOpen(project_id, found.sprint_id, found.state)

    async def _plan(self, request: pb.StartSprintRequest, project: project_pb2.Project) -> tuple[Sprint, State]:
        """The sprint as it would be, and what the saga is to know."""
        start, end, weeks = convert.to_days(request, self.today(project.time_zone))
        capacity, figures, history, number = await asyncio.gather(
            self.neighbours.capacity(project.project_id, start, end),
            self.neighbours.figures(project.project_id),
            sprints.history(self.db.read, project.project_id),
            sprints.last_number(self.db.read, project.project_id),
        )
        if not figures.free_tasks:
            raise NoUnassignedTasks(project.project_id)
        if not any(member.person_days for member in capacity.members):
            raise NoCapacity(project.project_id, start, end)
        now, number = self.now(), number + 1
        sprint = Sprint(
            sprint_id=f"{project.project_id}-S{number:02}",
            project_id=project.project_id,
            number=number,
            name=request.name or f"Sprint {number}",
            goal=request.goal,
            state=SprintState.PLANNING,
            start_date=start,
            end_date=end,
            duration_weeks=weeks,
            time_zone=project.time_zone,
            capacity_person_days=capacity.person_days,
            working_dates=capacity.working_dates,
            members=capacity.members,
            planned_tasks=0,
            planned_points=Decimal(0),
            planning_note_id=str(uuid4()),
            close_date=None,
            retrospective_id="",
            statistics=None,
            version=1,
            create_time=now,
            update_time=now,
        )
        limit = limit_of(convert.to_asked(request), figures, history, capacity.person_days)
        return sprint, _state(request, sprint, limit)

    async def _open(self, sprint: Sprint, state: State) -> Saga:
        """Store sprint and saga together; whoever comes second finds the project taken."""
        try:
            # The answer is kept by the saga's last step, so nothing is kept for the request_id here.
            async with self.db.write(keyed=False) as tx:
                await sprints.insert(tx, sprint)
                return await self.sagas.begin(tx, KIND, sprint.project_id, state)
        except UniqueViolation:
            await self._refuse_second(sprint.project_id)
            raise SprintAlreadyOpen(sprint.project_id) from None

    async def _reserve(self, state: State) -> State:
        request = backlog_service_pb2.ReserveTasksRequest(
            sprint_id=state["sprint_id"],
            project_id=state["project_id"],
            max_tasks=state["max_tasks"],
            max_points=state["max_points"],
            task_ids=state["task_ids"],
            unestimated_points=state["unestimated_points"],
        )
        reserved = await self.neighbours.reserve(request)
        return state | {"reserved": [convert.reserved_out(task) for task in reserved]}

    async def _release(self, state: State) -> None:
        """Undo: give back what was reserved, or would be by a call still under way, then give the sprint up."""
        await self.neighbours.release(state["sprint_id"])
        async with self.db.write(keyed=False) as tx:
            sprint = await sprints.lock(tx, state["sprint_id"])
            if sprint.state is SprintState.PLANNING:
                abandoned = moved(sprint, SprintState.ABANDONED, self.now())
                await sprints.save(tx, abandoned)
                events.emit_abandoned(tx, abandoned)

    async def _start(self, tx: WriteHandle, state: State) -> State:
        planning = await sprints.lock(tx, state["sprint_id"])
        reserved = await contents.newest(tx, [convert.reserved_in(kept) for kept in state.pop("reserved")])
        candidates = [task.candidate for task in reserved]
        given = keep_assignees(candidates) if state["leave_unassigned"] else assign(candidates, planning.members)
        versions = await tasks.last_versions(tx, list(given.assignees))
        sprint, planned = begin(planning, reserved, given.assignees, versions, self.now())
        await tasks.insert(tx, planned)
        await sprints.save(tx, sprint)
        events.emit_started(tx, sprint, planned)
        tx.reply(
            pb.StartSprintResponse(
                sprint=convert.from_sprint(sprint, summarize(planned), planned),
                assigned_tasks_count=sum(bool(task.assignee_id) for task in planned),
                reassignments=map(convert.from_reassignment, given.reassignments),
                loads=map(
                    convert.from_load, loads(sprint.members, [(task.assignee_id, task.points) for task in planned])
                ),
                points_limit=state["max_points"] or 0,
                limit_basis=state["basis"],
                planning_note_id=sprint.planning_note_id,
            )
        )
        return state


def _state(request: pb.StartSprintRequest, sprint: Sprint, limit: Limit) -> State:
    return {
        "sprint_id": sprint.sprint_id,
        "project_id": sprint.project_id,
        "max_tasks": limit.max_tasks,
        "max_points": None if limit.max_points is None else float(limit.max_points),
        "unestimated_points": float(limit.unestimated_points),
        "task_ids": list(request.task_ids),
        "leave_unassigned": request.leave_unassigned,
        "basis": limit.basis,
    }
