"""Fixtures of the sprint service's tests."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest_asyncio

from services.local.stack import Stack
from tests.harness import World, make_world


@pytest_asyncio.fixture
async def own_world(stack: Stack, world: World) -> AsyncIterator[World]:
    """A world of the test's own, in which flows that broke off are soon taken over; the databases are shared."""
    # The shared world's own sprint service must not take the flows over first.
    await world.stop("sprint")
    async with AsyncExitStack() as exits:
        yield await make_world(stack, exits, DSM_SAGA_LEASE_SECONDS="1", DSM_BREAKER_RESET_SECONDS="0.2")
