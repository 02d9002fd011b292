"""Fixtures of the fault tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from services.local.stack import Stack, running
from tests.faults.arena import DELIVERIES, Arena
from tests.faults.machine import Machine, boot


@pytest.fixture(scope="session")
def fault_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers apart from those of other tests: what is broken here must break nobody else. Not synced to disk."""
    with running(tmp_path_factory.mktemp("faults"), durable=False, postgres_port=0, nats_port=0) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def arena(fault_stack: Stack) -> AsyncIterator[Arena]:
    """Services in processes, each started by whoever needs it.

    Batches are small, so that what dies has done some of its work; JetStream forgets ids at once; leases end soon.
    """
    arena = Arena(
        fault_stack,
        DSM_CONSUMER_BATCH="20",
        DSM_DUPLICATE_WINDOW_SECONDS="1",
        DSM_MAX_DELIVERIES=str(DELIVERIES),
        DSM_SAGA_LEASE_SECONDS="2",
    )
    yield arena
    await arena.close()


@pytest_asyncio.fixture(scope="session")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    """`dsm up --processes`, synced to disk; every test leaves it whole."""
    machine = boot(tmp_path_factory.mktemp("machine"))
    yield machine
    await machine.close()
