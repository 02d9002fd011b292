"""What tests that call the whole contract need: something to call about, and a caller."""

from collections.abc import Iterator

import pytest
import pytest_asyncio

from tests.contract.calls import Caller, failures
from tests.contract.samples.scene import Scene, make_scene
from tests.harness import World


@pytest_asyncio.fixture(scope="module")
async def scene(world: World) -> Scene:
    """Projects, people, tasks, sprints and history, for samples to be about."""
    return await make_scene(world)


@pytest_asyncio.fixture(scope="module")
async def caller(world: World) -> Caller:
    """Calls any method."""
    return Caller(world)


@pytest.fixture(scope="module")
def nothing_fails_inside() -> Iterator[None]:
    """A caller that gave up does not see how its call ended; the servers count it."""
    before = failures()
    yield
    assert failures() == before
