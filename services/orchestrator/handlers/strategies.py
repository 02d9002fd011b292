"""Strategies: listed, and learned."""

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.orchestrator.convert.strategies import from_strategy, to_state
from services.orchestrator.handlers.room import Room
from services.orchestrator.store import strategies


class StrategyHandlers(Room):
    """ListStrategies and EvolveStrategies."""

    async def ListStrategies(self, request: pb.ListStrategiesRequest, context: Context) -> pb.ListStrategiesResponse:
        """Strategies, surest first."""
        found, token = await strategies.page_of_strategies(
            self.db.read, request.project_id, to_state(request.state), page_of(request)
        )
        return pb.ListStrategiesResponse(strategies=map(from_strategy, found), next_page_token=token)

    async def EvolveStrategies(
        self, request: pb.EvolveStrategiesRequest, context: Context
    ) -> pb.EvolveStrategiesResponse:
        """Make, credit, blame and retire strategies by what episodes teach."""
        return await self.learner.learn(request.project_id, dry_run=request.dry_run)
