"""ImportTasks."""

from services.backlog.handlers.room import Room


class ImportHandlers(Room):
    """ImportTasks."""
