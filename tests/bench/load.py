"""Load from one client, and what it measures."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import psutil


@dataclass(frozen=True)
class Measure:
    """Calls per second, latencies in milliseconds, and CPU milliseconds of the servers per call."""

    rate: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float


async def settle(servers: Sequence[psutil.Process], seconds: float = 60) -> None:
    """Wait until the servers have worked off what came before (events, embeddings): a second under 5 % of a core."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        before = _cpu(servers)
        await asyncio.sleep(1)
        if _cpu(servers) - before < 0.05:
            return


async def measure(
    call: Callable[[int], Awaitable[object]], servers: Sequence[psutil.Process], *, calls: int, width: int
) -> Measure:
    """Make `calls` calls with `width` in flight, after a tenth as many to warm up."""
    await _drive(call, calls // 10, width)
    cpu, began = _cpu(servers), time.perf_counter()
    seconds = await _drive(call, calls, width)
    elapsed, used = time.perf_counter() - began, _cpu(servers) - cpu
    return Measure(
        rate=len(seconds) / elapsed,
        p50_ms=percentile(seconds, 0.5) * 1000,
        p99_ms=percentile(seconds, 0.99) * 1000,
        cpu_ms=used / len(seconds) * 1000,
    )


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which a share of all lies (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def _drive(call: Callable[[int], Awaitable[object]], calls: int, width: int) -> list[float]:
    numbers = iter(range(calls))
    seconds: list[float] = []

    async def worker() -> None:
        for number in numbers:
            began = time.perf_counter()
            await call(number)
            seconds.append(time.perf_counter() - began)

    await asyncio.gather(*(worker() for _ in range(width)))
    return seconds


def _cpu(processes: Sequence[psutil.Process]) -> float:
    times = [process.cpu_times() for process in processes]
    return float(sum(it.user + it.system for it in times))
