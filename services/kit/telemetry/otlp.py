"""Recording spans with OpenTelemetry, and sending them to a collector by OTLP; imported only where that is on."""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.metadata import version
from typing import Any
from uuid import uuid4

from opentelemetry import trace as api
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from services.kit.telemetry import metrics
from services.kit.telemetry.trace import Kind, Span, ids

# What waits for a collector that is slow or away; the oldest goes first. About 2 kB each.
QUEUE = 2048
# Longest try to send one batch.
SEND_SECONDS = 5.0
STOP_SECONDS = 3.0
# What a server did wrong. That a client is told NOT_FOUND is no fault of the server's.
_SERVER_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}


class OtlpRecorder:
    """Makes spans and sends them, from a thread of its own: who makes one never waits.

    They go to an OTLP collector, "http://host:4317" or "https://…": `ratio` of the traces that begin here, and those of
    others that are sampled.
    """

    def __init__(self, endpoint: str, ratio: float) -> None:
        self._exporter = _Counting(OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS))
        self._processor = BatchSpanProcessor(self._exporter, max_queue_size=QUEUE, schedule_delay_millis=1000)
        self._sampler = ParentBased(TraceIdRatioBased(ratio))
        self._instance = str(uuid4())
        # Several services may share the process, and each is its own to whoever looks at the traces.
        self._tracer = cache(self._make_tracer)

    def begin(self, service: str, name: str, kind: Kind, parent: str, attributes: Mapping[str, Any]) -> Span:
        """A span of a service that begins now."""
        context = _context(parent) if parent else Context()
        span = self._tracer(service).start_span(name, context, SpanKind[kind.value], attributes)
        return _Recorded(span, kind)

    async def stop(self) -> None:
        """Send what is left, or give up after a few seconds."""
        # A daemon, so that a collector that hangs does not keep the process.
        last = threading.Thread(target=self._processor.shutdown, daemon=True)
        last.start()
        await asyncio.to_thread(last.join, STOP_SECONDS)
        if last.is_alive():
            self._exporter.shutdown()

    def _make_tracer(self, service: str) -> api.Tracer:
        resource = Resource(
            {
                "service.namespace": "dsm",
                "service.name": f"dsm-{service}",
                "service.version": version("dsm"),
                "service.instance.id": self._instance,
            }
        )
        provider = TracerProvider(sampler=self._sampler, resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        return provider.get_tracer("dsm")


class _Recorded(Span):
    """A span that is sent, if its trace is sampled."""

    __slots__ = ("_failed", "_kind", "_span")

    def __init__(self, span: api.Span, kind: Kind) -> None:
        context = span.get_span_context()
        super().__init__(f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}")
        self._span = span
        self._kind = kind
        self._failed = False

    def failed(self, code: str, reason: str = "") -> None:
        if self._failed:
            return
        self._failed = True
        self._span.set_attribute("error.type", code)
        if reason:
            self._span.set_attribute("dsm.reason", reason)
        if self._kind is not Kind.SERVER or code in _SERVER_FAULTS:
            self._span.set_status(Status(StatusCode.ERROR))

    def end(self) -> None:
        self._span.end()


class _Counting(SpanExporter):
    """Counts what was sent and what could not be."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        for outcome in ("sent", "lost"):
            metrics.SPANS.labels(outcome)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE
        with suppress(Exception):
            result = self._exporter.export(spans)
        outcome = "sent" if result is SpanExportResult.SUCCESS else "lost"
        metrics.SPANS.labels(outcome).inc(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _context(parent: str) -> Context:
    trace_id, span_id = ids(parent)
    flags = TraceFlags(int(parent[-2:], 16))
    remote = SpanContext(int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=flags)
    return api.set_span_in_context(NonRecordingSpan(remote), Context())
