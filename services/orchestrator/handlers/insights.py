"""What history teaches: insights, similar projects, pace, quality of data, and how decisions did."""

import asyncio
from datetime import datetime

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.errors import DsmError
from services.kit.serving.gate import Context
from services.orchestrator.convert import insights
from services.orchestrator.domain.health import CacheState, Health
from services.orchestrator.domain.situation import Velocity
from services.orchestrator.domain.survey import Comparison
from services.orchestrator.handlers.room import Room
from services.orchestrator.memory import CACHE_SECONDS
from services.orchestrator.observe import HISTORY_SPRINTS
from services.orchestrator.store import decisions, episodes, strategies

DEFAULT_THRESHOLD = 0.7
DEFAULT_RESULTS = 10


class InsightHandlers(Room):
    """Reads of history; none changes anything."""

    async def GetInsights(self, request: pb.GetInsightsRequest, context: Context) -> pb.GetInsightsResponse:
        """History, similar projects and risk of a project."""
        survey, made = await asyncio.gather(
            self.observer.survey(request.project_id), decisions.count(self.db.read, request.project_id)
        )
        found = insights.from_survey(request.project_id, survey, made, self.now())
        return pb.GetInsightsResponse(insights=found)

    async def AnalyzeSimilarProjects(
        self, request: pb.AnalyzeSimilarProjectsRequest, context: Context
    ) -> pb.AnalyzeSimilarProjectsResponse:
        """The projects that resemble one, in detail."""
        threshold = request.similarity_threshold if request.HasField("similarity_threshold") else DEFAULT_THRESHOLD
        limit = request.max_results or DEFAULT_RESULTS
        found, degraded = await self.observer.of_history(
            request.project_id, lambda: self.observer.compare(request.project_id, threshold, limit)
        )
        analysis = insights.from_comparison(request.project_id, found or Comparison(), threshold, degraded)
        return pb.AnalyzeSimilarProjectsResponse(analysis=analysis)

    async def GetVelocityTrends(
        self, request: pb.GetVelocityTrendsRequest, context: Context
    ) -> pb.GetVelocityTrendsResponse:
        """How the pace of a team develops."""
        limit = request.max_sprints or HISTORY_SPRINTS
        found, degraded = await self.observer.of_history(
            request.project_id, lambda: self.observer.velocity(request.project_id, limit)
        )
        trends = insights.from_velocity(request.project_id, found or Velocity(), degraded)
        return pb.GetVelocityTrendsResponse(trends=trends)

    async def GetDataQuality(self, request: pb.GetDataQualityRequest, context: Context) -> pb.GetDataQualityResponse:
        """How much history a project has, and how good it is."""
        survey = await self.observer.survey(request.project_id)
        report = insights.from_quality(request.project_id, survey, self.now())
        return pb.GetDataQualityResponse(data_quality_report=report)

    async def GetDecisionImpact(
        self, request: pb.GetDecisionImpactRequest, context: Context
    ) -> pb.GetDecisionImpactResponse:
        """How enhanced decisions did against rule-based ones; the chronicle has both, with their sprints."""
        return pb.GetDecisionImpactResponse(impact=await self.observer.impact(request))

    async def GetIntelligenceHealth(
        self, request: pb.GetIntelligenceHealthRequest, context: Context
    ) -> pb.GetIntelligenceHealthResponse:
        """How everything does that enhances decisions."""
        (chronicle, newest), embedding, advisor, (stored, (active, changed)) = await asyncio.gather(
            self._newest_note(), self.memory.answers(), self._advisor_answers(), self._stored()
        )
        cache = self.memory.cache
        health = Health(
            cache=CacheState(len(cache), cache.hit_rate, CACHE_SECONDS),
            chronicle_answers=chronicle,
            embedding_answers=embedding,
            advisor_answers=advisor,
            stored=stored,
            active_strategies=active,
            strategies_changed=changed,
            newest_note=newest,
            embedding_model=self.memory.model,
        )
        return pb.GetIntelligenceHealthResponse(health=insights.from_health(health, self.now()))

    async def _newest_note(self) -> tuple[bool, datetime | None]:
        """Whether the chronicle answers, and when it last stored a note."""
        try:
            return True, await self.observer.newest_note()
        except DsmError:
            return False, None

    async def _advisor_answers(self) -> bool | None:
        return await self.advisor.answers() if self.advisor else None

    async def _stored(self) -> tuple[tuple[int, int] | None, tuple[int, datetime | None]]:
        """Episodes and those that wait, None if the database does not answer; strategies in use, and their change."""
        try:
            return await asyncio.gather(episodes.count(self.db.read), strategies.in_use(self.db.read))
        except DsmError:
            return None, (0, None)
