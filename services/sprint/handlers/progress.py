"""UpdateTaskProgress: the hot path, one read and one write, each shared with those who call at the same time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from uuid import uuid4

from dsm.events.v1 import sprint_events_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit import call
from services.kit.convert import to_date_or_none
from services.kit.serving.gate import Context
from services.sprint import convert, events
from services.sprint.domain.progress import TaskNotInSprint, block, raised, report_progress
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import SprintTask, day_of_work
from services.sprint.handlers.room import Room
from services.sprint.store import impediments, tasks
from services.sprint.store.tasks import Current

# Tries without a lock; after that many the task is in such demand that taking turns is quicker.
_QUICK_TRIES = 3


@dataclass(frozen=True, slots=True)
class Work:
    """A report of work: the task before and after, and what is kept of it."""

    before: SprintTask
    after: SprintTask
    entry: Entry
    day: date


class ProgressHandlers(Room):
    """UpdateTaskProgress."""

    async def UpdateTaskProgress(
        self, request: pb.UpdateTaskProgressRequest, context: Context
    ) -> pb.UpdateTaskProgressResponse:
        """Work on a task, without a lock if nobody else changes it at the same time."""
        if request.impediment:
            return await self._blocked(request)
        for _ in range(_QUICK_TRIES):
            found = await self.current.ask(request.task_id)
            if found is None:
                raise TaskNotInSprint(request.task_id)
            work = self._work(request, found)
            response = pb.UpdateTaskProgressResponse(task=convert.from_task(work.after))
            event = self.db.event(
                _payload(work),
                aggregate=("task", work.after.task_id),
                version=work.after.version,
                project_id=work.after.project_id,
            )
            key = call.current().request_key
            if await self.reports.ask(tasks.Report(work.after, work.entry, event, response, key)):
                return response
        return await self._in_turn(request)

    async def _in_turn(self, request: pb.UpdateTaskProgressRequest) -> pb.UpdateTaskProgressResponse:
        async with self.db.write() as tx:
            work = self._work(request, await tasks.lock_current(tx, request.task_id))
            await tasks.save(tx, [work.after])
            await tasks.add_entries(tx, [(work.after.sprint_id, work.entry)])
            events.emit_task(tx, work.after, _payload(work))
            return tx.reply(pb.UpdateTaskProgressResponse(task=convert.from_task(work.after)))

    async def _blocked(self, request: pb.UpdateTaskProgressRequest) -> pb.UpdateTaskProgressResponse:
        """Work that something then stopped."""
        async with self.db.write() as tx:
            work = self._work(request, await tasks.lock_current(tx, request.task_id))
            task = block(work.after, self.now())
            impediment = raised(str(uuid4()), task, request.impediment, work.entry.employee_id, work.day, self.now())
            await tasks.save(tx, [task])
            await tasks.add_entries(tx, [(task.sprint_id, work.entry)])
            await impediments.insert(tx, impediment)
            payload = events.task_updated(work.before, task, work_date=work.day, employee_id=work.entry.employee_id)
            events.emit_task(tx, task, payload)
            events.emit_impediment(tx, impediment)
            return tx.reply(
                pb.UpdateTaskProgressResponse(
                    task=convert.from_task(task), impediment=convert.from_impediment(impediment)
                )
            )

    def _work(self, request: pb.UpdateTaskProgressRequest, found: Current) -> Work:
        found.check_open()
        given = to_date_or_none(request.work_date, "work_date")
        day = day_of_work(given, found.start_date, found.end_date, self.today(found.time_zone), "work_date")
        after = report_progress(found.task, request.progress_percent, day, self.now())
        entry = Entry(
            task_id=after.task_id,
            employee_id=request.employee_id or after.assignee_id,
            work_date=day,
            from_percent=found.task.progress_percent,
            to_percent=after.progress_percent,
            work_note=request.work_note,
            plan=request.plan,
            create_time=after.update_time,
        )
        return Work(found.task, after, entry, day)


def _payload(work: Work) -> sprint_events_pb2.SprintTaskUpdated:
    return events.task_updated(work.before, work.after, work_date=work.day, employee_id=work.entry.employee_id)
