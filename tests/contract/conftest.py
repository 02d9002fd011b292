"""What tests that call the whole contract need: something to call about, and a caller."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from services.local.stack import Stack, running
from tests.contract.calls import Caller, failures
from tests.contract.samples.scene import Scene, make_scene
from tests.harness import World, make_world


@pytest.fixture(scope="package")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers apart: the odd things made here by the thousand would be history and company to other tests' teams."""
    with running(tmp_path_factory.mktemp("contract"), durable=False, postgres_port=0, nats_port=0) as started:
        yield started


@pytest_asyncio.fixture(scope="package")
async def world(stack: Stack) -> AsyncIterator[World]:
    """All of DSM's services on them."""
    async with AsyncExitStack() as exits:
        yield await make_world(stack, exits)


@pytest_asyncio.fixture(scope="package")
async def scene(world: World) -> Scene:
    """Projects, people, tasks, sprints and history, for samples to be about."""
    return await make_scene(world)


@pytest_asyncio.fixture(scope="package")
async def caller(world: World) -> Caller:
    """Calls any method."""
    return Caller(world)


@pytest.fixture(scope="module")
def nothing_fails_inside() -> Iterator[None]:
    """A caller that gave up does not see how its call ended; the servers count it."""
    before = failures()
    yield
    assert failures() == before
