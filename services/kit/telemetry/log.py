"""Structured logs: events with fields, JSON in production."""

import logging
import sys
from contextlib import suppress
from typing import TextIO, cast

import structlog

from services.kit import call
from services.kit.telemetry import trace


def configure(level: str, form: str, service: str = "") -> None:
    """Set up logging of the whole process; call once, at the start. `service`: the only one that runs in it."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(message)s")
    # They retry by themselves and we report the state: their tracebacks would only repeat it.
    for noisy in ("nats", "psycopg.pool", "psycopg", "opentelemetry"):
        logging.getLogger(noisy).setLevel(logging.CRITICAL)
    renderer = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=False)
    structlog.configure(
        processors=[
            _with_call,
            _of(service),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level)),
        logger_factory=structlog.PrintLoggerFactory(cast(TextIO, Patient(sys.stderr))),
        cache_logger_on_first_use=True,
    )


class Patient:
    """A stream that loses what it cannot write, as on a full disk: a call must not fail because its log does."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write, or not."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, or not."""
        with suppress(OSError):
            self._stream.flush()


def _of(service: str) -> structlog.typing.Processor:
    """Names the service in lines that belong to no call of it."""

    def name(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        if service:
            event.setdefault("service", service)
        return event

    return name


def _with_call(_logger: object, _name: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    at_hand = call.current()
    if at_hand.correlation_id:
        event.setdefault("request_id", at_hand.correlation_id)
    if at_hand.service:
        event.setdefault("service", at_hand.service)
    if traceparent := trace.current().traceparent:
        event["trace_id"], event["span_id"] = trace.ids(traceparent)
    return event
