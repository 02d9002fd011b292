"""Circuit breakers, each with a gauge that tells its state at any time, also before the first call."""

from collections.abc import Callable, Sequence
from datetime import timedelta

import pybreaker

from services.kit.clock import utc_now
from services.kit.telemetry import metrics


def make_breaker(
    service: str,
    callee: str,
    *,
    failures: int,
    reset_seconds: float,
    successes: int,
    exclude: Sequence[Callable[[BaseException], bool]] = (),
) -> pybreaker.CircuitBreaker:
    """The breaker of a service before something that it calls; errors that `exclude` is true for do not count."""
    storage = pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    breaker = pybreaker.CircuitBreaker(
        fail_max=failures,
        reset_timeout=reset_seconds,
        success_threshold=successes,
        exclude=exclude,
        # Else the call that trips it loses its real error.
        throw_new_error_on_trip=False,
        state_storage=storage,
        name=f"{service}-{callee}",
    )

    def openness() -> float:
        if storage.state == pybreaker.STATE_CLOSED:
            return 0.0
        # The library calls it open until the next call comes, but that one will go through as a probe.
        due = storage.opened_at is not None and utc_now() >= storage.opened_at + timedelta(seconds=reset_seconds)
        return 0.5 if storage.state == pybreaker.STATE_HALF_OPEN or due else 1.0

    metrics.BREAKER_OPEN.labels(service, callee).set_function(openness)
    return breaker
