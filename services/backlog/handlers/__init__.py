"""Answers BacklogService, by noun."""

from services.backlog.handlers.courses import CourseHandlers
from services.backlog.handlers.exports import ExportHandlers
from services.backlog.handlers.imports import ImportHandlers
from services.backlog.handlers.lists import ListHandlers
from services.backlog.handlers.ranking import RankHandlers
from services.backlog.handlers.reservations import ReservationHandlers
from services.backlog.handlers.seeding import SeedHandlers
from services.backlog.handlers.stories import StoryHandlers
from services.backlog.handlers.watching import WatchHandlers


class BacklogHandlers(
    SeedHandlers,
    RankHandlers,
    CourseHandlers,
    ListHandlers,
    StoryHandlers,
    ReservationHandlers,
    ImportHandlers,
    ExportHandlers,
    WatchHandlers,
):
    """The RPCs of dsm.backlog.v1.BacklogService."""
