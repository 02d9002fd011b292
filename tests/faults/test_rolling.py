"""A restart of every service in turn, under load, loses no call of a client that tries again."""

from __future__ import annotations

import asyncio
import itertools
import signal
from pathlib import Path

import pytest

from services.cli.names import SERVICES
from tests.faults.arena import count, only_full, seeded
from tests.faults.fleet import PROCESSES, fleet_of
from tests.faults.history import History
from tests.faults.invariants import judge
from tests.faults.load import make_fault_stage, under_load
from tests.faults.machine import Machine
from tests.harness import eventually

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]

# What a client may be told meanwhile; without a reason, the connection was refused or closed. CANCELLED is what gRPC
# itself says of a call that reaches a server in the moment in which it closes.
# DATABASE_UNAVAILABLE: of a process that has only just started, and not heard of its database yet.
_REASONS = ("", "DRAINING", "DEPENDENCY_UNAVAILABLE", "DATABASE_UNAVAILABLE")
_TOLD = {("UNAVAILABLE", reason) for reason in _REASONS} | {("CANCELLED", "")}
# How long the speed of two replicas that nothing happens to is measured.
CALM_SECONDS = 15.0


async def test_a_rolling_restart_loses_no_call_of_a_client_that_tries_again(machine: Machine, tmp_path: Path) -> None:
    seed = seeded("rolling").random()
    stage = await make_fault_stage(machine, History(tmp_path, "rolling", seed), seed)
    stage.patience = 1.0

    async def roll() -> None:
        for name in (SERVICES * 3)[: count(18, 3)]:
            await _restart(machine, name)

    await under_load(stage, roll, seed=seed)
    _check_answered(stage.told)
    verdict = await judge(stage, resolve=False)
    # With one replica somebody is always away here, and most calls wait for him: few get through.
    verdict.passed("rolling restart", least=0.2)


@only_full
async def test_two_replicas_restarted_in_turn_lose_no_call_and_little_speed(machine: Machine, tmp_path: Path) -> None:
    seed = seeded("rolling-replicas").random()
    async with fleet_of(machine) as fleet:
        stage = await make_fault_stage(fleet, History(tmp_path, "rolling-replicas", seed), seed)
        stage.patience = 1.0
        told, moments = stage.told, []

        async def roll() -> None:
            moments.append(told.now)
            await asyncio.sleep(CALM_SECONDS)
            moments.append(told.now)
            for name, number in itertools.product(SERVICES, range(PROCESSES)):
                await fleet.restart(name, number, signal.SIGTERM)
            moments.append(told.now)

        await under_load(stage, roll, seed=seed)
        (await judge(stage, resolve=False)).passed("rolling restart of two replicas")
    _check_answered(told)
    usual, meanwhile = (told.rate(*between) for between in itertools.pairwise(moments))
    print(f"rolling restart of two replicas: {meanwhile:.1f} acknowledged/s, undisturbed {usual:.1f}")
    assert meanwhile >= usual / 3


def _check_answered(told: History) -> None:
    """Every command was answered in the end, and until then told only what a client may try again on."""
    assert not [entries for entries in told.by_request().values() if entries[-1].outcome == "unknown"]
    doubtful = [entry for entry in told.entries if entry.outcome == "unknown"]
    assert {(entry.code, entry.reason) for entry in doubtful} <= _TOLD, doubtful


async def _restart(machine: Machine, name: str) -> None:
    """Have a service end in peace and wait until another process takes its calls."""
    before = machine.processes()[name].pid

    def another() -> bool:
        process = machine.processes().get(name)
        return process is not None and process.pid != before

    machine.signal(name, signal.SIGTERM)
    await eventually(another, 30)
    await machine.ready(name)
