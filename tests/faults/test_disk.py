"""A disk that is full: nothing is answered OK that was not stored, and when there is space again everything heals."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.faults.arena import only_full, seeded
from tests.faults.history import History
from tests.faults.invariants import Healing, healed, judge
from tests.faults.load import make_fault_stage, under_load
from tests.faults.machine import Machine, boot

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)]

# What an empty machine takes, and room for some work.
DISK = "400m"
FULL_SECONDS = 6.0


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine on a disk of its own, which is small."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    command = [mount or "mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or not mount or await _fails(*command):
        pytest.skip("a small disk needs the right to mount a tmpfs")
    try:
        machine = boot(disk)
        yield machine
        await machine.close()
    finally:
        await _fails("umount", "--lazy", str(disk))


async def _fails(*command: str) -> bool:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    return await process.wait() != 0


def _fill(disk: Path) -> Path:
    """Leave no byte free; the file to be deleted later."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(bytes(1 << 16)):
                pass
        except OSError:
            return ballast
    return ballast


@only_full
async def test_a_full_disk_loses_nothing_that_was_answered(small: Machine, tmp_path: Path) -> None:
    seed = seeded("disk").randrange(10**6)
    stage = await make_fault_stage(small, History(tmp_path, "disk", seed), seed)
    healings: list[Healing] = []

    async def strike() -> None:
        await asyncio.sleep(2)
        ballast = await asyncio.to_thread(_fill, small.folder)
        stage.told.note("fault", name="disk full")
        # Whatever grows a file again finds no room, also what PostgreSQL or NATS free meanwhile.
        await asyncio.sleep(FULL_SECONDS)
        ballast.unlink()
        healings.append(await healed(small))

    await under_load(stage, strike, seed=seed)
    (await judge(stage, healings=healings)).passed("a full disk")
