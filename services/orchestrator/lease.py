"""One orchestration of a project at a time, over all processes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import UUID, uuid4

from services.kit.data.database import Database, WriteHandle
from services.kit.errors import DsmError
from services.orchestrator.domain.errors import OrchestrationInProgress
from services.orchestrator.store import leases

# How long a project stays taken after its holder died; the holder renews it three times as often.
LEASE_SECONDS = 15.0


class Lease:
    """A project that this call has taken."""

    def __init__(self, project_id: str, holder: UUID) -> None:
        self.project_id = project_id
        self._holder = holder

    async def confirm(self, tx: WriteHandle) -> None:
        """Make a transaction fail with OrchestrationInProgress if another has the project by now."""
        if not await leases.renew(tx, self.project_id, self._holder, LEASE_SECONDS):
            raise OrchestrationInProgress(self.project_id)


@asynccontextmanager
async def taken(database: Database, project_id: str, decision_id: UUID) -> AsyncIterator[Lease]:
    """Take a project for a decision and let it go at the end; OrchestrationInProgress if somebody has it."""
    holder = uuid4()
    if not await leases.take(database, project_id, decision_id, holder, LEASE_SECONDS):
        raise OrchestrationInProgress(project_id)
    heartbeat = asyncio.create_task(_renew(database, project_id, holder))
    try:
        yield Lease(project_id, holder)
    finally:
        heartbeat.cancel()
        # Shielded: a caller that leaves must not leave the project taken.
        await asyncio.shield(_end(database, project_id, holder))


async def _renew(database: Database, project_id: str, holder: UUID) -> None:
    while True:
        await asyncio.sleep(LEASE_SECONDS / 3)
        with suppress(DsmError):
            async with database.write(keyed=False) as tx:
                await leases.renew(tx, project_id, holder, LEASE_SECONDS)


async def _end(database: Database, project_id: str, holder: UUID) -> None:
    # With the database away the lease ends by itself.
    with suppress(DsmError):
        await leases.end(database, project_id, holder)
