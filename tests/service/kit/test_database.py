"""Database, on real servers."""

import asyncio
import contextlib

import psycopg
import pytest
from psycopg.rows import scalar_row

from services.kit.data.database import Database
from services.kit.operations.connections import too_many
from services.kit.server import Server, ServerError
from services.kit.service import StatefulService
from services.kit.settings import ProcessSettings, StatefulSettings
from services.local.process import choose_port
from services.local.stack import Stack
from tests.service.kit.small_service import INSERT, payload_of


async def test_state_and_events_are_there_together_or_not_at_all(database: Database) -> None:
    async def write_half() -> None:
        async with database.write() as tx:
            await tx.execute(INSERT, {"id": "HALF"})
            tx.emit(payload_of("HALF"), aggregate=("project", "HALF"), version=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_half()
    assert await database.read.value("SELECT count(*) FROM thing WHERE id = 'HALF'") == 0
    assert await database.read.value("SELECT count(*) FROM outbox WHERE aggregate_id = 'HALF'") == 0


async def test_a_change_that_changes_nothing_emits_nothing(database: Database) -> None:
    event = database.event(payload_of("NONE"), aggregate=("project", "NONE"), version=2)
    sql = "UPDATE thing SET version = 2 WHERE id = 'NONE' RETURNING version"
    assert await database.change(sql, {}, row=scalar_row, events=[event]) == []
    assert await database.read.value("SELECT count(*) FROM outbox WHERE aggregate_id = 'NONE'") == 0


async def test_a_cancelled_write_leaves_no_transaction_behind(database: Database) -> None:
    async def write() -> None:
        async with database.write() as tx:
            await tx.execute(INSERT, {"id": "CANCELLED"})
            await tx.execute("SELECT pg_sleep(30)")

    tasks = [asyncio.create_task(write()) for _ in range(3)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await database.read.value("SELECT count(*) FROM thing WHERE id = 'CANCELLED'") == 0
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'kit_test' AND state LIKE 'idle in%'"
    assert await database.read.value(idle) == 0


async def test_a_write_cancelled_twice_gives_back_a_sound_connection(database: Database) -> None:
    """A call's own deadline cancels it, and then gRPC does, while the rollback of the first is on its way."""

    async def write(entered: asyncio.Event) -> None:
        async with database.write(keyed=False) as tx:
            await tx.value("SELECT 1")
            entered.set()
            await asyncio.sleep(30)

    before = database.pool.get_stats().get("returns_bad", 0)
    for steps in range(1, 9):
        entered = asyncio.Event()
        task = asyncio.create_task(write(entered))
        await entered.wait()
        task.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
    # The pool closes what comes back in the middle of something, under the hands of whoever is at it.
    assert database.pool.get_stats().get("returns_bad", 0) == before


async def test_a_restarted_database_costs_reads_nothing(stack: Stack) -> None:
    stack.postgres.ensure_database("kit_restart")
    database = Database("project", stack.postgres.url("kit_restart"), pool_size=4)
    await database.open()
    await asyncio.gather(*(database.read.value("SELECT pg_sleep(0.05)") for _ in range(4)))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kit_restart'"
    async with await psycopg.AsyncConnection.connect(stack.postgres.url("postgres"), autocommit=True) as other:
        await other.execute(kill)
    assert await database.read.value("SELECT 1") == 1
    async with database.write(keyed=False) as tx:
        assert await tx.value("SELECT 2") == 2
    await database.close()


async def test_pools_that_do_not_fit_stop_the_start(stack: Stack) -> None:
    def service(name: str, url: str) -> StatefulService:
        settings = StatefulSettings(database_url=url, nats_url=stack.nats.url, pool_size=70)
        return StatefulService(name, settings)

    url = stack.postgres.url("postgres")
    one, other = service("project", url), service("backlog", url)
    assert await too_many([one.database]) is None
    nobody = service("sprint", f"postgresql://127.0.0.1:{choose_port(0, 0)}/dsm_sprint")
    assert await too_many([nobody.database, nobody.database]) is None, "one that does not answer stops no start"
    server = Server([one, other], ProcessSettings(port=0, metrics_port=-1))
    with pytest.raises(ServerError):
        await server.start()
