"""Answers EmbeddingService."""

import time
from collections.abc import Sequence

from dsm.common.v1 import status_service_pb2
from dsm.embedding.v1 import embedding_service_pb2 as pb
from dsm.embedding.v1.embedding_pb2 import Embedding, EmbeddingBackend, EmbeddingMetrics, EmbeddingModel
from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceServicer

from services.embedding.backends import Backend
from services.embedding.domain import (
    DIMENSIONS,
    BackendKind,
    EmbeddingBackendUnavailable,
    Vectors,
    check_text,
    percentile,
    unit,
)
from services.embedding.figures import Figures
from services.kit.serving.gate import Context

_BACKENDS: dict[BackendKind, EmbeddingBackend.ValueType] = {
    BackendKind.LOCAL: EmbeddingBackend.EMBEDDING_BACKEND_LOCAL,
    BackendKind.OLLAMA: EmbeddingBackend.EMBEDDING_BACKEND_OLLAMA,
}
_BREAKERS = {
    "": status_service_pb2.BREAKER_STATE_CLOSED,
    "closed": status_service_pb2.BREAKER_STATE_CLOSED,
    "open": status_service_pb2.BREAKER_STATE_OPEN,
    "half-open": status_service_pb2.BREAKER_STATE_HALF_OPEN,
}


class EmbeddingHandlers(EmbeddingServiceServicer):
    """The RPCs of dsm.embedding.v1.EmbeddingService."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._figures = Figures(backend.kind, backend.model)
        self._native_dimensions = 0

    async def Embed(self, request: pb.EmbedRequest, context: Context) -> pb.EmbedResponse:
        """One text."""
        check_text(request.text, "text")
        vectors, elapsed_ms = await self._embed([request.text])
        return pb.EmbedResponse(
            embedding=Embedding(values=vectors.values[0]),
            dimensions=DIMENSIONS,
            native_dimensions=vectors.native,
            model=self._backend.model,
            generation_time_ms=elapsed_ms,
            backend=_BACKENDS[self._backend.kind],
        )

    async def EmbedBatch(self, request: pb.EmbedBatchRequest, context: Context) -> pb.EmbedBatchResponse:
        """Many texts; all or none."""
        for index, text in enumerate(request.texts):
            check_text(text, f"texts[{index}]")
        vectors, elapsed_ms = await self._embed(request.texts)
        return pb.EmbedBatchResponse(
            embeddings=[Embedding(values=values) for values in vectors.values],
            count=len(vectors.values),
            dimensions=DIMENSIONS,
            native_dimensions=vectors.native,
            model=self._backend.model,
            total_time_ms=elapsed_ms,
            backend=_BACKENDS[self._backend.kind],
        )

    async def GetMetrics(self, request: pb.GetMetricsRequest, context: Context) -> pb.GetMetricsResponse:
        """What this process did so far."""
        figures = self._figures
        metrics = EmbeddingMetrics(
            total_requests=figures.requests,
            total_texts=figures.texts,
            avg_latency_ms=figures.average_ms,
            p95_latency_ms=percentile(figures.latencies_ms, 0.95),
            backend_errors=figures.errors,
            backend_available=await self._backend.answers(),
            breaker_state=self._backend.breaker_state,
            model=EmbeddingModel(
                model=self._backend.model,
                backend=_BACKENDS[self._backend.kind],
                dimensions=DIMENSIONS,
                native_dimensions=self._native_dimensions,
            ),
        )
        return pb.GetMetricsResponse(metrics=metrics)

    async def describe(self, status: status_service_pb2.ServiceStatus) -> None:
        """Add the backend to the service's status."""
        backend = self._backend
        reachable = await backend.answers()
        status.embedding_backend.CopyFrom(
            status_service_pb2.EmbeddingBackendStatus(
                backend=backend.kind,
                model=backend.model,
                reachable=reachable,
                latency_ms=next(reversed(self._figures.latencies_ms), None),
                breaker=_BREAKERS[backend.breaker_state],
            )
        )
        if not reachable:
            status.degraded_reasons.append(f"The embedding backend {backend.kind} does not answer.")

    async def _embed(self, texts: Sequence[str]) -> tuple[Vectors, float]:
        """The vectors, and the milliseconds that they took."""
        began = time.monotonic()
        try:
            native = await self._backend.embed(texts)
            vectors = Vectors([unit(vector) for vector in native], len(native[0]))
        except (EmbeddingBackendUnavailable, ValueError):
            self._figures.failed(_since(began))
            raise EmbeddingBackendUnavailable(self._backend.kind, self._backend.breaker_state) from None
        elapsed_ms = _since(began)
        self._figures.embedded(len(texts), elapsed_ms)
        self._native_dimensions = vectors.native
        return vectors, elapsed_ms


def _since(began: float) -> float:
    return (time.monotonic() - began) * 1000
