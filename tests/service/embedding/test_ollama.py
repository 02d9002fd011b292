"""The embedding service with Ollama, against a small server that speaks its protocol."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from dsm.embedding.v1 import embedding_service_pb2 as pb
from dsm.embedding.v1.embedding_pb2 import EmbeddingBackend
from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

from services.local.process import choose_port
from services.local.stack import Stack
from tests.harness import World, eventually, make_world, refused

if TYPE_CHECKING:
    from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceAsyncStub

NATIVE = 1024


@dataclass
class FakeOllama:
    """An HTTP server that answers /api/embed and /api/tags, as it is told to."""

    port: int = field(default_factory=lambda: choose_port(0, 0))
    behaviour: str = "answer"
    requests: list[dict[str, object]] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = _content_length(head)
        body = await reader.readexactly(length)
        path = head.split(" ")[1]
        if self.behaviour == "hang":
            await asyncio.sleep(30)
        status, answer = self._answer(path, body)
        text = json.dumps(answer).encode()
        writer.write(
            f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(text)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + text
        )
        await writer.drain()
        writer.close()

    def _answer(self, path: str, body: bytes) -> tuple[str, object]:
        if path == "/api/tags":
            return "200 OK", {"models": []}
        assert path == "/api/embed"
        request = json.loads(body)
        self.requests.append(request)
        texts = request["input"]
        if self.behaviour == "fail":
            return "500 Internal Server Error", {"error": "out of memory"}
        if self.behaviour == "zeros":
            return "200 OK", {"model": request["model"], "embeddings": [[0.0] * NATIVE for _ in texts]}
        vectors = [[float(len(text)), *([1.0] * (NATIVE - 1))] for text in texts]
        return "200 OK", {"model": request["model"], "embeddings": vectors}


def _content_length(head: str) -> int:
    headers = (line.partition(":") for line in head.split("\r\n"))
    return next((int(value) for name, _, value in headers if name.lower() == "content-length"), 0)


@asynccontextmanager
async def _world(stack: Stack, ollama: FakeOllama, **settings: str) -> AsyncIterator[World]:
    async with AsyncExitStack() as exits:
        yield await make_world(
            stack,
            exits,
            DSM_EMBEDDING_BACKEND="ollama",
            DSM_EMBEDDING_OLLAMA_URL=f"http://127.0.0.1:{ollama.port}",
            DSM_EMBEDDING_OLLAMA_TIMEOUT_SECONDS="0.3",
            DSM_EMBEDDING_BREAKER_FAILURES="3",
            DSM_EMBEDDING_BREAKER_RESET_SECONDS="0.2",
            **settings,
        )


async def _stub(world: World) -> EmbeddingServiceAsyncStub:
    return EmbeddingServiceStub(await world.channel("embedding"))


async def test_ollama_makes_the_vectors(stack: Stack) -> None:
    ollama = FakeOllama()
    await ollama.start()
    async with _world(stack, ollama) as world:
        stub = await _stub(world)
        answer = await stub.EmbedBatch(pb.EmbedBatchRequest(texts=["a" * n for n in range(1, 21)]))
        assert (answer.count, answer.dimensions, answer.native_dimensions) == (20, 1024, NATIVE)
        assert (answer.model, answer.backend) == (
            "mxbai-embed-large:latest",
            EmbeddingBackend.EMBEDDING_BACKEND_OLLAMA,
        )
        firsts = [embedding.values[0] for embedding in answer.embeddings]
        assert firsts == sorted(firsts)
        assert [len(str(request["input"]).split(",")) for request in ollama.requests] == [16, 4]
        assert {request["model"] for request in ollama.requests} == {"mxbai-embed-large:latest"}
    await ollama.stop()


async def test_a_failing_ollama_opens_the_breaker_and_heals(stack: Stack) -> None:
    ollama = FakeOllama(behaviour="fail")
    await ollama.start()
    async with _world(stack, ollama) as world:
        stub = await _stub(world)
        failures = [await refused(stub.Embed(pb.EmbedRequest(text="a"))) for _ in range(5)]
        assert {(f.code, f.reason, f.metadata["backend"]) for f in failures} == {
            ("UNAVAILABLE", "EMBEDDING_BACKEND_UNAVAILABLE", "ollama")
        }
        assert failures[-1].metadata["breaker"] == "open"
        metrics = (await stub.GetMetrics(pb.GetMetricsRequest())).metrics
        assert (metrics.backend_errors, metrics.breaker_state, metrics.backend_available) == (5, "open", True)
        assert len(ollama.requests) == 3  # an open breaker asks no more

        ollama.behaviour = "answer"

        async def healed() -> bool:
            try:
                await stub.Embed(pb.EmbedRequest(text="a"))
            except Exception:
                return False
            return True

        await eventually(healed)
        assert (await stub.GetMetrics(pb.GetMetricsRequest())).metrics.breaker_state == "closed"
    await ollama.stop()


async def test_a_hanging_ollama_is_given_up(stack: Stack) -> None:
    ollama = FakeOllama(behaviour="hang")
    await ollama.start()
    async with _world(stack, ollama) as world:
        stub = await _stub(world)
        began = asyncio.get_running_loop().time()
        failed = await refused(stub.Embed(pb.EmbedRequest(text="a"), timeout=5))
        assert asyncio.get_running_loop().time() - began < 3
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "EMBEDDING_BACKEND_UNAVAILABLE")
    await ollama.stop()


async def test_without_ollama_the_service_answers_and_says_so(stack: Stack) -> None:
    async with _world(stack, FakeOllama()) as world:
        stub = await _stub(world)
        failures = [await refused(stub.Embed(pb.EmbedRequest(text="a"))) for _ in range(4)]
        assert {f.reason for f in failures} == {"EMBEDDING_BACKEND_UNAVAILABLE"}
        assert failures[-1].metadata["breaker"] == "open"
        status = status_service_pb2_grpc.StatusServiceStub(await world.channel("embedding"))
        (service,) = (await status.GetStatus(status_service_pb2.GetStatusRequest(service="embedding"))).services
        assert service.ready
        assert service.degraded_reasons
        assert not service.embedding_backend.reachable
        assert service.embedding_backend.breaker == status_service_pb2.BREAKER_STATE_OPEN


async def test_zeros_are_no_vectors(stack: Stack) -> None:
    ollama = FakeOllama(behaviour="zeros")
    await ollama.start()
    async with _world(stack, ollama) as world:
        failed = await refused((await _stub(world)).Embed(pb.EmbedRequest(text="a")))
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "EMBEDDING_BACKEND_UNAVAILABLE")
    await ollama.stop()
