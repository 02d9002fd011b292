"""Fixtures of the orchestrator's tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from services.local.stack import Stack
from tests.harness import World, make_world
from tests.service.orchestrator.orchestrations import Dsm, dsm_of


@pytest_asyncio.fixture(scope="module")
async def dsm(world: World) -> Dsm:
    return await dsm_of(world)


@pytest_asyncio.fixture
async def own_world(stack: Stack) -> AsyncIterator[World]:
    """A world of the test's own, in which services may be missing; the databases are shared."""
    async with AsyncExitStack() as exits:
        yield await make_world(stack, exits, DSM_CALL_TIMEOUT_SECONDS="2", DSM_EMBED_TIMEOUT_SECONDS="1")
