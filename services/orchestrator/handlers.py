"""The orchestrator's RPCs."""

import asyncio

from dsm.orchestrator.v1 import episode_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceServicer
from dsm.project.v1 import project_pb2

from services.kit.clock import Clock, day_in
from services.kit.convert import from_time, to_date_or_none
from services.kit.database import Database
from services.kit.errors import InvalidArgument
from services.kit.gate import Context
from services.kit.paging import page_of
from services.orchestrator import events
from services.orchestrator.convert import answers, requests
from services.orchestrator.domain.errors import ProjectArchived
from services.orchestrator.domain.outlook import predict
from services.orchestrator.domain.situation import patterns_of
from services.orchestrator.memory import RECALLED, Memory
from services.orchestrator.observe import Observer
from services.orchestrator.pipeline import Order, Pipeline
from services.orchestrator.store import decisions, episodes, leases, modes
from services.orchestrator.store.decisions import AuditFilter
from services.orchestrator.store.episodes import EpisodeFilter


class OrchestratorHandlers(OrchestratorServiceServicer):
    """Answers OrchestratorService; schedules, insights, forecasts and strategies are not built yet."""

    def __init__(
        self,
        database: Database,
        observer: Observer,
        memory: Memory,
        pipeline: Pipeline,
        clock: Clock,
        *,
        confidence_threshold: float,
    ) -> None:
        self._database = database
        self._observer = observer
        self._memory = memory
        self._pipeline = pipeline
        self._clock = clock
        self._threshold = confidence_threshold

    async def Orchestrate(self, request: pb.OrchestrateRequest, context: Context) -> pb.OrchestrateResponse:
        """Decide on a project and act."""
        options = requests.to_options(request.options)
        return await self._pipeline.orchestrate(Order(request.project_id, requests.to_action(request.action), options))

    async def GetOrchestrationStatus(
        self, request: pb.GetOrchestrationStatusRequest, context: Context
    ) -> pb.GetOrchestrationStatusResponse:
        """Where a project stands; parts whose service is away are left out and named."""
        project_id = request.project_id
        seen, last, at_hand, mode = await asyncio.gather(
            self._observer.glance(project_id),
            decisions.last(self._database.read, project_id),
            leases.decision_at_hand(self._database.read, project_id),
            self._pipeline.mode(project_id),
        )
        today = day_in(self._clock(), seen.sprint.time_zone if seen.sprint else "UTC")
        patterns = patterns_of(seen.velocity) if seen.velocity else None
        risk = predict(seen.velocity, seen.sprint, today)
        status = pb.OrchestrationStatus(
            project_id=project_id,
            last_analysis_time=from_time(last.record.decision_time) if last else None,
            last_decision_id=str(last.record.decision_id) if last else "",
            current_sprint=answers.from_open_sprint(seen.sprint, today) if seen.sprint else None,
            sprint_status=seen.sprint_status,
            backlog_status=answers.from_backlog(seen.backlog) if seen.backlog else None,
            historical_trends=answers.from_trends(patterns) if patterns else None,
            predictive_insights=answers.from_risk(risk) if risk else None,
            decision_mode=answers.from_mode(mode),
            orchestration_in_progress=at_hand is not None,
            degraded_parts=seen.degraded,
        )
        return pb.GetOrchestrationStatusResponse(status=status)

    async def GetDecisionMode(self, request: pb.GetDecisionModeRequest, context: Context) -> pb.GetDecisionModeResponse:
        """How a project wants its decisions made."""
        stored = await modes.find(self._database.read, request.project_id)
        if stored:
            config = answers.from_mode(stored.config)
            return pb.GetDecisionModeResponse(config=config, update_time=from_time(stored.update_time))
        await self._observer.project(request.project_id)
        mode = await self._pipeline.mode(request.project_id)
        return pb.GetDecisionModeResponse(config=answers.from_mode(mode))

    async def SetDecisionMode(self, request: pb.SetDecisionModeRequest, context: Context) -> pb.SetDecisionModeResponse:
        """Set it, as a whole."""
        project = await self._observer.project(request.project_id)
        if project.status == project_pb2.PROJECT_STATUS_ARCHIVED:
            raise ProjectArchived(request.project_id)
        config = requests.to_mode(request.config, self._threshold)
        now = self._clock()
        async with self._database.write() as tx:
            version = await modes.put(tx, request.project_id, config, now)
            events.mode_changed(tx, request.project_id, config, version)
            answer = pb.SetDecisionModeResponse(config=answers.from_mode(config), update_time=from_time(now))
            return tx.reply(answer)

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
        found, token = await decisions.audit(self._database.read, wanted, page_of(request))
        if not found:
            # Nothing to list may mean that there is no such project.
            await self._observer.project(request.project_id)
        return pb.ListDecisionAuditResponse(decisions=map(answers.from_record, found), next_page_token=token)

    async def ListEpisodes(self, request: pb.ListEpisodesRequest, context: Context) -> pb.ListEpisodesResponse:
        """Episodes, newest first."""
        wanted = EpisodeFilter(
            project_id=request.project_id,
            episode_id=requests.to_id(request.episode_id),
            with_outcome_only=request.with_outcome_only,
            retrievable_only=request.retrievable_only,
        )
        found, token = await episodes.page_of_episodes(self._database.read, wanted, page_of(request))
        return pb.ListEpisodesResponse(episodes=map(answers.from_episode, found), next_page_token=token)

    async def SearchEpisodes(self, request: pb.SearchEpisodesRequest, context: Context) -> pb.SearchEpisodesResponse:
        """The episodes whose situation is most like a text."""
        if not request.query.strip():
            raise InvalidArgument("query", "must not be blank", request.query)
        wanted = EpisodeFilter(project_id=request.project_id, with_outcome_only=request.with_outcome_only)
        least = request.minimum_similarity if request.HasField("minimum_similarity") else 0.0
        limit = request.max_results or RECALLED
        matches, model = await self._memory.search(request.query, wanted, limit, least)
        found = [
            episode_pb2.EpisodeMatch(episode=answers.from_episode(match.episode), similarity=match.similarity)
            for match in matches
        ]
        return pb.SearchEpisodesResponse(matches=found, embedding_model=model)
