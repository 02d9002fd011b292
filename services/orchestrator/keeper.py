"""Keeps schedules: begins what is due, each run in one process at a time, and sees to missed ones.

A run is claimed before it is begun, by its row and for a while; its request_id derives from what is run and the time
planned. So a process that dies leaves nothing undone, and a run that is repeated does nothing.
"""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from uuid import UUID

import structlog
from dsm.orchestrator.v1 import decision_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from dsm.sprint.v1 import sprint_service_pb2_grpc

from services.kit import call
from services.kit.call import Call, RequestKey
from services.kit.calling.callee import Callee
from services.kit.clock import Clock
from services.kit.data.database import CONFLICTS, AlreadyAnswered, Database
from services.kit.errors import DeadlineExceeded, DsmError
from services.kit.telemetry import trace
from services.orchestrator import figures
from services.orchestrator.domain.schedule import (
    CronJob,
    Policy,
    RunEnd,
    run_ended,
    run_failed,
    run_id,
    run_missed,
)
from services.orchestrator.domain.situation import OrchestrateAction
from services.orchestrator.domain.timetable import Timetable
from services.orchestrator.pipeline import Order, Pipeline
from services.orchestrator.store import schedules, timetables

log = structlog.get_logger()

# Runs begun at once by one process, how long a claim holds, and how long a run may take: less, so that none runs twice.
AT_ONCE = 4
CLAIM_SECONDS = 90.0
SCRUM_SECONDS = 20.0
ORCHESTRATION_SECONDS = 60.0
# How often wishes, sprints and cron jobs are compared, beyond what each change does at once.
SYNC_SECONDS = 10.0
_ORCHESTRATE = "/dsm.orchestrator.v1.OrchestratorService/Orchestrate"
_ACTOR = "service:orchestrator"


class Keeper:
    """Holds what is due of one database: daily scrums where nothing else runs them, and orchestrations."""

    def __init__(
        self,
        database: Database,
        sprint: Callee,
        pipeline: Pipeline,
        clock: Clock,
        *,
        policy: Policy,
        poll_seconds: float,
    ) -> None:
        self._database = database
        self._sprint = sprint
        self._stub = sprint_service_pb2_grpc.SprintServiceStub(sprint.channel)
        self._pipeline = pipeline
        self._clock = clock
        self._policy = policy
        self._poll_seconds = poll_seconds

    async def keep_jobs(self) -> None:
        """Let cron jobs be what wishes and sprints say, for ever: heals what calls that came together did not see."""
        while True:
            with suppress(DsmError, *CONFLICTS):
                async with self._database.write(keyed=False) as tx:
                    await schedules.sync(tx, None, self._clock())
            await asyncio.sleep(SYNC_SECONDS)

    async def keep_scrums(self) -> None:
        """Hold daily scrums when they are due, for ever."""
        await self._keep(self.hold_due_scrums)

    async def keep_orchestrations(self) -> None:
        """Orchestrate when it is due, for ever."""
        await self._keep(self.hold_due_orchestrations)

    async def hold_due_scrums(self) -> int:
        """Hold the daily scrums that are due; how many were."""
        async with self._database.write(keyed=False) as tx:
            due = await schedules.claim(tx, self._clock(), CLAIM_SECONDS, AT_ONCE)
        await asyncio.gather(*map(self._hold_scrum, due))
        return len(due)

    async def hold_due_orchestrations(self) -> int:
        """Orchestrate the projects that are due; how many were."""
        async with self._database.write(keyed=False) as tx:
            due = await timetables.claim(tx, self._clock(), CLAIM_SECONDS, AT_ONCE)
        # Each in a task of its own, for which its own call is the one at hand.
        await asyncio.gather(*(asyncio.create_task(self._hold_orchestration(timetable)) for timetable in due))
        return len(due)

    async def _keep(self, hold: Callable[[], Awaitable[int]]) -> None:
        while True:
            with suppress(DsmError):
                while await hold():
                    pass
            await asyncio.sleep(self._poll_seconds)

    async def _hold_scrum(self, job: CronJob) -> None:
        with trace.span("orchestrator", "schedule daily_scrum"):
            end = await self._scrum_ended(job)
        log.info("scrum.scheduled", sprint_id=job.sprint_id, result=end.result, next_run=str(end.next_run_time))
        async with self._database.write(keyed=False) as tx:
            await schedules.finish(tx, job, end)
        figures.ran(figures.SCRUM, end)

    async def _scrum_ended(self, job: CronJob) -> RunEnd:
        now, planned, timer = self._clock(), job.next_run_time, job.timer
        assert planned is not None, "what is due has a time"
        run = timer.due(planned, now, self._policy)
        if run is None:
            return run_missed(timer, planned, now, self._policy)
        request = pb.RunDailyScrumRequest(
            sprint_id=job.sprint_id,
            report_date=timer.day_of(run).isoformat(),
            request_id=str(run_id(job.sprint_id, run)),
        )
        try:
            answer = await self._sprint.call(
                self._stub.RunDailyScrum, request, pb.RunDailyScrumResponse, timeout=SCRUM_SECONDS
            )
        except DsmError as error:
            return run_failed(timer, planned, run, now, error)
        held = "The day had its report already." if answer.repeated else f"Reported on {timer.day_of(run)}."
        return run_ended(timer, run, now, held)

    async def _hold_orchestration(self, timetable: Timetable) -> None:
        with trace.span("orchestrator", "schedule orchestration"):
            end, decision_id = await self._orchestration_ended(timetable)
        log.info("orchestration.scheduled", project_id=timetable.project_id, result=end.result)
        async with self._database.write(keyed=False) as tx:
            await timetables.finish(tx, timetable, end, decision_id)
        figures.ran(figures.ORCHESTRATION, end)

    async def _orchestration_ended(self, timetable: Timetable) -> tuple[RunEnd, UUID | None]:
        now, planned, timer = self._clock(), timetable.next_run_time, timetable.timer
        assert planned is not None, "what is due has a time"
        run = timer.due(planned, now, self._policy)
        if run is None:
            return run_missed(timer, planned, now, self._policy), None
        request_id = run_id(timetable.project_id, run)
        key = RequestKey(request_id, _ORCHESTRATE, hashlib.sha256(request_id.bytes).digest())
        deadline = time.monotonic() + ORCHESTRATION_SECONDS
        call.enter(Call(_ORCHESTRATE, str(request_id), _ACTOR, deadline, key))
        order = Order(timetable.project_id, OrchestrateAction.ANALYZE_AND_ORCHESTRATE, timetable.options)
        try:
            async with asyncio.timeout(ORCHESTRATION_SECONDS):
                decision = await self._orchestrate(order, key)
        except DsmError as error:
            return run_failed(timer, planned, run, now, error), None
        except TimeoutError:
            # What was decided meanwhile is found by the next try, and goes on by itself.
            return run_failed(timer, planned, run, now, DeadlineExceeded(_ORCHESTRATE)), None
        if decision is None:
            return run_ended(timer, run, now, "It was decided before."), None
        return run_ended(timer, run, now, _in_words(decision)), UUID(decision.decision_id)

    async def _orchestrate(self, order: Order, key: RequestKey) -> decision_pb2.DecisionRecord | None:
        """The decision; None if this run was answered before."""
        while True:
            try:
                return (await self._pipeline.orchestrate(order)).decision
            except AlreadyAnswered:
                # Or whoever had the run died before it decided: then it is ours.
                if await self._database.find_answer(key):
                    return None


def _in_words(decision: decision_pb2.DecisionRecord) -> str:
    done = [action.description for action in decision.actions if action.description]
    return " ".join(done)[:1000] or "Nothing was to be done."
