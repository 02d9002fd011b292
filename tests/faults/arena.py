"""DSM's services in processes of their own that may be armed, broken and killed; servers that do not sync."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest

from services.kit.data.migrate import upgrade
from services.local.process import choose_port, spawn
from services.local.stack import Stack
from tests.faults.machine import CHANNEL_OPTIONS, is_serving
from tests.harness import STATEFUL, World
from tests.processes import clean_environ

FULL = os.environ.get("DSM_FAULTS") == "full"
only_full = pytest.mark.skipif(not FULL, reason="only in `make test-faults`")
# Tries before an event becomes a dead letter.
DELIVERIES = 5 if FULL else 3
READY_SECONDS = 60.0
_ROOT = Path(__file__).parents[2]


def count(full: int, short: int) -> int:
    """How many of something: the number of FAULTS.md, or fewer in the short set."""
    return full if FULL else short


def seeded(name: str) -> random.Random:
    """The randomness of one test; DSM_FAULTS_SEED makes a run again."""
    seed = os.environ.get("DSM_FAULTS_SEED") or str(random.SystemRandom().randrange(10**9))
    print(f"{name}: DSM_FAULTS_SEED={seed}")
    return random.Random(f"{seed} {name}")


class Arena(World):
    """A world in which each service is a process. What starts from now on lacks the protections named in `without`."""

    def __init__(self, stack: Stack, **settings: str) -> None:
        super().__init__(stack, **settings)
        self.without = ""
        self.processes: list[Process] = []
        self._prepared: set[str] = set()
        # Alembic does one thing at a time in a process.
        self._preparing = asyncio.Lock()
        self._at: dict[str, Process] = {}

    async def start(self, *names: str) -> None:
        """Start those services that do not run."""
        async with self._starting:
            await asyncio.gather(*(self.launch(name) for name in names if not self.runs(name)))

    async def launch(
        self, name: str, *, failpoints: str = "", beside: bool = False, clock: Path | None = None, **settings: str
    ) -> Process:
        """Start a process of a service, `beside` the one that runs or in its place; returns when it takes calls.

        `clock` is a file that tells it what time it is.
        """
        await self._prepare(name)
        port = choose_port(0, 0) if beside else self._ports[name]
        environ = clean_environ()
        environ |= {"PYTHONPATH": str(_ROOT), "DSM_PORT": str(port), "DSM_METRICS_PORT": "-1"}
        environ |= {"DSM_GRACE_SECONDS": "1", "DSM_FAILPOINTS": failpoints} | self.environ(name) | settings
        command = [sys.executable, "-m", "tests.faults.serve", name, "--without", self.without]
        command += ["--clock", str(clock)] if clock else []
        log = self.stack.folder / f"{name}-{len(self.processes)}.log"
        process = Process(
            f"127.0.0.1:{port}", spawn(command, log_file=log, on_parent_death=signal.SIGKILL, env=environ), log
        )
        self.processes.append(process)
        if not beside:
            self._at[name] = process
        await process.ready()
        return process

    async def _prepare(self, name: str) -> None:
        """Make a service's database, once."""
        async with self._preparing:
            if name in STATEFUL and name not in self._prepared:
                self._prepared.add(name)
                self.stack.postgres.ensure_database(f"dsm_{name}")
                await asyncio.to_thread(upgrade, name, self.stack.postgres.url(f"dsm_{name}"))

    def runs(self, name: str) -> bool:
        """Whether there is a process of a service."""
        return name in self._at and self._at[name].running

    async def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to a service, which is started if need be."""
        await self.start(name)
        if name not in self._channels:
            self._channels[name] = grpc.aio.insecure_channel(self.address(name), options=CHANNEL_OPTIONS)
        return self._channels[name]

    def of(self, name: str) -> Process:
        """The process that serves a service."""
        return self._at[name]

    async def stop(self, *names: str) -> None:
        """kill -9 of the processes of some services; by default of all."""
        for process in [self._at[name] for name in names if name in self._at] if names else self.processes:
            await process.kill()

    async def dying(self, name: str, lives: Sequence[str]) -> int:
        """Start a service again whenever it dies, each time with the next of some failpoints; the number of deaths.

        The last life has no failpoints. Returns when the last but one has ended.
        """
        for failpoints in [*lives, ""]:
            process = await self.launch(name, failpoints=failpoints)
            if failpoints:
                await process.died()
        return len(lives)


class Process:
    """One process of some services."""

    def __init__(self, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.address = address
        self.process = process
        self.log = log
        self.channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self.process.poll() is None

    async def ready(self) -> None:
        """Wait until it takes calls, or has died of a failpoint."""
        deadline = asyncio.get_running_loop().time() + READY_SECONDS
        while self.running and not await is_serving(self.address):
            assert asyncio.get_running_loop().time() < deadline, f"not ready: {self.words()}"
            await asyncio.sleep(0.05)
        assert self.process.poll() in (None, -signal.SIGKILL), f"it did not start: {self.words()}"

    async def died(self, seconds: float = 60.0) -> None:
        """Wait until it has been killed by a failpoint."""
        code = await asyncio.to_thread(self.process.wait, seconds)
        assert code == -signal.SIGKILL, f"it ended by itself ({code}): {self.words()}"

    async def kill(self) -> None:
        """kill -9."""
        if self.running:
            self.process.kill()
        await asyncio.to_thread(self.process.wait)
        await self.channel.close()

    def words(self) -> str:
        """Its last words."""
        return self.log.read_text(errors="replace")[-3000:] if self.log.exists() else ""
