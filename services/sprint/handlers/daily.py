"""Answers DailyScrumService, the deprecated one."""

from __future__ import annotations

from decimal import Decimal

from dsm.events.v1 import sprint_events_pb2
from dsm.sprint.v1 import daily_scrum_service_pb2 as pb
from dsm.sprint.v1.daily_scrum_service_pb2_grpc import DailyScrumServiceServicer

from services.kit.convert import from_date
from services.kit.serving.gate import Context
from services.sprint import events
from services.sprint.domain.scrum import simulate_day
from services.sprint.domain.sprint import check_in_progress, day_of_work
from services.sprint.handlers.room import Room
from services.sprint.store import projects, sprints, tasks


class DailyScrumHandlers(Room, DailyScrumServiceServicer):
    """RunScrum."""

    async def RunScrum(self, request: pb.RunScrumRequest, context: Context) -> pb.RunScrumResponse:
        """A simulated day, published as if somebody outside had reported it."""
        sprint = await sprints.get(self.db.read, request.sprint_id)
        check_in_progress(sprint.sprint_id, sprint.state)
        await projects.check_writable(self.db.read, sprint.project_id)
        day = day_of_work(None, sprint.start_date, sprint.end_date, self.today(sprint.time_zone), "work_date")
        inside = await tasks.of_sprint(self.db.read, sprint.sprint_id)
        present = {task.assignee_id: Decimal(1) for task in inside if task.assignee_id}
        made = simulate_day(sprint, inside, present, request.seed or f"{sprint.sprint_id}:{day}")
        async with self.db.write() as tx:
            for step in made:
                payload = sprint_events_pb2.TaskProgressed(
                    task_id=step.task.task_id,
                    sprint_id=sprint.sprint_id,
                    progress_made=step.percent - step.task.progress_percent,
                    new_total_progress=step.percent,
                    employee_id=step.task.assignee_id,
                    yesterday_work=step.work_note,
                    today_work=step.plan,
                    work_date=from_date(day),
                )
                events.emit_task(tx, step.task, payload)
            return tx.reply(pb.RunScrumResponse(event_count=len(made)))
