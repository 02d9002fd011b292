"""Healing: until every service takes calls, and from then until what was under way is published, taken in and ended."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import nats
import nats.errors
import psycopg
from nats.js import JetStreamContext
from nats.js.errors import APIError

from services.cli.names import STATEFUL
from tests.faults.machine import Machine
from tests.harness import eventually

# I3, I5: how soon after the end of a fault everything is settled again. I8: how soon every flow has ended.
HEAL_SECONDS = 10.0
FLOW_SECONDS = 60.0

_AWAY = (psycopg.Error, nats.errors.Error, APIError, TimeoutError, OSError)
_MARK = "SELECT coalesce(max(position), 0) AS position FROM outbox"
_BEHIND = "SELECT count(*) AS n FROM outbox WHERE publish_time IS NULL AND position <= %(position)s"
_FLOWS = "SELECT saga_id::text, kind, key, status, step FROM saga WHERE status IN ('RUNNING', 'UNDOING')"


@dataclass(frozen=True)
class Healing:
    """How long a healing took, in seconds: until every service took calls, and from then until all was settled."""

    ready: float
    settled: float

    def __str__(self) -> str:
        return f"ready after {self.ready:4.1f} s, settled {self.settled:4.1f} s later"


async def healed(machine: Machine, *, seconds: float = FLOW_SECONDS) -> Healing:
    """Wait until all that was under way when everything was ready again is done.

    That is: every service takes calls, what was committed until then is published and consumed, and every flow that
    was open then has ended. Calls may go on meanwhile.
    """
    began = time.monotonic()

    def in_time(what: object) -> None:
        assert time.monotonic() - began < seconds, f"not healed after {seconds} s: {what}; {machine.tails()}"

    mark: _Mark | None = None
    while mark is None:
        await machine.ready()
        try:
            mark = await _marked(machine)
        except _AWAY as error:
            in_time(error)
            await asyncio.sleep(0.05)
    ready = time.monotonic()
    while True:
        try:
            behind = await _behind(machine, mark)
        except _AWAY as error:
            behind = [repr(error)]
        if not behind:
            return Healing(ready - began, time.monotonic() - ready)
        in_time(behind)
        await asyncio.sleep(0.1)


@dataclass
class _Mark:
    """Where everything stood when every service took calls again."""

    positions: dict[str, int]
    flows: set[str]
    # The last message of each stream, once all that was committed is published.
    sequences: dict[str, int] = field(default_factory=dict)
    consumed: set[tuple[str, str]] = field(default_factory=set)


async def _marked(machine: Machine) -> _Mark:
    positions = {name: (await machine.query(name, _MARK))[0]["position"] for name in STATEFUL}
    return _Mark(positions, {row["saga_id"] for row in await machine.query("sprint", _FLOWS)})


async def _behind(machine: Machine, mark: _Mark) -> list[str]:
    """What was under way at the mark and still is."""
    behind = []
    for name, position in mark.positions.items():
        if count := (await machine.query(name, _BEHIND, {"position": position}))[0]["n"]:
            behind.append(f"{count} events of {name} are not published")
    if behind:
        return behind
    async with jetstream(machine) as js:
        for stream in await js.streams_info():
            name = str(stream.config.name)
            mark.sequences.setdefault(name, stream.state.last_seq)
            for info in await js.consumers_info(name):
                done = not info.num_pending and not info.num_ack_pending
                floor = info.ack_floor.stream_seq if info.ack_floor else 0
                if done or floor >= mark.sequences[name]:
                    mark.consumed.add((name, info.name))
                if (name, info.name) not in mark.consumed:
                    behind.append(f"{info.name}: {info.num_pending} pending, {info.num_ack_pending} not acknowledged")
    open_flows = await machine.query("sprint", _FLOWS)
    return behind + [f"flow {row}" for row in open_flows if row["saga_id"] in mark.flows]


async def quiet(machine: Machine, *, seconds: float = FLOW_SECONDS) -> float:
    """Wait, while nobody asks for anything, until nothing is under way; the seconds it took."""
    began = time.monotonic()
    while True:
        await healed(machine, seconds=seconds)
        open_flows = await machine.query("sprint", _FLOWS)
        behind = await _behind(machine, await _marked(machine))
        if not open_flows and not behind:
            return time.monotonic() - began
        waited = time.monotonic() - began
        assert waited < seconds, f"not quiet after {seconds} s: {open_flows} {behind}"


async def settled(difference: Callable[[], Awaitable[list[str]]], seconds: float = HEAL_SECONDS) -> list[str]:
    """What is still different when there was time for it not to be."""
    with suppress(AssertionError):
        await eventually(lambda: _nothing(difference), seconds)
    return await difference()


async def _nothing(difference: Callable[[], Awaitable[list[str]]]) -> bool:
    return not await difference()


@asynccontextmanager
async def jetstream(machine: Machine) -> AsyncIterator[JetStreamContext]:
    """A connection to the machine's NATS that does not wait for long."""
    connection = await nats.connect(machine.nats_url, connect_timeout=2, allow_reconnect=False, error_cb=_ignore)
    try:
        yield connection.jetstream(timeout=5)
    finally:
        await connection.close()


async def _ignore(_: Exception) -> None:
    """Told by the call that fails."""
