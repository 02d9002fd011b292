"""Fixtures of the chronicle's tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub

from services.kit.events.stream import Stream
from tests.harness import World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub


@pytest_asyncio.fixture(scope="module")
async def stub(world: World) -> ChronicleServiceAsyncStub:
    return ChronicleServiceStub(await world.channel("chronicle"))


@pytest_asyncio.fixture(scope="module")
async def stream(world: World) -> AsyncIterator[Stream]:
    """The event stream, as the services that publish on it have it."""
    made = Stream("chronicle-test", world.stack.nats.url)
    made.start()
    await made.wait_connected()
    for name in ("DSM_PROJECT", "DSM_BACKLOG", "DSM_SPRINT", "DSM_ORCHESTRATOR"):
        await made.ensure(name)
    yield made
    await made.close()
