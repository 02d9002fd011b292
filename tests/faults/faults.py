"""Faults: each breaks a part of a machine and returns when the fault itself is over, not the healing."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from services.cli.names import SERVICES
from tests.faults.machine import Machine

# How long a process hangs that is stopped and goes on; and how long it is dead that nobody may start at once.
_PAUSE_SECONDS = (0.5, 4.0)


@dataclass(frozen=True)
class Fault:
    """A fault that has been chosen: what it is called, and what it does."""

    name: str
    strike: Callable[[Machine], Awaitable[None]]


def kill(name: str) -> Fault:
    """kill -9 of a service, of "postgres" (its postmaster) or of "nats"."""

    async def strike(machine: Machine) -> None:
        machine.signal(name, signal.SIGKILL)

    return Fault(f"kill -9 {name}", strike)


def stop_postgres() -> Fault:
    """PostgreSQL drops everything at once, as if it had crashed."""

    async def strike(machine: Machine) -> None:
        machine.signal("postgres", signal.SIGQUIT)

    return Fault("stop postgres at once", strike)


def pause(name: str, seconds: float) -> Fault:
    """A process hangs for a while and goes on where it was."""

    async def strike(machine: Machine) -> None:
        if machine.signal(name, signal.SIGSTOP):
            await asyncio.sleep(seconds)
            machine.signal(name, signal.SIGCONT)

    return Fault(f"pause {name} for {seconds:.1f} s", strike)


def nats_gone(seconds: float) -> Fault:
    """NATS is dead for a while."""

    async def strike(machine: Machine) -> None:
        with machine.unsupervised():
            machine.signal("nats", signal.SIGKILL)
            await asyncio.sleep(seconds)

    return Fault(f"nats gone for {seconds:.1f} s", strike)


def nats_store_lost() -> Fault:
    """NATS dies, and with it everything that it kept."""

    async def strike(machine: Machine) -> None:
        with machine.unsupervised():
            machine.signal("nats", signal.SIGKILL)
            shutil.rmtree(machine.folder / "nats" / "jetstream")

    return Fault("nats data directory deleted", strike)


def nats_store_copied(copy: Path) -> Fault:
    """NATS dies; what it keeps is copied before it is started again."""

    async def strike(machine: Machine) -> None:
        with machine.unsupervised():
            machine.signal("nats", signal.SIGKILL)
            shutil.copytree(machine.folder / "nats" / "jetstream", copy)

    return Fault("nats data directory copied", strike)


def nats_store_put_back(copy: Path, *, messages_only: bool) -> Fault:
    """NATS dies and comes back as it was when it was copied.

    With `messages_only` it still knows what its consumers were given: not everything was synced when the power went.
    """

    async def strike(machine: Machine) -> None:
        store = machine.folder / "nats" / "jetstream"
        with machine.unsupervised():
            machine.signal("nats", signal.SIGKILL)
            for old in _message_folders(copy) if messages_only else [copy]:
                now = store / old.relative_to(copy)
                shutil.rmtree(now)
                shutil.copytree(old, now)

    return Fault("nats data directory put back", strike)


def _message_folders(store: Path) -> list[Path]:
    return list(store.glob("*/streams/*/msgs"))


def any_fault(rng: Random) -> Fault:
    """One of the faults that happen in the life of a machine: mostly a service that dies."""
    roll = rng.random()
    if roll < 0.6:
        return kill(rng.choice(SERVICES))
    if roll < 0.72:
        return pause(rng.choice(SERVICES), rng.uniform(*_PAUSE_SECONDS))
    if roll < 0.86:
        return rng.choice((kill("nats"), nats_gone(rng.uniform(*_PAUSE_SECONDS))))
    return rng.choice((stop_postgres(), kill("postgres")))
