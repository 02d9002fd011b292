"""What every handler of the service has at hand."""

from datetime import date, datetime

from services.kit import call
from services.kit.clock import Clock, day_in
from services.kit.database import AlreadyAnswered, Database
from services.kit.errors import RequestIdReused
from services.kit.saga import Sagas
from services.sprint.handlers.neighbours import Neighbours


class Room:
    """Database, neighbours, sagas and clock."""

    def __init__(self, database: Database, neighbours: Neighbours, sagas: Sagas, clock: Clock) -> None:
        self.db = database
        self.neighbours = neighbours
        self.sagas = sagas
        self.clock = clock

    def now(self) -> datetime:
        """The present instant."""
        return self.clock()

    def today(self, time_zone: str) -> date:
        """The present day in a project's time zone."""
        return day_in(self.clock(), time_zone)

    async def rejoin(self, kind: str, key: str) -> None:
        """If another call with the same request_id has begun this flow, wait for its answer; else return."""
        mine = call.current().request_key
        if mine is None:
            return
        saga = await self.sagas.open_saga(kind, key)
        if saga and saga.request_key and saga.request_key.request_id == mine.request_id:
            if saga.request_key != mine:
                raise RequestIdReused(str(mine.request_id))
            await self.sagas.join(saga)
        # It may have ended between two looks.
        if await self.db.find_answer(mine):
            raise AlreadyAnswered
