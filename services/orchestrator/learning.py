"""Learning: reads the lessons, thinks, and stores what became of the strategies; by call and by schedule."""

import asyncio
from contextlib import suppress
from uuid import uuid4

import structlog
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.clock import Clock
from services.kit.data.database import Database
from services.kit.errors import Aborted, DsmError
from services.orchestrator import events, figures
from services.orchestrator.convert.strategies import from_evolution
from services.orchestrator.domain.evolution import Evolution, evolve
from services.orchestrator.domain.learning import Lessons
from services.orchestrator.store import strategies

log = structlog.get_logger()

# How often a process looks whether it is time, and how often it thinks again when an outcome came meanwhile.
POLL_SECONDS = 30.0
ATTEMPTS = 5


class Learner:
    """Learns the strategies of one database."""

    def __init__(self, database: Database, clock: Clock, *, every_seconds: float) -> None:
        self._database = database
        self._clock = clock
        self._every_seconds = every_seconds

    async def learn(self, project_id: str, *, dry_run: bool = False) -> pb.EvolveStrategiesResponse:
        """Learn from the episodes of a project, or of all; what changed, or would change.

        Raises Aborted if strategies kept changing meanwhile.
        """
        for _ in range(ATTEMPTS):
            evolution, considered = await self._think(project_id)
            with suppress(Aborted):
                async with self._database.write() as tx:
                    if not dry_run:
                        await strategies.put(tx, evolution.changes)
                        for change in evolution.changes:
                            events.strategy_evolved(tx, change)
                    answer = tx.reply(from_evolution(evolution, considered))
                if not dry_run:
                    figures.evolved(answer)
                return answer
        raise Aborted("The strategies keep changing while they are learned: try again.")

    async def keep_learning(self) -> None:
        """Learn whenever it is time, in one process; for ever. A process that dies leaves it to the next time."""
        while True:
            with suppress(DsmError):
                if await self._is_due():
                    learned = await self.learn("")
                    log.info(
                        "strategies.evolved",
                        created=len(learned.created),
                        updated=len(learned.updated),
                        retired=len(learned.retired),
                        episodes=learned.episodes_considered,
                    )
            await asyncio.sleep(POLL_SECONDS)

    async def _is_due(self) -> bool:
        async with self._database.write(keyed=False) as tx:
            return await strategies.claim_evolution(tx, self._every_seconds)

    async def _think(self, project_id: str) -> tuple[Evolution, int]:
        known, lessons = await asyncio.gather(
            strategies.of_scope(self._database.read, project_id), strategies.lessons(self._database.read, project_id)
        )
        scopes = {project_id} if project_id else {"", *(lesson.project_id for lesson in lessons)}
        # In a thread: many lessons take seconds, in which calls must go on.
        evolution = await asyncio.to_thread(evolve, known, Lessons(lessons), scopes, self._clock(), uuid4)
        return evolution, len(lessons)
