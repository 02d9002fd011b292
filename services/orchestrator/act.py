"""Does what was decided: calls the sprint service, each time with the action's own request_id, and keeps schedules."""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from dsm.backlog.v1 import backlog_service_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from dsm.sprint.v1 import sprint_service_pb2_grpc

from services.kit.calling.callee import Callee
from services.kit.clock import Clock
from services.kit.convert import from_date
from services.kit.data.database import Database
from services.kit.errors import DsmError
from services.orchestrator import events
from services.orchestrator.convert.schedules import to_tracked
from services.orchestrator.domain.action import Action, ActionKind, ActionState, failed, next_pending, settle
from services.orchestrator.domain.episode import Record
from services.orchestrator.domain.schedule import DEFAULT_SCRUM_SCHEDULE, Timer, Wish, check_schedule, cron_job_name
from services.orchestrator.store import schedules

# Planning and closing are flows over several services.
ACTION_SECONDS = 20.0


class Actor:
    """Carries out the pending actions of decisions."""

    def __init__(self, database: Database, sprint: Callee, clock: Clock) -> None:
        self._database = database
        self._sprint = sprint
        self._stub = sprint_service_pb2_grpc.SprintServiceStub(sprint.channel)
        self._clock = clock
        self._doers: dict[ActionKind, Callable[[Record, Action], Awaitable[Action]]] = {
            ActionKind.CLOSE_SPRINT: self._close_sprint,
            ActionKind.START_SPRINT: self._start_sprint,
            ActionKind.SCHEDULE_DAILY_SCRUM: self._schedule_daily_scrum,
        }

    async def act(self, record: Record) -> Record:
        """The record after its pending actions, in their order; one that stays pending holds up those after it."""
        while action := next_pending(record.actions):
            action = await self._do(record, action)
            record = record.with_actions(settle(record.actions, action))
            if action.state is ActionState.PENDING:
                break
        return record

    async def _do(self, record: Record, action: Action) -> Action:
        try:
            done = await self._doers[action.kind](record, action)
        except DsmError as error:
            return failed(action, error, record.decision_time, self._clock())
        state = ActionState.DONE if done.state is ActionState.PENDING else done.state
        return replace(done, state=state, error_reason="", update_time=self._clock())

    async def _close_sprint(self, record: Record, action: Action) -> Action:
        policy = "ROLL_OVER" if record.options.roll_over_unfinished else "TO_BACKLOG"
        request = pb.CloseSprintRequest(
            sprint_id=record.final.close_sprint_id,
            close_date=from_date(record.analysis.as_of_date),
            policy=backlog_service_pb2.ReleasePolicy.Value(f"RELEASE_POLICY_{policy}"),
            request_id=str(action.request_id),
        )
        answer = await self._sprint.call(
            self._stub.CloseSprint, request, pb.CloseSprintResponse, timeout=ACTION_SECONDS
        )
        return replace(
            action,
            reason="The sprint was finished.",
            sprint_id=answer.sprint.sprint_id,
            retrospective_id=answer.retrospective_id,
            task_count=answer.released_tasks_count,
            description=(
                f"Closed {answer.sprint.sprint_id}: {answer.completed_tasks_count} tasks completed,"
                f" {answer.released_tasks_count} released."
            ),
        )

    async def _start_sprint(self, record: Record, action: Action) -> Action:
        decision = record.final
        request = pb.StartSprintRequest(
            project_id=record.project_id,
            start_date=from_date(decision.start_date),
            duration_weeks=decision.sprint_duration_weeks,
            max_tasks=decision.tasks_to_assign,
            max_points=decision.points_to_assign,
            request_id=str(action.request_id),
        )
        answer = await self._sprint.call(
            self._stub.StartSprint, request, pb.StartSprintResponse, timeout=ACTION_SECONDS
        )
        tasks = answer.sprint.tasks
        # The first task that does not fit ends the choice, so a limit of points may leave fewer tasks than decided.
        limit = decision.points_to_assign
        points = "" if limit is None else f" ({sum(task.points for task in tasks):g} points, at most {limit:g})"
        return replace(
            action,
            reason="No sprint was open, and tasks were waiting.",
            sprint_id=answer.sprint.sprint_id,
            task_count=answer.assigned_tasks_count,
            description=(
                f"Started {answer.sprint.sprint_id} with {len(tasks)} tasks{points},"
                f" {answer.assigned_tasks_count} of them assigned."
            ),
        )

    async def _schedule_daily_scrum(self, record: Record, action: Action) -> Action:
        wish = await schedules.find_wish(self._database.read, record.project_id)
        if wish and not wish.wanted and record.options.create_cronjob is None:
            return replace(action, state=ActionState.SKIPPED, reason="The project's wish for a schedule was ended.")
        sprint_id = record.sprint_id or record.analysis.active_sprint_id
        name = cron_job_name(sprint_id)
        schedule = check_schedule(record.options.schedule or (wish.schedule if wish else DEFAULT_SCRUM_SCHEDULE), "")
        action = replace(action, reason=f"{sprint_id} is open.", sprint_id=sprint_id, cron_job_name=name)
        job = await schedules.find_job(self._database.read, record.project_id, name)
        if wish and wish.wanted and job and wish.schedule == job.timer.schedule == schedule:
            return _scheduled(action, job.timer)
        answer = await self._sprint.call(
            self._stub.GetSprint, pb.GetSprintRequest(sprint_id=sprint_id), pb.GetSprintResponse
        )
        sprint, now = to_tracked(answer.sprint), self._clock()
        async with self._database.write(keyed=False) as tx:
            wanted = Wish(record.project_id, True, schedule, sprint.time_zone, now)
            if changed := await schedules.put_wish(tx, wanted):
                events.wish_changed(tx, changed)
            await schedules.track(tx, [sprint])
            await schedules.sync(tx, [record.project_id], now)
        return _scheduled(action, Timer(schedule, sprint.time_zone))


def _scheduled(action: Action, timer: Timer) -> Action:
    when = f"at {timer.schedule!r} ({timer.time_zone})"
    return replace(action, description=f"The daily scrum of {action.sprint_id} runs {when}.")
