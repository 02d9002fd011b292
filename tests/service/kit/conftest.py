"""Fixtures of the kit's tests: a database, a stream and a small service."""

from collections.abc import AsyncIterator

import pytest_asyncio

from services.kit.data.database import Database
from services.kit.events.stream import Stream
from services.local.stack import Stack
from tests.service.kit.small_service import Running, make_database, serve


@pytest_asyncio.fixture(scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    made = await make_database(stack, "kit_test")
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module")
async def stream(stack: Stack) -> AsyncIterator[Stream]:
    made = Stream("kit-test", stack.nats.url)
    made.start()
    await made.wait_connected()
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module")
async def running(database: Database) -> AsyncIterator[Running]:
    made = await serve(database)
    yield made
    await made.channel.close()
    await made.server.stop()
