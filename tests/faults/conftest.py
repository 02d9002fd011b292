"""Fixtures of the fault tests."""

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from services.local.stack import Stack, running
from tests.faults.machine import Machine, boot


@pytest.fixture(scope="session")
def fault_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers apart from those of other tests: what is broken here must break nobody else. Not synced to disk."""
    with running(tmp_path_factory.mktemp("faults"), durable=False, postgres_port=0, nats_port=0) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Machine]:
    """`dsm up --processes`, synced to disk; every test leaves it whole."""
    machine = boot(tmp_path_factory.mktemp("machine"))
    yield machine
    await machine.close()
