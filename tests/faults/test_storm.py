"""Services, NATS and PostgreSQL die at random under a mixed load, and nothing is lost, doubled or disagreed on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import nats.errors
import pytest
from nats.js.errors import APIError

from services.cli.names import STATEFUL
from tests.faults.arena import FULL, count, only_full, seeded
from tests.faults.faults import (
    Fault,
    kill,
    nats_gone,
    nats_store_copied,
    nats_store_lost,
    nats_store_put_back,
    stop_postgres,
)
from tests.faults.healing import Healing, healed
from tests.faults.history import History
from tests.faults.invariants import Verdict, judge, read_streams
from tests.faults.load import FaultStage, make_fault_stage, under_load
from tests.faults.machine import Machine
from tests.faults.soak import APART, storm
from tests.harness import eventually
from tests.system.play.client import Command
from tests.system.play.commands import BACKLOG_COMMANDS, create_tasks

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]


async def _stage(machine: Machine, folder: Path, name: str) -> FaultStage:
    seed = seeded(name).randrange(10**6)
    return await make_fault_stage(machine, History(folder, name, seed), seed)


async def _struck(
    stage: FaultStage, faults: list[Fault], *, commands: dict[Command, int] | None = None, pause: float = 1.0
) -> Verdict:
    """Strike with some faults, one after the other has healed, under load; then judge."""
    healings: list[Healing] = []

    async def strike() -> None:
        await asyncio.sleep(pause)
        for fault in faults:
            await fault.strike(stage.machine)
            healings.append(await healed(stage.machine))
            stage.told.note("fault", name=fault.name, healed=str(healings[-1]))
            print(f"{stage.told.now:7.1f} s  {fault.name:<32} {healings[-1]}")
            await asyncio.sleep(pause)

    await under_load(stage, strike, seed=stage.told.seed, commands=commands)
    return await judge(stage, healings=healings)


async def test_random_kills_under_load_lose_nothing(machine: Machine, tmp_path: Path) -> None:
    stage = await _stage(machine, tmp_path, "storm")
    apart = APART if FULL else (3.0, 6.0)
    verdict = await storm(stage, stage.told.seed, count(120, 8), apart=apart)
    verdict.passed("random kills")


async def test_postgres_stopped_at_once_again_and_again_costs_unavailable(machine: Machine, tmp_path: Path) -> None:
    stage = await _stage(machine, tmp_path, "postgres")
    faults = [stop_postgres(), kill("postgres")] * 4
    verdict = await _struck(stage, faults[: count(8, 1)])
    verdict.passed("PostgreSQL stopped at once")
    assert {entry.code for entry in stage.told.entries} & {"UNAVAILABLE"}


@only_full
async def test_nats_killed_and_gone_leaves_writes_alone(machine: Machine, tmp_path: Path) -> None:
    stage = await _stage(machine, tmp_path, "nats")
    # What the sprint service publishes from outside needs NATS; everything else must not.
    verdict = await _struck(stage, [kill("nats")] * 5 + [nats_gone(30)], commands=BACKLOG_COMMANDS)
    verdict.passed("NATS killed and gone")
    assert {entry.outcome for entry in stage.told.entries} == {"ok", "failed"}


async def test_streams_that_were_deleted_are_made_again_and_filled(machine: Machine, tmp_path: Path) -> None:
    stage = await _stage(machine, tmp_path, "store")

    async def strike() -> None:
        await _published(machine, count(10_000, 400))
        await nats_store_lost().strike(machine)

    await _refilled(stage, strike, "NATS data directory deleted")


@pytest.mark.parametrize("messages_only", [False, pytest.param(True, marks=only_full)])
async def test_streams_that_come_back_older_than_they_were_are_filled(
    machine: Machine, tmp_path: Path, messages_only: bool
) -> None:
    stage = await _stage(machine, tmp_path, f"older-{messages_only}")
    copy = tmp_path / "nats"

    async def strike() -> None:
        for fault in (nats_store_copied(copy), nats_store_put_back(copy, messages_only=messages_only)):
            await _published(machine, await _count_published(machine) + count(2000, 150))
            await fault.strike(machine)
        await asyncio.sleep(1)

    await _refilled(stage, strike, "NATS older than it was")


async def _refilled(stage: FaultStage, strike: Callable[[], Awaitable[None]], name: str) -> None:
    """Strike at the streams under load, wait until they hold everything again, and judge."""
    # Reports from outside are in no outbox: what NATS loses of them is lost. In full, few calls create many tasks each.
    commands: dict[Command, int] = {create_tasks: 1} if FULL else BACKLOG_COMMANDS
    await under_load(stage, strike, seed=stage.told.seed, commands=commands)
    began = time.monotonic()
    # Until the relays have seen that their streams are others, nothing seems to be missing.
    await eventually(lambda: _filled(stage.machine), 60)
    await healed(stage.machine)
    healing = Healing(0, time.monotonic() - began)
    verdict = await judge(stage, healings=[healing])
    # What is published again is synced: in full, that takes what it takes.
    verdict.passed(name, least=0.1 if FULL else 1.0, settled=60 if FULL else 10)


async def _published(machine: Machine, events: int) -> None:
    """Wait until the backlog has published so many events."""

    async def enough() -> bool:
        return await _count_published(machine) >= events

    await eventually(enough, 600)


async def _count_published(machine: Machine) -> int:
    [row] = await machine.query("backlog", "SELECT count(*) AS n FROM outbox WHERE publish_time IS NOT NULL")
    return int(row["n"])


async def _filled(machine: Machine) -> bool:
    """Whether the streams hold all that was committed."""
    try:
        streams = await read_streams(machine)
    except (OSError, nats.errors.Error, APIError, TimeoutError):
        return False
    published = {event_id for messages in streams.values() for event_id, _ in messages}
    rows = [row for name in STATEFUL for row in await machine.query(name, "SELECT event_id::text AS id FROM outbox")]
    return published >= {row["id"] for row in rows}
