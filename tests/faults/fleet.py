"""Two processes of each service in place of a machine's one: what a cluster runs, and restarts one after the other."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from services.cli.names import SERVICES
from services.local.process import LOOPBACK, choose_port
from tests.faults.machine import CHANNEL_OPTIONS, Machine, Replica

PROCESSES = 2
# Clients go from one process to the other with each call, as services do among themselves.
_SPREAD = ("grpc.lb_policy_name", "round_robin")
# Longest start on a machine where many start at once; longest end of calls in flight.
_START_SECONDS, _STOP_SECONDS = 90.0, 40.0


class Fleet(Machine):
    """The databases and streams of a machine, with services of its own behind addresses that name both processes."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.folder, machine.supervisor, machine.state)
        self._ports: dict[tuple[str, int], int] = {}
        for place in itertools.product(SERVICES, range(PROCESSES)):
            self._ports[place] = choose_port(0, 0, taken=self._ports.values())
        self._processes: dict[tuple[str, int], Replica] = {}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each service listens: a target of gRPC that names both processes."""
        found: dict[str, list[str]] = {name: [] for name in SERVICES}
        for (name, _), port in self._ports.items():
            found[name].append(f"{LOOPBACK}:{port}")
        return {name: f"ipv4:{','.join(places)}" for name, places in found.items()}

    async def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to a service, whichever of its processes answer."""
        if name not in self._channels:
            options = [*CHANNEL_OPTIONS, _SPREAD]
            self._channels[name] = grpc.aio.insecure_channel(self.addresses[name], options=options)
        return self._channels[name]

    async def start(self, *names: str) -> None:
        """Start both processes of these services, by default of all, where they do not run."""
        places = itertools.product(names or SERVICES, range(PROCESSES))
        await asyncio.gather(*(self._launch(*place) for place in places if place not in self._processes))

    async def restart(self, name: str, number: int, how: signal.Signals) -> None:
        """End one process by a signal, and start it again; returns when it takes calls."""
        process = self._processes.pop((name, number))
        process.signal(how)
        assert await process.ended(_STOP_SECONDS), f"a process of {name} does not end"
        await process.close()
        await self._launch(name, number)

    async def close(self) -> None:
        """Stop the services; the servers are the machine's."""
        for channel in self._channels.values():
            await channel.close()
        await asyncio.gather(*(process.close() for process in self._processes.values()))

    async def _launch(self, name: str, number: int) -> None:
        process = self.replica(name, DSM_PORT=str(self._ports[name, number]))
        self._processes[name, number] = await process.ready(_START_SECONDS)


@asynccontextmanager
async def fleet_of(machine: Machine) -> AsyncIterator[Fleet]:
    """Meanwhile two processes of each service stand in place of a machine's own."""
    with machine.unsupervised():
        for name in SERVICES:
            machine.signal(name, signal.SIGKILL)
        fleet = Fleet(machine)
        try:
            await fleet.start()
            yield fleet
        finally:
            await fleet.close()
    await machine.ready(seconds=_START_SECONDS)
