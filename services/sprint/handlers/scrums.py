"""RunDailyScrum."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from uuid import uuid4

from dsm.chronicle.v1 import note_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.convert import to_date_or_none
from services.kit.data.database import WriteHandle
from services.kit.serving.gate import Context
from services.sprint import convert, events
from services.sprint.domain.progress import ImpedimentState, report_progress
from services.sprint.domain.scrum import Entry, Report, Simulated, compile_report, day_of_report, simulate_day
from services.sprint.domain.sprint import Sprint, SprintTask, check_in_progress
from services.sprint.handlers.room import Room
from services.sprint.store import impediments, projects, scrums, sprints, tasks
from services.sprint.store.scrums import StoredReport


@dataclass(frozen=True, slots=True)
class Meeting:
    """A daily scrum to be held: who is there for which share of the day, and whether progress is simulated."""

    sprint_id: str
    day: date
    today: date
    present: dict[str, Decimal]
    simulate: bool
    seed: str | int


class ScrumHandlers(Room):
    """RunDailyScrum."""

    async def RunDailyScrum(self, request: pb.RunDailyScrumRequest, context: Context) -> pb.RunDailyScrumResponse:
        """The report of a day; the first one, if there is one."""
        given = to_date_or_none(request.report_date, "report_date")
        sprint = await sprints.get(self.db.read, request.sprint_id)
        today = self.today(sprint.time_zone)
        if first := await scrums.get(self.db.read, sprint.sprint_id, given or today):
            # A transaction, though it changes nothing: this request_id has its answer now, and keeps it.
            async with self.db.write() as tx:
                return tx.reply(_again(first))
        check_in_progress(sprint.sprint_id, sprint.state)
        await projects.check_writable(self.db.read, sprint.project_id)
        day = day_of_report(given, sprint, today, await scrums.last_day(self.db.read, sprint.sprint_id))
        present, simulate = await asyncio.gather(
            self.neighbours.at_work(sprint.project_id, day), self._simulates(request, sprint.project_id)
        )
        seed = request.seed or f"{sprint.sprint_id}:{day}"
        return await self._hold(Meeting(sprint.sprint_id, day, today, present, simulate, seed))

    async def _simulates(self, request: pb.RunDailyScrumRequest, project_id: str) -> bool:
        if request.HasField("simulate"):
            return request.simulate
        return (await self.neighbours.project(project_id)).simulate_daily_scrums

    async def _hold(self, meeting: Meeting) -> pb.RunDailyScrumResponse:
        async with self.db.write() as tx:
            # The sprint's lock makes reports take turns: of two at once for a day, the second finds the first.
            sprint = await sprints.lock(tx, meeting.sprint_id)
            if first := await scrums.get(tx, sprint.sprint_id, meeting.day):
                return tx.reply(_again(first))
            check_in_progress(sprint.sprint_id, sprint.state)
            day_of_report(meeting.day, sprint, meeting.today, await scrums.last_day(tx, sprint.sprint_id))
            if meeting.simulate:
                await self._simulate(tx, sprint, meeting)
            report = await self._compile(tx, sprint, meeting)
            return tx.reply(await self._store(tx, sprint, meeting, report))

    async def _simulate(self, tx: WriteHandle, sprint: Sprint, meeting: Meeting) -> None:
        """A day's progress of those at work, stored as if they had reported it."""
        before = await tasks.lock_of_sprint(tx, sprint.sprint_id)
        made = simulate_day(sprint, before, meeting.present, meeting.seed)
        worked = [report_progress(step.task, step.percent, meeting.day, self.now()) for step in made]
        entries = [_entry(step, after, meeting.day) for step, after in zip(made, worked, strict=True)]
        await tasks.save(tx, worked)
        await tasks.add_entries(tx, [(sprint.sprint_id, entry) for entry in entries])
        for step, after in zip(made, worked, strict=True):
            payload = events.task_updated(step.task, after, work_date=meeting.day, employee_id=after.assignee_id)
            events.emit_task(tx, after, payload)

    async def _compile(self, tx: WriteHandle, sprint: Sprint, meeting: Meeting) -> Report:
        """The report, from work that no report had yet; that of people away waits until they are back."""
        waiting = await tasks.unreported(tx, sprint.sprint_id, meeting.day)
        said = [found for found in waiting if meeting.present.get(found.entry.employee_id, 1) > 0]
        blocks = await impediments.of_sprint(tx, sprint.sprint_id)
        report = compile_report(
            await tasks.of_sprint(tx, sprint.sprint_id),
            [found.entry for found in said],
            [block for block in blocks if block.state is ImpedimentState.OPEN and block.raise_date <= meeting.day],
            meeting.present,
        )
        await tasks.mark_reported(tx, [found.entry_id for found in said], meeting.day)
        return report

    async def _store(
        self, tx: WriteHandle, sprint: Sprint, meeting: Meeting, report: Report
    ) -> pb.RunDailyScrumResponse:
        now, report_id = self.now(), str(uuid4())
        message = convert.from_report(report, sprint, meeting.day, report_id, simulated=meeting.simulate, now=now)
        stored = StoredReport(report_id, meeting.day, report.updated_tasks, message.SerializeToString())
        await scrums.insert(tx, sprint.sprint_id, stored, now)
        events.emit_report(tx, message)
        return _answer(stored, message, repeated=False)


def _again(first: StoredReport) -> pb.RunDailyScrumResponse:
    return _answer(first, note_pb2.DailyScrumReport.FromString(first.report), repeated=True)


def _answer(stored: StoredReport, message: note_pb2.DailyScrumReport, *, repeated: bool) -> pb.RunDailyScrumResponse:
    return pb.RunDailyScrumResponse(
        report_id=stored.report_id, updated_tasks_count=stored.updated_tasks, report=message, repeated=repeated
    )


def _entry(step: Simulated, after: SprintTask, day: date) -> Entry:
    return Entry(
        task_id=after.task_id,
        employee_id=after.assignee_id,
        work_date=day,
        from_percent=step.task.progress_percent,
        to_percent=after.progress_percent,
        work_note=step.work_note,
        plan=step.plan,
        create_time=after.update_time,
    )
