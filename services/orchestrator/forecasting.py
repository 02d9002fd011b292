"""Forecasts: gathers the facts from the other services, simulates, and keeps what was forecast."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from dsm.project.v1 import project_service_pb2, project_service_pb2_grpc
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2, sprint_service_pb2_grpc

from services.kit.calling.callee import Callee
from services.kit.clock import Clock, day_in
from services.kit.convert import to_date
from services.kit.data.database import Database
from services.orchestrator.convert import forecasts as convert
from services.orchestrator.domain.errors import DateOutOfRange
from services.orchestrator.domain.forecast.calibration import Calibration, calibrate
from services.orchestrator.domain.forecast.horizon import FARTHEST
from services.orchestrator.domain.forecast.projections import (
    BacklogProjection,
    Closed,
    SprintProjection,
    project_backlog,
    project_sprint,
)
from services.orchestrator.observe import Observer
from services.orchestrator.store import forecasts

DEFAULT_SIMULATIONS, LEAST_SIMULATIONS = 10_000, 100
# Older sprints have next to no weight.
_HISTORY_SPRINTS = 30
# Who is away is known for some months; beyond, every week counts as a usual one.
_KNOWN_DAYS = timedelta(days=120)
_CLOSED_STATES = (sprint_pb2.SPRINT_STATE_COMPLETED, sprint_pb2.SPRINT_STATE_CLOSED_WITH_PENDING_TASKS)


@dataclass(frozen=True)
class Asked:
    """What a call asks for: the first day to simulate (None = today), simulations (0 = the default), the seed."""

    as_of: date | None
    simulations: int
    seed: int | None

    @property
    def runs(self) -> int:
        """Simulations to make."""
        return max(self.simulations or DEFAULT_SIMULATIONS, LEAST_SIMULATIONS)

    @property
    def chosen_seed(self) -> int:
        """The seed, one of chance if none was given."""
        return secrets.randbits(32) if self.seed is None else self.seed


class Forecaster:
    """Forecasts sprints and backlogs from the team's own closed sprints, and says how past forecasts did."""

    def __init__(self, database: Database, observer: Observer, project: Callee, sprint: Callee, clock: Clock) -> None:
        self._db = database
        self._observer = observer
        self._project, self._projects = project, project_service_pb2_grpc.ProjectServiceStub(project.channel)
        self._sprint, self._sprints = sprint, sprint_service_pb2_grpc.SprintServiceStub(sprint.channel)
        self._clock = clock

    async def sprint(self, sprint_id: str, asked: Asked) -> SprintProjection:
        """How likely an open sprint completes what it holds.

        Raises SprintNotInProgress, DateOutOfRange, NotEnoughData, and what the other services say.
        """
        request = sprint_service_pb2.GetSprintRequest(sprint_id=sprint_id)
        answer = await self._sprint.call(self._sprints.GetSprint, request, sprint_service_pb2.GetSprintResponse)
        today = day_in(self._clock(), answer.sprint.time_zone or "UTC")
        first, last = to_date(answer.sprint.start_date, ""), to_date(answer.sprint.end_date, "")
        as_of = asked.as_of or min(max(today, first), last)
        if not first <= as_of <= last:
            raise DateOutOfRange("as_of_date", "must be within the sprint", as_of)
        running = convert.to_running(answer.sprint, as_of, today)
        own, capacity = await asyncio.gather(
            self._closed(running.project_id, as_of), self._capacity(running.project_id, first, last + _KNOWN_DAYS)
        )
        person_days = sum(value for day, value in capacity.items() if day <= last)
        others = await forecasts.like(self._db.read, running.project_id, person_days, as_of)
        forecast = await asyncio.to_thread(
            project_sprint, running, own, others, capacity, as_of, asked.runs, asked.chosen_seed
        )
        if forecast.remaining_tasks:
            async with self._db.write(keyed=False) as tx:
                await forecasts.keep_sprint(tx, forecast, self._clock())
        return forecast

    async def backlog(self, project_id: str, target: date | None, task_count: int, asked: Asked) -> BacklogProjection:
        """How far a team gets by a day (None = not asked), and when so many tasks (0 = all that remain) are done.

        Raises DateOutOfRange, NotEnoughData, and what the other services say.
        """
        project, backlog = await asyncio.gather(self._observer.project(project_id), self._observer.backlog(project_id))
        today = day_in(self._clock(), project.time_zone or "UTC")
        as_of = asked.as_of or today
        if as_of > today:
            raise DateOutOfRange("as_of_date", "must not be in the future", as_of)
        if target is not None and not as_of <= target < as_of + FARTHEST:
            raise DateOutOfRange("target_date", "must be within five years from the first day simulated", target)
        own, capacity = await asyncio.gather(
            self._closed(project_id, as_of), self._capacity(project_id, as_of, as_of + _KNOWN_DAYS)
        )
        wanted = task_count or backlog.open
        forecast = await asyncio.to_thread(
            project_backlog,
            project_id,
            backlog.open,
            wanted,
            target,
            own,
            capacity,
            as_of,
            asked.runs,
            asked.chosen_seed,
        )
        if wanted:
            async with self._db.write(keyed=False) as tx:
                await forecasts.keep_backlog(tx, forecast, self._clock())
        return forecast

    async def calibration(self, project_id: str) -> Calibration:
        """How past forecasts of a project, or ("") of all, did."""
        return calibrate(await forecasts.judged(self._db.read, project_id))

    async def _closed(self, project_id: str, as_of: date) -> list[Closed]:
        """The project's closed sprints that had ended by a day, oldest first."""
        request = sprint_service_pb2.ListSprintsRequest(
            project_id=project_id, states=_CLOSED_STATES, page_size=_HISTORY_SPRINTS
        )
        answer = await self._sprint.call(self._sprints.ListSprints, request, sprint_service_pb2.ListSprintsResponse)
        closed = [convert.to_closed(sprint) for sprint in reversed(answer.sprints)]
        return [sprint for sprint in closed if sprint.last_day <= as_of]

    async def _capacity(self, project_id: str, first: date, last: date) -> Mapping[date, float]:
        """Person-days of the team by day."""
        request = project_service_pb2.GetCapacityRequest(
            project_id=project_id, start_date=first.isoformat(), end_date=last.isoformat()
        )
        answer = await self._project.call(self._projects.GetCapacity, request, project_service_pb2.GetCapacityResponse)
        return {to_date(day.date, ""): day.person_days for day in answer.days}
