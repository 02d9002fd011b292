"""Impediments: raised, resolved, listed."""

from __future__ import annotations

from uuid import uuid4

from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.convert import to_date_or_none
from services.kit.data.database import WriteHandle
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.sprint import convert, events
from services.sprint.domain.progress import (
    Impediment,
    TaskNotInSprint,
    block,
    day_of_resolving,
    raised,
    resolve,
    unblock,
)
from services.sprint.domain.sprint import SprintState, SprintTask, TaskState, day_of_work
from services.sprint.handlers.room import Room
from services.sprint.store import impediments, projects, sprints, tasks


class ImpedimentHandlers(Room):
    """RaiseImpediment, ResolveImpediment, ListImpediments."""

    async def RaiseImpediment(self, request: pb.RaiseImpedimentRequest, context: Context) -> pb.RaiseImpedimentResponse:
        """Something blocks a task."""
        given = to_date_or_none(request.raise_date, "raise_date")
        async with self.db.write() as tx:
            found = await tasks.lock_current(tx, request.task_id)
            found.check_open()
            day = day_of_work(given, found.start_date, found.end_date, self.today(found.time_zone), "raise_date")
            task = block(found.task, self.now())
            raised_by = request.raised_by or task.assignee_id
            impediment = raised(str(uuid4()), task, request.text, raised_by, day, self.now(), request.owner_id)
            await tasks.save(tx, [task])
            await impediments.insert(tx, impediment)
            events.emit_impediment(tx, impediment)
            events.emit_task(tx, task, events.task_updated(found.task, task))
            return tx.reply(
                pb.RaiseImpedimentResponse(impediment=convert.from_impediment(impediment), task=convert.from_task(task))
            )

    async def ResolveImpediment(
        self, request: pb.ResolveImpedimentRequest, context: Context
    ) -> pb.ResolveImpedimentResponse:
        """Something is out of the way."""
        given = to_date_or_none(request.resolve_date, "resolve_date")
        async with self.db.write() as tx:
            impediment = await impediments.lock(tx, request.impediment_id, request.project_id)
            sprint = await sprints.get(tx, impediment.sprint_id)
            await projects.check_writable(tx, sprint.project_id)
            day = day_of_resolving(given, impediment, sprint, self.today(sprint.time_zone))
            impediment = resolve(impediment, request.resolution, day, self.now())
            await impediments.resolve(tx, impediment)
            events.emit_impediment(tx, impediment)
            task = await self._go_on(tx, impediment)
            return tx.reply(
                pb.ResolveImpedimentResponse(
                    impediment=convert.from_impediment(impediment), task=convert.from_task(task) if task else None
                )
            )

    async def ListImpediments(self, request: pb.ListImpedimentsRequest, context: Context) -> pb.ListImpedimentsResponse:
        """A page of impediments, last raised first."""
        page = page_of(request)
        state = sprint_pb2.ImpedimentState.Name(request.state).removeprefix("IMPEDIMENT_STATE_")
        found = await impediments.page(
            self.db.read,
            page,
            project_id=request.project_id,
            sprint_id=request.sprint_id,
            task_id=request.task_id,
            state=state if request.state else "",
        )
        shown, token = page.cut(found, lambda impediment: (impediment.raise_time, impediment.impediment_id))
        return pb.ListImpedimentsResponse(impediments=map(convert.from_impediment, shown), next_page_token=token)

    async def _go_on(self, tx: WriteHandle, resolved: Impediment) -> SprintTask | None:
        """The task of a resolved impediment, unblocked if that was the last one; None if its sprint is closed."""
        try:
            found = await tasks.lock_current(tx, resolved.task_id)
        except TaskNotInSprint:
            return None
        task = found.task
        if task.sprint_id != resolved.sprint_id or found.sprint_state is not SprintState.IN_PROGRESS:
            return None
        if task.state is not TaskState.BLOCKED or await impediments.open_count(tx, task.sprint_id, task.task_id):
            return task
        freed = unblock(task, self.now())
        await tasks.save(tx, [freed])
        events.emit_task(tx, freed, events.task_updated(task, freed))
        return freed
