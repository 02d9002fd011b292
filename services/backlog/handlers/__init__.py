"""Answers BacklogService, by noun."""

from services.backlog.handlers.courses import CourseHandlers
from services.backlog.handlers.imports import ImportHandlers
from services.backlog.handlers.lists import ListHandlers
from services.backlog.handlers.reservations import ReservationHandlers
from services.backlog.handlers.stories import StoryHandlers
from services.backlog.handlers.tasks import TaskHandlers


class BacklogHandlers(TaskHandlers, CourseHandlers, ListHandlers, StoryHandlers, ReservationHandlers, ImportHandlers):
    """The RPCs of dsm.backlog.v1.BacklogService."""
