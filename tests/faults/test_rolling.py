"""A restart of every service in turn, under load, loses no call of a client that tries again."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from services.cli.names import SERVICES
from tests.faults.arena import count, seeded
from tests.faults.history import History
from tests.faults.invariants import judge
from tests.faults.load import make_fault_stage, under_load
from tests.faults.machine import Machine
from tests.harness import eventually

pytestmark = pytest.mark.slow

# What a client may be told meanwhile, with UNAVAILABLE; without a reason, the connection was refused or closed.
_TOLD = {"", "DRAINING", "DEPENDENCY_UNAVAILABLE"}


async def test_a_rolling_restart_loses_no_call_of_a_client_that_tries_again(machine: Machine, tmp_path: Path) -> None:
    seed = seeded("rolling").random()
    stage = await make_fault_stage(machine, History(tmp_path, "rolling", seed), seed)
    stage.patience = 1.0

    async def roll() -> None:
        for name in (SERVICES * 3)[: count(18, 3)]:
            await _restart(machine, name)

    await under_load(stage, roll, seed=seed)
    unanswered = [entries for entries in stage.told.by_request().values() if entries[-1].outcome == "unknown"]
    assert not unanswered
    doubtful = [entry for entry in stage.told.entries if entry.outcome == "unknown"]
    assert {(entry.code, entry.reason in _TOLD) for entry in doubtful} <= {("UNAVAILABLE", True)}, doubtful
    verdict = await judge(stage, resolve=False)
    # With one replica somebody is always away here, and most calls wait for him: few get through.
    verdict.passed("rolling restart", least=0.2)


async def _restart(machine: Machine, name: str) -> None:
    """Have a service end in peace and wait until another process takes its calls."""
    before = machine.processes()[name].pid

    def another() -> bool:
        process = machine.processes().get(name)
        return process is not None and process.pid != before

    machine.signal(name, signal.SIGTERM)
    await eventually(another, 30)
    await machine.ready(name)
