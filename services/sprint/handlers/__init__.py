"""Answers SprintService."""

from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceServicer

from services.sprint.handlers.closing import ClosingHandlers
from services.sprint.handlers.impediments import ImpedimentHandlers
from services.sprint.handlers.planning import PlanningHandlers
from services.sprint.handlers.progress import ProgressHandlers
from services.sprint.handlers.reading import ReadingHandlers
from services.sprint.handlers.scope import ScopeHandlers
from services.sprint.handlers.scrums import ScrumHandlers
from services.sprint.handlers.watching import WatchingHandlers


class SprintHandlers(
    PlanningHandlers,
    ReadingHandlers,
    ProgressHandlers,
    ImpedimentHandlers,
    ScrumHandlers,
    ClosingHandlers,
    ScopeHandlers,
    WatchingHandlers,
    SprintServiceServicer,
):
    """The RPCs of dsm.sprint.v1.SprintService, by what they do."""
