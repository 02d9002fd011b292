"""What every handler of the service has at hand."""

from datetime import date, datetime
from functools import partial

from services.kit import call
from services.kit.clock import Clock, day_in
from services.kit.data.database import AlreadyAnswered, Database, WriteHandle
from services.kit.data.together import Together
from services.kit.errors import RequestIdReused
from services.kit.saga import Sagas
from services.kit.serving.watch import Watch
from services.sprint.domain.scope import ScopeChanging
from services.sprint.handlers.neighbours import Neighbours
from services.sprint.store.tasks import Current, Report, find_all_current, report_all

# Sagas that change a sprint's scope; the key of one is its sprint and task.
ADD, REMOVE = "add-task", "remove-task"


class Room:
    """Database, neighbours, sagas, watchers and clock."""

    def __init__(self, database: Database, neighbours: Neighbours, sagas: Sagas, watch: Watch, clock: Clock) -> None:
        self.db = database
        self.neighbours = neighbours
        self.sagas = sagas
        self.watch = watch
        self.clock = clock
        self.current = Together[str, Current | None](partial(find_all_current, database.read))
        self.reports = Together[Report, bool](partial(report_all, database))

    def now(self) -> datetime:
        """The present instant."""
        return self.clock()

    def today(self, time_zone: str) -> date:
        """The present day in a project's time zone."""
        return day_in(self.clock(), time_zone)

    async def check_scope_settled(self, tx: WriteHandle, sprint_id: str, task_id: str = "") -> None:
        """ScopeChanging if the task, or any of the sprint, is just being added or taken out. Lock the sprint first."""
        if await self.sagas.any_open(tx, (ADD, REMOVE), scope_key(sprint_id, task_id)):
            raise ScopeChanging(sprint_id)

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


def scope_key(sprint_id: str, task_id: str) -> str:
    """What changes of a task's being in a sprint are known by; without a task, what all of the sprint begin with."""
    return f"{sprint_id}/{task_id}"
