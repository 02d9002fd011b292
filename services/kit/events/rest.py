"""The rest between two batches, in which the next one gathers: under load many events cost little more than one."""

import asyncio

# Under load each loop works for a fifth of the time, on a slow machine too: unless events would be late for that.
_TIMES = 4
_MOST_SECONDS = 0.06


async def rest(worked: float) -> None:
    """Rest after a batch that took so many seconds. What comes after a quiet time waits for nothing."""
    await asyncio.sleep(min(_TIMES * worked, _MOST_SECONDS))
