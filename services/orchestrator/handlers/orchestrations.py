"""Orchestrate, and what came of it."""

import asyncio

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.clock import day_in
from services.kit.convert import from_time, to_date_or_none
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.orchestrator.convert import answers, requests
from services.orchestrator.convert import schedules as convert
from services.orchestrator.domain.outlook import predict
from services.orchestrator.domain.situation import patterns_of
from services.orchestrator.handlers.room import Room
from services.orchestrator.pipeline import Order
from services.orchestrator.store import decisions, leases, schedules, timetables
from services.orchestrator.store.decisions import AuditFilter


class OrchestrationHandlers(Room):
    """Decisions: made, looked at, listed."""

    async def Orchestrate(self, request: pb.OrchestrateRequest, context: Context) -> pb.OrchestrateResponse:
        """Decide on a project and act."""
        options = requests.to_options(request.options)
        return await self.pipeline.orchestrate(Order(request.project_id, requests.to_action(request.action), options))

    async def GetOrchestrationStatus(
        self, request: pb.GetOrchestrationStatusRequest, context: Context
    ) -> pb.GetOrchestrationStatusResponse:
        """Where a project stands; parts whose service is away are left out and named."""
        project_id = request.project_id
        seen, last, at_hand, mode, (jobs, wish, timetable) = await asyncio.gather(
            self.observer.glance(project_id),
            decisions.last(self.db.read, project_id),
            leases.decision_at_hand(self.db.read, project_id),
            self.pipeline.mode(project_id),
            asyncio.gather(
                schedules.jobs_of(self.db.read, project_id),
                schedules.find_wish(self.db.read, project_id),
                timetables.find(self.db.read, project_id),
            ),
        )
        today = day_in(self.now(), seen.sprint.time_zone if seen.sprint else "UTC")
        patterns = patterns_of(seen.velocity) if seen.velocity else None
        risk = predict(seen.velocity, seen.sprint, today)
        status = pb.OrchestrationStatus(
            project_id=project_id,
            last_analysis_time=from_time(last.record.decision_time) if last else None,
            last_decision_id=str(last.record.decision_id) if last else "",
            current_sprint=answers.from_open_sprint(seen.sprint, today) if seen.sprint else None,
            sprint_status=seen.sprint_status,
            backlog_status=answers.from_backlog(seen.backlog) if seen.backlog else None,
            cron_jobs=[convert.from_cron_job(job, self.keeping) for job in jobs],
            schedule=convert.from_wish(wish) if wish else None,
            orchestration_schedule=convert.from_timetable(timetable) if timetable else None,
            historical_trends=answers.from_trends(patterns) if patterns else None,
            predictive_insights=answers.from_risk(risk) if risk else None,
            decision_mode=answers.from_mode(mode),
            orchestration_in_progress=at_hand is not None,
            degraded_parts=seen.degraded,
        )
        return pb.GetOrchestrationStatusResponse(status=status)

    async def ListDecisionAudit(
        self, request: pb.ListDecisionAuditRequest, context: Context
    ) -> pb.ListDecisionAuditResponse:
        """Every decision of a project, oldest first."""
        wanted = AuditFilter(
            project_id=request.project_id,
            decision_id=requests.to_id(request.decision_id),
            source=requests.to_source(request.decision_source),
            start=to_date_or_none(request.start_date, "start_date"),
            end=to_date_or_none(request.end_date, "end_date"),
            sprint_id=request.sprint_id,
        )
        found, token = await decisions.audit(self.db.read, wanted, page_of(request))
        if not found:
            # Nothing to list may mean that there is no such project.
            await self.observer.project(request.project_id)
        return pb.ListDecisionAuditResponse(decisions=map(answers.from_record, found), next_page_token=token)
