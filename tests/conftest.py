"""Fixtures: a PostgreSQL, a NATS and a world of services for each module of tests, so that none meets others' data."""

import os
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import hypothesis
import pytest
import pytest_asyncio

from services.kit.server import Server
from services.kit.telemetry import log
from services.local.stack import Stack, running
from tests.harness import World, make_world

# The same examples each time, so that a change is judged by itself; other ones by --hypothesis-profile=default.
# No deadline for one of them: a busy machine is no fault.
hypothesis.settings.register_profile("steady", derandomize=True, deadline=None)
hypothesis.settings.load_profile("steady")

# Far from UTC, and with a date line that bites: code that leans on the machine's zone fails here.
os.environ["TZ"] = "Pacific/Auckland"
time.tzset()


@pytest.fixture(scope="session", autouse=True)
def _quiet_log() -> None:
    log.configure("WARNING", "console")


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Real PostgreSQL and NATS, on free ports, without syncing to disk."""
    folder: Path = tmp_path_factory.mktemp("stack")
    with running(folder, durable=False, postgres_port=0, nats_port=0) as started:
        yield started
    shutil.rmtree(folder)  # The run would else keep some 100 MB of each module.


@pytest_asyncio.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """All of DSM's services, each started when first asked for."""
    async with AsyncExitStack() as exits:
        yield await make_world(stack, exits)


@pytest_asyncio.fixture(scope="module")
async def whole(world: World) -> AsyncIterator[Server]:
    """Every service behind one port, as `dsm up` runs them."""
    server = await world.start_whole()
    yield server
    await server.stop()
