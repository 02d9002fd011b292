"""CloseSprint: a saga that goes on until the sprint is closed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import cast
from uuid import uuid4

from dsm.backlog.v1 import backlog_service_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.clock import Clock
from services.kit.convert import to_date_or_none
from services.kit.data.database import Database, ReadHandle, WriteHandle
from services.kit.saga import Definition, Local, Remote, Saga, Sagas, State
from services.kit.serving.gate import Context
from services.kit.serving.watch import Watch
from services.sprint import convert, events
from services.sprint.domain.closing import Ending, close
from services.sprint.domain.planning import weighted_rate
from services.sprint.domain.sprint import (
    Sprint,
    SprintNotInProgress,
    SprintState,
    SprintTask,
    check_in_progress,
    day_of_closing,
    moved,
    summarize,
)
from services.sprint.handlers.neighbours import Neighbours
from services.sprint.handlers.room import Room
from services.sprint.store import impediments, projects, sprints, tasks

KIND = "close-sprint"


class ClosingHandlers(Room):
    """CloseSprint."""

    def __init__(self, database: Database, neighbours: Neighbours, sagas: Sagas, watch: Watch, clock: Clock) -> None:
        super().__init__(database, neighbours, sagas, watch, clock)
        steps = (Remote("give-back", self._give_back), Local("close", self._close))
        sagas.define(Definition(KIND, steps, undoable=False))

    async def CloseSprint(self, request: pb.CloseSprintRequest, context: Context) -> pb.CloseSprintResponse:
        """Begin the closing and wait for its end; or say what it would do."""
        given = to_date_or_none(request.close_date, "close_date")
        if request.dry_run:
            return await self._foresee(request, given)
        try:
            saga = await self._begin(request, given)
        except SprintNotInProgress:
            await self.rejoin(KIND, request.sprint_id)
            raise
        return cast(pb.CloseSprintResponse, await self.sagas.finish(saga))

    async def _foresee(self, request: pb.CloseSprintRequest, given: date | None) -> pb.CloseSprintResponse:
        """What a closing would do. It changes nothing, but its request_id has its answer."""
        async with self.db.write() as tx:
            sprint = await sprints.get(tx, request.sprint_id)
            inside = await tasks.of_sprint(tx, sprint.sprint_id)
            ending = await self._ending(tx, sprint, inside, self._day(sprint, given))
            await projects.check_writable(tx, sprint.project_id)
            return tx.reply(_answer(ending, "", request.facilitator_id))

    async def _begin(self, request: pb.CloseSprintRequest, given: date | None) -> Saga:
        """From here on nobody works in the sprint, and what is to be given back is settled."""
        # The answer is kept by the saga's last step, so nothing is kept for the request_id here.
        async with self.db.write(keyed=False) as tx:
            sprint = await sprints.lock(tx, request.sprint_id)
            day = self._day(sprint, given)
            await projects.check_writable(tx, sprint.project_id)
            await self.check_scope_settled(tx, sprint.sprint_id)
            await sprints.save(tx, moved(sprint, SprintState.CLOSING, self.now()))
            unfinished = await tasks.freeze(tx, sprint.sprint_id, self.now())
            state = {
                "sprint_id": sprint.sprint_id,
                "close_date": day.isoformat(),
                "policy": request.policy or backlog_service_pb2.RELEASE_POLICY_TO_BACKLOG,
                "facilitator_id": request.facilitator_id,
                "retrospective_id": str(uuid4()),
                "releases": [[t.task_id, t.version, t.assignee_id, t.progress_percent] for t in unfinished],
            }
            return await self.sagas.begin(tx, KIND, sprint.sprint_id, state)

    async def _give_back(self, state: State) -> State:
        releases = [
            backlog_service_pb2.TaskRelease(
                task_id=task_id, version=version, assignee_id=assignee_id, progress_percent=percent
            )
            for task_id, version, assignee_id, percent in state["releases"]
        ]
        # An empty list would undo the whole reservation, completed tasks and all.
        if releases:
            await self.neighbours.release(state["sprint_id"], releases, state["policy"])
        return state

    async def _close(self, tx: WriteHandle, state: State) -> State:
        sprint = await sprints.lock(tx, state["sprint_id"])
        inside = await tasks.lock_of_sprint(tx, sprint.sprint_id)
        ending = await self._ending(tx, sprint, inside, date.fromisoformat(state["close_date"]))
        ending = ending.with_retrospective(state["retrospective_id"])
        await tasks.save(tx, ending.ended)
        await sprints.save(tx, ending.sprint)
        answer = _answer(ending, state["retrospective_id"], state["facilitator_id"])
        events.emit_closed(tx, ending, state["policy"], answer.retrospective)
        tx.reply(answer)
        return state

    def _day(self, sprint: Sprint, given: date | None) -> date:
        check_in_progress(sprint.sprint_id, sprint.state)
        return day_of_closing(given, sprint, self.today(sprint.time_zone))

    async def _ending(self, db: ReadHandle, sprint: Sprint, inside: Sequence[SprintTask], day: date) -> Ending:
        past = await sprints.history(db, sprint.project_id)
        return close(
            sprint,
            inside,
            await impediments.of_sprint(db, sprint.sprint_id),
            await tasks.scope_changes(db, sprint.sprint_id),
            weighted_rate([(one.points, one.person_days) for one in past]),
            close_date=day,
            now=self.now(),
        )


def _answer(ending: Ending, retrospective_id: str, facilitator_id: str) -> pb.CloseSprintResponse:
    sprint = ending.sprint
    return pb.CloseSprintResponse(
        sprint=convert.from_sprint(sprint, summarize(ending.ended)),
        final_state=sprint_pb2.SprintState.Value(f"SPRINT_STATE_{sprint.state}"),
        completed_tasks_count=len(ending.completed),
        released_tasks_count=len(ending.released),
        retrospective_id=retrospective_id,
        retrospective=convert.from_retrospective(ending, retrospective_id, facilitator_id, sprint.update_time),
    )
