"""How many calls a caller may make: a token bucket for each, in bounded memory."""

import time
from collections import OrderedDict
from collections.abc import Callable

from services.kit.errors import Code, DsmError

# Who has not called for longest is forgotten first, and then begins with a full bucket.
_MOST_CALLERS = 10_000


class RateLimited(DsmError):
    """The caller sends more than its share."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "RATE_LIMITED"

    def __init__(self, per_second: float, retry_after: float) -> None:
        super().__init__(f"More than {per_second:g} calls a second: slow down.", limit=f"{per_second:g}")
        self.retry_after = retry_after


class RateLimit:
    """Each caller may make `burst` calls at once (0 = a second's worth, at least 1), `per_second` in the long run."""

    def __init__(self, per_second: float, burst: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_second = per_second
        self._burst = float(burst) or max(1.0, per_second)
        self._clock = clock
        # What was left in each caller's bucket, and when.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str) -> None:
        """Count one call; RateLimited, which costs nothing further, if the caller's bucket is empty."""
        now = self._clock()
        left, then = self._buckets.pop(caller, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._per_second)
        enough = left >= 1
        self._buckets[caller] = (left - 1 if enough else left, now)
        if len(self._buckets) > _MOST_CALLERS:
            self._buckets.popitem(last=False)
        if not enough:
            raise RateLimited(self._per_second, (1 - left) / self._per_second)
