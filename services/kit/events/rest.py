"""The rest between two batches, in which the next one gathers: under load many events cost little more than one."""

import asyncio

# Of the time of a busy process, batches shall take a fifth at most, however slow the machine is at the moment.
_TIMES = 4
_MOST_SECONDS = 0.06


async def rest(worked: float) -> None:
    """Rest after a batch that took so many seconds. What comes after a quiet time waits for nothing."""
    await asyncio.sleep(min(_TIMES * worked, _MOST_SECONDS))
