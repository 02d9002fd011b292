"""Watching a service's outbox, against real PostgreSQL: nothing missed, nothing twice, in order."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from itertools import count

import psycopg
import pytest
from dsm.events.v1 import project_events_pb2
from dsm.sprint.v1.sprint_service_pb2 import WatchSprintRequest

from services.kit.clock import utc_now
from services.kit.data import tables
from services.kit.data.database import Database, WriteHandle
from services.kit.errors import PageTokenInvalid
from services.kit.serving import watch
from services.kit.serving.admission import Draining
from services.kit.serving.watch import Change, Watch, Watcher
from services.local.stack import Stack
from tests.harness import eventually

PROJECT = "WATCHED"
_numbers = count(1)


class Here:
    """A database of its own, with a reader as one process has it."""

    def __init__(self, database: Database, reader: Watch) -> None:
        self.database = database
        self.watch = reader

    async def commit(self, version: int, project_id: str = PROJECT, aggregate_id: str = "T1") -> None:
        async with self.database.write() as tx:
            emit(tx, version, project_id, aggregate_id)

    async def commit_many(self, versions: range) -> None:
        async with self.database.write() as tx:
            for version in versions:
                emit(tx, version)

    async def seen(self, token: str = "", project_id: str = PROJECT) -> list[int]:
        """The versions of what is there now."""
        async with self.watch.open(request(token), project_id, follow=False) as watcher:
            return [change.event.aggregate_version async for change in watcher]


def emit(tx: WriteHandle, version: int, project_id: str = PROJECT, aggregate_id: str = "T1") -> None:
    payload = project_events_pb2.ProjectCreated()
    tx.emit(payload, aggregate=("task", aggregate_id), version=version, project_id=project_id)


def request(token: str = "", sprint_id: str = "WATCHED-S01") -> WatchSprintRequest:
    return WatchSprintRequest(sprint_id=sprint_id, resume_token=token)


@asynccontextmanager
async def replica(url: str) -> AsyncIterator[Here]:
    """One process with this database."""
    database = Database("project", url, pool_size=8, pool_timeout=5)
    await database.open()
    reader = Watch(database, retention_hours=1)
    running = asyncio.create_task(reader.run())
    yield Here(database, reader)
    running.cancel()
    await database.close()


@pytest.fixture
async def url(stack: Stack) -> str:
    name = f"kit_watch_{next(_numbers)}"
    stack.postgres.ensure_database(name)
    found: str = stack.postgres.url(name)
    async with await psycopg.AsyncConnection.connect(found, autocommit=True) as connection:
        await connection.execute(tables.CONSUMING + "CREATE TABLE thing (id text PRIMARY KEY, version bigint)")
        await connection.execute("INSERT INTO thing VALUES ('T1', 0), ('T2', 0)")
    return found


@pytest.fixture
async def here(url: str) -> AsyncIterator[Here]:
    async with replica(url) as made:
        yield made


async def take(watcher: Watcher, number: int) -> list[Change]:
    """The next changes; fails if they do not come."""
    found: list[Change] = []
    async with asyncio.timeout(10):
        async for change in watcher:
            found.append(change)
            if len(found) == number:
                return found
    raise AssertionError(f"the stream ended after {len(found)}")


def versions(changes: list[Change]) -> list[int]:
    return [change.event.aggregate_version for change in changes]


async def test_what_is_committed_from_now_on_comes_in_order(here: Here) -> None:
    await here.commit(1)
    async with here.watch.open(request(), PROJECT) as watcher:
        await here.commit(2)
        await here.commit(9, project_id="ANOTHER")
        await here.commit(3)
        assert versions(await take(watcher, 2)) == [2, 3]


async def test_a_client_goes_on_where_it_left_off(here: Here) -> None:
    async with here.watch.open(request(), PROJECT) as watcher:
        ((header, begin),) = watcher.metadata
        await here.commit_many(range(1, 6))
        changes = await take(watcher, 5)
    assert header == "dsm-resume-token"
    assert await here.seen(begin) == [1, 2, 3, 4, 5]
    assert await here.seen(watcher.token(changes[2])) == [4, 5]
    assert await here.seen(watcher.token(changes[-1])) == []
    assert await here.seen() == []


async def test_a_transaction_that_commits_late_is_not_lost(here: Here, url: str) -> None:
    """The later position is committed first; a cursor after it would never see the earlier one."""
    async with here.watch.open(request(), PROJECT) as watcher, AsyncExitStack() as late:
        slow = await late.enter_async_context(here.database.write())
        emit(slow, 1)
        await slow.flush()
        slow.events.clear()
        await here.commit(2, aggregate_id="T2")
        taking = asyncio.create_task(take(watcher, 2))
        done, _ = await asyncio.wait([taking], timeout=0.6)
        assert not done
        await late.aclose()
        assert versions(await taking) == [1, 2]


async def test_what_is_rolled_back_never_comes_and_holds_nobody_up(here: Here) -> None:
    async with here.watch.open(request(), PROJECT) as watcher:
        with suppress(ZeroDivisionError):
            async with here.database.write() as tx:
                emit(tx, 1)
                await tx.flush()
                raise ZeroDivisionError
        await here.commit(2)
        assert versions(await take(watcher, 1)) == [2]


async def test_a_transaction_that_writes_no_events_holds_nobody_up(here: Here) -> None:
    async with here.watch.open(request(), PROJECT) as watcher, here.database.write() as idle:
        await idle.execute("UPDATE thing SET version = 1 WHERE id = 'T2'")
        await here.commit(1)
        assert versions(await take(watcher, 1)) == [1]


async def test_the_versions_of_a_thing_come_in_order_whoever_began_first(here: Here) -> None:
    """A transaction that has its id first, and then waits for the row, commits the later version."""
    lock = "SELECT version FROM thing WHERE id = 'T1' FOR UPDATE"
    async with here.watch.open(request(), PROJECT) as watcher:
        async with here.database.write() as early:
            await early.execute("UPDATE thing SET version = 5 WHERE id = 'T2'")
            async with here.database.write() as other:
                await other.value(lock)
                emit(other, 1)
                waiting = asyncio.create_task(early.value(lock))
                await asyncio.wait([waiting], timeout=0.2)
            await waiting
            emit(early, 2)
        assert versions(await take(watcher, 2)) == [1, 2]


async def test_commits_of_another_replica_come_too(here: Here, url: str) -> None:
    async with replica(url) as other, here.watch.open(request(), PROJECT) as watcher:
        await other.commit(1)
        [change] = await take(watcher, 1)
        # And a token is good at any of them.
        await here.commit(2)
        assert await other.seen(watcher.token(change)) == [2]


async def test_a_slow_client_misses_nothing_keeps_nothing_and_holds_nobody_up(here: Here) -> None:
    number = 3 * watch.RECENT
    async with here.watch.open(request(), PROJECT) as slow, here.watch.open(request(), PROJECT) as quick:
        first = aiter(slow)
        await here.commit(1)
        assert (await anext(first)).event.aggregate_version == 1
        for begin in range(2, number, 100):
            await here.commit_many(range(begin, min(begin + 100, number + 1)))
        assert versions(await take(quick, number)) == list(range(1, number + 1))
        [channel] = here.watch._channels.values()
        assert len(channel.recent) <= watch.RECENT
        rest = [(await anext(first)).event.aggregate_version for _ in range(number - 1)]
        assert rest == list(range(2, number + 1))


async def test_many_watchers_share_one_reader(here: Here) -> None:
    async with AsyncExitStack() as exits:
        watchers = [await exits.enter_async_context(here.watch.open(request(), PROJECT)) for _ in range(100)]
        takers = [asyncio.create_task(take(watcher, 20)) for watcher in watchers]
        for version in range(1, 21):
            await here.commit(version)
        for taken in await asyncio.gather(*takers):
            assert versions(taken) == list(range(1, 21))


async def test_nobody_watching_costs_no_query(here: Here) -> None:
    async with here.watch.open(request(), PROJECT):
        pass
    await eventually(lambda: here.watch._frontier is None)
    assert not here.watch._channels


@pytest.mark.parametrize("seed", range(3))
async def test_writers_and_clients_that_come_and_go(here: Here, url: str, seed: int) -> None:
    """Writers of two replicas, some undone, some slow; a client is cut off at random and comes back to either."""
    rng = random.Random(seed)
    writers, each = 6, 25

    async def write(at: Here, name: str) -> None:
        for version in range(1, each + 1):
            with suppress(ZeroDivisionError):
                async with at.database.write() as tx:
                    emit(tx, version, aggregate_id=name)
                    await tx.flush()
                    tx.events.clear()
                    await asyncio.sleep(rng.uniform(0, 0.01))
                    if rng.random() < 0.1:
                        raise ZeroDivisionError
            at.watch._wake.set()

    async with replica(url) as other:
        replicas = [here, other]
        async with here.watch.open(request(), PROJECT) as watcher:
            token = watcher.metadata[0][1]
        writing = [asyncio.create_task(write(replicas[n % 2], f"W{n}")) for n in range(writers)]
        seen: list[int] = []
        while not all(task.done() for task in writing):
            async with rng.choice(replicas).watch.open(request(token), PROJECT) as watcher:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rng.uniform(0.01, 0.2)):
                        async for change in watcher:
                            seen.append(change.position)
                            token = watcher.token(change)
        await asyncio.gather(*writing)
        async with here.watch.open(request(token), PROJECT, follow=False) as watcher:
            seen += [change.position async for change in watcher]
    rows = await here.database.read.rows("SELECT position FROM outbox ORDER BY position")
    assert seen == [row["position"] for row in rows]


async def test_tokens_that_are_not_good_are_refused(here: Here) -> None:
    await here.commit(1)
    async with here.watch.open(request(), PROJECT) as watcher:
        await here.commit(2)
        [change] = await take(watcher, 1)
        good = watcher.token(change)
    old = Watch(here.database, retention_hours=1, clock=lambda: utc_now() + timedelta(hours=1))
    ahead = Change(change.position + 1000, change.second, change.event)
    for asked, reader in (
        (request("nonsense"), here.watch),
        (request(good[:-3] + "AAA"), here.watch),
        (request(good, sprint_id="OTHER-S01"), here.watch),
        (request(watcher.token(ahead)), here.watch),
        (request(good), old),
    ):
        with pytest.raises(PageTokenInvalid):
            async with reader.open(asked, PROJECT):
                pass


async def test_watchers_are_sent_away_when_the_server_stops(here: Here) -> None:
    async with here.watch.open(request(), PROJECT) as watcher:
        taking = asyncio.create_task(take(watcher, 1))
        await asyncio.wait([taking], timeout=0.1)
        here.watch.end()
        with pytest.raises(Draining):
            await taking
        with pytest.raises(Draining):
            async with here.watch.open(request(), PROJECT):
                pass
