"""What is known of the call at hand, wherever the code is that it led to."""

import time
from contextvars import ContextVar
from dataclasses import dataclass, field
from uuid import UUID

CORRELATION_HEADER = "x-request-id"
ACTOR_HEADER = "x-dsm-actor"
TOKEN_HEADER = "authorization"
ANONYMOUS = "anonymous"


@dataclass(frozen=True, slots=True)
class RequestKey:
    """What makes a mutation safe to repeat: the caller's request_id, for which method, and a digest of the body."""

    request_id: UUID
    method: str
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class Call:
    """One call: what it is, on whose behalf, until when (monotonic seconds; None = no limit), and who works on it."""

    method: str = ""
    correlation_id: str = ""
    actor: str = ANONYMOUS
    deadline: float | None = None
    request_key: RequestKey | None = None
    service: str = ""
    began: float = field(default_factory=time.monotonic)

    def remaining(self) -> float | None:
        """Seconds left, never below 0; None = no limit."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())


_current: ContextVar[Call | None] = ContextVar("dsm_call", default=None)
_NONE = Call()


def current() -> Call:
    """The call at hand; an empty one in background work."""
    return _current.get() or _NONE


def enter(call: Call) -> None:
    """Make a call the one at hand for this task and what it starts."""
    _current.set(call)
