"""Answers OrchestratorService."""

from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceServicer

from services.orchestrator.handlers.episodes import EpisodeHandlers
from services.orchestrator.handlers.forecasts import ForecastHandlers
from services.orchestrator.handlers.insights import InsightHandlers
from services.orchestrator.handlers.modes import ModeHandlers
from services.orchestrator.handlers.orchestrations import OrchestrationHandlers
from services.orchestrator.handlers.schedules import ScheduleHandlers
from services.orchestrator.handlers.strategies import StrategyHandlers


class OrchestratorHandlers(
    OrchestrationHandlers,
    ModeHandlers,
    EpisodeHandlers,
    StrategyHandlers,
    ForecastHandlers,
    InsightHandlers,
    ScheduleHandlers,
    OrchestratorServiceServicer,
):
    """The RPCs of dsm.orchestrator.v1.OrchestratorService, by what they do."""
