"""What the handlers of every noun have at hand."""

from services.kit.clock import Clock
from services.kit.data.database import Database


class Room:
    """A noun's handlers."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.db = database
        self.clock = clock
