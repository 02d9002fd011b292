"""The embedding service with its local model."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import pytest
from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from dsm.embedding.v1 import embedding_service_pb2 as pb
from dsm.embedding.v1.embedding_pb2 import EmbeddingBackend
from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

from tests.harness import World, refused

if TYPE_CHECKING:
    from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceAsyncStub

NATIVE = 384


async def _stub(world: World) -> EmbeddingServiceAsyncStub:
    return EmbeddingServiceStub(await world.channel("embedding"))


def _cosine(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


async def test_a_text_becomes_a_unit_vector(world: World) -> None:
    stub = await _stub(world)
    answer = await stub.Embed(pb.EmbedRequest(text="Fix the login page"))
    values = answer.embedding.values
    assert (len(values), answer.dimensions, answer.native_dimensions) == (1024, 1024, NATIVE)
    assert math.isclose(math.hypot(*values), 1, abs_tol=1e-5)
    assert not any(values[NATIVE:])
    assert answer.model.startswith("all-MiniLM-L6-v2")
    assert answer.backend == EmbeddingBackend.EMBEDDING_BACKEND_LOCAL
    assert answer.generation_time_ms > 0


async def test_texts_of_like_meaning_are_nearer_than_others(world: World) -> None:
    stub = await _stub(world)
    texts = ["Users cannot sign in", "The login fails for customers", "Water the plants in the garden"]
    answer = await stub.EmbedBatch(pb.EmbedBatchRequest(texts=texts))
    login, same, other = (embedding.values for embedding in answer.embeddings)
    assert _cosine(login, same) > _cosine(login, other) + 0.2


async def test_a_vector_does_not_depend_on_its_batch(world: World) -> None:
    stub = await _stub(world)
    texts = [" ".join(["sprint"] * length) for length in range(1, 40)]
    batch = await stub.EmbedBatch(pb.EmbedBatchRequest(texts=texts))
    assert batch.count == len(texts)
    alone = await asyncio.gather(*(stub.Embed(pb.EmbedRequest(text=text)) for text in texts[::10]))
    for one, of_batch in zip(alone, batch.embeddings[::10], strict=True):
        assert _cosine(one.embedding.values, of_batch.values) > 0.99999


async def test_what_the_model_cannot_read_at_once_is_cut_off(world: World) -> None:
    stub = await _stub(world)
    long = "task " * 300
    texts = [long, long + "something else entirely"]
    first, second = (e.values for e in (await stub.EmbedBatch(pb.EmbedBatchRequest(texts=texts))).embeddings)
    assert _cosine(first, second) > 0.99999


@pytest.mark.parametrize("text", ["", "  \n", "\u3000", "x" * 32769])
async def test_a_text_to_embed_is_neither_blank_nor_too_long(world: World, text: str) -> None:
    stub = await _stub(world)
    failed = await refused(stub.Embed(pb.EmbedRequest(text=text)))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert failed.metadata["field"] == "text"


@pytest.mark.parametrize(
    ("texts", "field"), [([], "texts"), (["a", " "], "texts[1]"), (["a", "\u3000"], "texts[1]"), (["a"] * 257, "texts")]
)
async def test_a_batch_is_refused_as_a_whole(world: World, texts: list[str], field: str) -> None:
    stub = await _stub(world)
    failed = await refused(stub.EmbedBatch(pb.EmbedBatchRequest(texts=texts)))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", field)


async def test_the_figures_count_what_was_asked(world: World) -> None:
    stub = await _stub(world)
    before = (await stub.GetMetrics(pb.GetMetricsRequest())).metrics
    await stub.EmbedBatch(pb.EmbedBatchRequest(texts=["a", "b"]))
    after = (await stub.GetMetrics(pb.GetMetricsRequest())).metrics
    assert after.total_requests == before.total_requests + 1
    assert after.total_texts == before.total_texts + 2
    assert after.HasField("avg_latency_ms")
    assert after.HasField("p95_latency_ms")
    assert after.backend_available
    assert (after.breaker_state, after.model.native_dimensions) == ("", NATIVE)


async def test_the_status_tells_the_backend(world: World) -> None:
    stub = status_service_pb2_grpc.StatusServiceStub(await world.channel("embedding"))
    answer = await stub.GetStatus(status_service_pb2.GetStatusRequest(service="embedding"))
    (service,) = answer.services
    assert service.ready
    assert not service.degraded_reasons
    assert (service.embedding_backend.backend, service.embedding_backend.reachable) == ("local", True)
    assert service.embedding_backend.breaker == status_service_pb2.BREAKER_STATE_CLOSED
