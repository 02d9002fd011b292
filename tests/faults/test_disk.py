"""A disk that is full: nothing is answered OK that was not stored, and when there is space again everything heals."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import nats.errors
import pytest
import pytest_asyncio
from nats.js.api import StreamConfig

from services.cli.servers import Servers
from services.local.nats import NatsServer
from tests.faults.arena import only_full, seeded
from tests.faults.healing import Healing, healed
from tests.faults.history import History
from tests.faults.invariants import judge
from tests.faults.load import make_fault_stage, under_load
from tests.faults.machine import Machine, boot
from tests.harness import eventually

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)]

# What an empty machine takes, and room for some work.
DISK = "400m"
FULL_SECONDS = 6.0


@asynccontextmanager
async def _disk(folder: Path, size: str) -> AsyncIterator[Path]:
    """A small disk of its own."""
    disk = folder / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or await _fails("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)):
        pytest.skip("a small disk needs the right to mount a tmpfs")
    try:
        yield disk
    finally:
        await _fails("umount", "--lazy", str(disk))


@pytest_asyncio.fixture
async def small(tmp_path: Path) -> AsyncIterator[Machine]:
    """A machine on a disk of its own, which is small."""
    async with _disk(tmp_path, DISK) as disk:
        machine = boot(disk)
        yield machine
        await machine.close()


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


async def test_a_nats_whose_disk_was_full_is_started_again(tmp_path: Path) -> None:
    async with _disk(tmp_path, "30m") as disk:
        server = NatsServer.start(disk / "nats", 0, monitor_port=0, log_file=tmp_path / "nats.log")
        stream = StreamConfig(name="KEPT", subjects=["kept"])
        assert await _publish(server, stream) == 1
        ballast = await asyncio.to_thread(_fill, disk)
        assert await _publish(server) is None
        ballast.unlink()
        assert await _publish(server) is None, "it would have healed by itself"
        supervisor = Servers({}, server.url, "", None, server)
        await eventually(lambda: list(supervisor.heal()))
        assert await _publish(server) == 2
        assert not list(supervisor.heal())
        server.stop()


async def _publish(server: NatsServer, stream: StreamConfig | None = None) -> int | None:
    """Publish a message; its number, or None if the server does not say that it has it."""
    connection = await nats.connect(server.url)
    js = connection.jetstream(timeout=1)
    try:
        if stream:
            await js.add_stream(stream)
        return (await js.publish("kept", bytes(5000))).seq
    except nats.errors.TimeoutError:
        return None
    finally:
        await connection.close()
