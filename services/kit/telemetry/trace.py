"""Traces: which work belongs to which call, over services, flows and events.

The span at hand is the one that the code running now belongs to. Its W3C `traceparent` goes along with every call to
another service, is stored in every event and every flow, and comes back with them, so that all that a call led to is
one trace. A process without `otlp_endpoint` records nothing and passes on what it was given; it does not even import
OpenTelemetry.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar, Token
from enum import Enum
from types import TracebackType
from typing import Any, Protocol

from services.kit.errors import DsmError

HEADER = "traceparent"
# Version, trace id, id of the span, flags; ids of zeros are none.
_FORM = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_SAMPLED = 1


class Kind(Enum):
    """What a span is to the one that caused it, in OpenTelemetry's words."""

    INTERNAL = "INTERNAL"
    SERVER = "SERVER"
    CLIENT = "CLIENT"
    PRODUCER = "PRODUCER"
    CONSUMER = "CONSUMER"


class Span:
    """One piece of work, at hand while it is in a `with`. This one is not recorded: it only has its place in a trace.

    Attributes are figures and names of the contract: never what a person wrote, who they are, or what they log in with.
    """

    __slots__ = ("_token", "traceparent")

    def __init__(self, traceparent: str = "") -> None:
        # W3C; empty = in no trace.
        self.traceparent = traceparent
        self._token: Token[Span] | None = None

    def failed(self, code: str, reason: str = "") -> None:
        """Note how the work failed: a gRPC code, or the name of an exception, and a reason of the contract."""

    def end(self) -> None:
        """The work is done. Leaving a `with` does this."""

    def __enter__(self) -> Span:
        self._token = _at_hand.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None:
            self.failed(*_failure(error))
        self.end()
        if self._token is not None:
            # A stream's generator may be ended from another task than the one that ran it.
            with suppress(ValueError):
                _at_hand.reset(self._token)


class _Nothing(Span):
    """Where nothing is recorded and no trace is passed on: what is at hand stays so, and nothing is made."""

    __slots__ = ()

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


class Recorder(Protocol):
    """Makes spans that are recorded."""

    def begin(self, service: str, name: str, kind: Kind, parent: str, attributes: Mapping[str, Any]) -> Span:
        """A span of a service that begins now, after the one that caused it: a traceparent; empty begins a trace."""

    async def stop(self) -> None:
        """Send what is left, or give up after a few seconds."""


_NONE: Span = _Nothing()
_at_hand: ContextVar[Span] = ContextVar("dsm_span", default=_NONE)
# While a batch of events is applied, the span of each by the id of its aggregate.
_causes: ContextVar[Mapping[str, Span]] = ContextVar("dsm_causes", default={})  # noqa: B039  # never changed
_recorder: Recorder | None = None


def start(recorder: Recorder) -> None:
    """Record from now on: those of the traces that begin here that the recorder wants, and sampled ones of others."""
    global _recorder
    _recorder = recorder


async def stop() -> None:
    """Send what is left, for a few seconds at most, and record nothing more."""
    global _recorder
    if recorder := _recorder:
        _recorder = None
        await recorder.stop()


def current() -> Span:
    """The span at hand."""
    return _at_hand.get()


def given(traceparent: str | None) -> str:
    """A traceparent that came from outside; empty if it is none."""
    return traceparent if traceparent and _FORM.fullmatch(traceparent) else ""


def span(service: str, name: str, kind: Kind = Kind.INTERNAL, attributes: Mapping[str, Any] | None = None) -> Span:
    """A span of a service within the one at hand; use it in a `with`. Begins a trace if there is none."""
    if _recorder is None:
        return _NONE
    return follow(service, name, kind, _at_hand.get().traceparent, attributes)


def follow(service: str, name: str, kind: Kind, parent: str, attributes: Mapping[str, Any] | None = None) -> Span:
    """A span that goes on with a trace that came from elsewhere, by its traceparent; an empty one begins a trace."""
    if _recorder is None or (parent and not _is_sampled(parent)):
        return Span(parent) if parent else _NONE
    return _recorder.begin(service, name, kind, parent, attributes or {})


@contextmanager
def together(spans: Sequence[tuple[str, Span]]) -> Iterator[None]:
    """Work on several things at once, each with a span of its own, by the id of the aggregate that it is about.

    The spans end, and fail, together. An event made meanwhile belongs to the span of its aggregate.
    """
    at_hand = spans[0][1] if len(spans) == 1 else _NONE
    causes, before = _causes.set(dict(spans)), _at_hand.set(at_hand)
    try:
        yield
    except BaseException as error:
        for _, one in spans:
            one.failed(*_failure(error))
        raise
    finally:
        _causes.reset(causes)
        _at_hand.reset(before)
        for _, one in spans:
            one.end()


def cause_of(aggregate_id: str) -> str:
    """The traceparent for an event about an aggregate: of the event that it follows from, else of the span at hand."""
    return _causes.get().get(aggregate_id, _at_hand.get()).traceparent


def ids(traceparent: str) -> tuple[str, str]:
    """The ids of the trace and of the span."""
    _, trace_id, span_id, _ = traceparent.split("-")
    return trace_id, span_id


def header_of(metadata: Iterable[tuple[str, Any]] | None) -> str:
    """The traceparent among a call's metadata."""
    for key, value in metadata or ():
        if key == HEADER:
            return given(value) if isinstance(value, str) else ""
    return ""


def _is_sampled(traceparent: str) -> bool:
    return bool(int(traceparent[-2:], 16) & _SAMPLED)


def _failure(error: BaseException) -> tuple[str, str]:
    match error:
        case DsmError():
            return error.code.name, error.reason
        case asyncio.CancelledError() | GeneratorExit():
            return "CANCELLED", ""
    return type(error).__name__, ""
