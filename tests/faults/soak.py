"""Random faults under a mixed load for some minutes: `make soak MINUTES=10 SEED=7`.

Prints a line for each fault and in the end the table; ends with 1 if anything was lost, doubled or disagreed on, if a
fault took more than ten seconds to heal, or if too little was acknowledged for the run to mean anything.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from tests.faults.faults import any_fault
from tests.faults.healing import Healing, healed
from tests.faults.history import History
from tests.faults.invariants import Verdict, judge
from tests.faults.load import FaultStage, make_fault_stage, under_load
from tests.faults.machine import Machine, boot

# Seconds from one fault to the next.
APART = (5.0, 40.0)
CLIENTS = 4


async def storm(
    stage: FaultStage, seed: object, seconds: float, *, apart: tuple[float, float] = APART, clients: int = CLIENTS
) -> Verdict:
    """Strike with random faults under load for so long, then judge."""
    rng, machine = Random(f"{seed}:faults"), stage.machine
    healings: list[Healing] = []

    async def strike() -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            pause, fault = rng.uniform(*apart), any_fault(rng)
            struck = time.monotonic()
            await fault.strike(machine)
            healings.append(await healed(machine))
            stage.told.note("fault", name=fault.name, healed=str(healings[-1]))
            acknowledged = stage.told.count("ok")
            print(f"{stage.told.now:7.1f} s  {fault.name:<32} {healings[-1]}, {acknowledged} ok")
            await asyncio.sleep(max(0.0, min(until, struck + pause) - time.monotonic()))

    await under_load(stage, strike, seed=seed, clients=clients)
    return await judge(stage, healings=healings)


async def _soak(machine: Machine, folder: Path, seed: int, minutes: float) -> bool:
    try:
        stage = await make_fault_stage(machine, History(folder, f"soak-{seed}", seed), seed)
        verdict = await storm(stage, seed, minutes * 60)
    finally:
        await machine.close()
    try:
        verdict.passed(f"soak of {minutes:g} minutes")
    except AssertionError:
        return False
    return True


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=None)
    arguments = parser.parse_args()
    seed = Random().randrange(10**6) if arguments.seed is None else arguments.seed
    folder = Path(tempfile.mkdtemp(prefix="dsm-soak-"))
    print(f"seed {seed}, histories and logs in {folder}", flush=True)
    passed = asyncio.run(_soak(boot(folder), folder, seed, arguments.minutes))
    print("passed" if passed else "FAILED")
    sys.exit(not passed)


if __name__ == "__main__":
    main()
