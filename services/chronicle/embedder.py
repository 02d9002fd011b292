"""Embeds in the background what analytics compare by meaning, so that no answer waits for a model."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import structlog
from dsm.embedding.v1 import embedding_service_pb2 as pb
from dsm.embedding.v1 import embedding_service_pb2_grpc

from services.chronicle.store import embeddings, topics
from services.chronicle.store.embeddings import IMPEDIMENTS, TITLES, Texts
from services.kit.calling.callee import Callee
from services.kit.data.database import Database
from services.kit.errors import DsmError

log = structlog.get_logger()

# Texts in one call; the local model takes some 5 ms each.
BATCH = 32
BATCH_SECONDS = 60.0
# How often it is looked whether texts wait, and which model is in use.
LOOK_SECONDS = 1.0
MODEL_SECONDS = 60.0
# More than any model reads.
_LONGEST = 2_000


class Embedder:
    """Keeps impediments and the titles of backlogs embedded by the model that the embedding service has now."""

    def __init__(self, database: Database, embedding: Callee, *, share: float) -> None:
        self._database = database
        self._embedding = embedding
        self._stub = embedding_service_pb2_grpc.EmbeddingServiceStub(embedding.channel)
        # The part of the time that titles may take: an import brings thousands, and nobody waits for them.
        self._share = share
        self._model = ""
        self._asked = -MODEL_SECONDS

    async def run(self) -> None:
        """Embed for ever. The embedding service or the database away: the texts wait, and nobody else has to."""
        prepared = False
        while True:
            with suppress(DsmError):
                if not prepared:
                    await self._prepare()
                    prepared = True
                await self._ask_model()
                while await self._embed_next():
                    pass
            await asyncio.sleep(LOOK_SECONDS)

    async def _embed_next(self) -> bool:
        """Embed what is most wanted; False if nothing waits. Impediments are few and asked for at once."""
        if await self._embed_some(IMPEDIMENTS):
            return True
        began = time.monotonic()
        embedded = await self._embed_some(TITLES)
        if embedded:
            await asyncio.sleep((time.monotonic() - began) * (1 / self._share - 1))
        return embedded

    async def _prepare(self) -> None:
        async with self._database.write(keyed=False) as tx:
            await topics.put_background(tx)

    async def _ask_model(self) -> None:
        """Notice another model even if no text waits."""
        if time.monotonic() - self._asked < MODEL_SECONDS:
            return
        self._asked = time.monotonic()
        request = pb.GetMetricsRequest()
        answer = await self._embedding.call(self._stub.GetMetrics, request, pb.GetMetricsResponse)
        await self._notice(answer.metrics.model.model)

    async def _embed_some(self, of: Texts) -> bool:
        """Embed one batch; False if there is nothing left."""
        rows = await embeddings.waiting(self._database.read, of, BATCH)
        if not rows:
            return False
        vectors, model = await self._vectors(sorted({row["text"] for row in rows}))
        async with self._database.write(keyed=False) as tx:
            await embeddings.embed(tx, of, rows, [vectors.get(row["text"]) for row in rows], model)
            if of is TITLES:
                await topics.sum_up(tx, sorted({row["project_id"] for row in rows}), model)
        await self._notice(model)
        return True

    async def _vectors(self, texts: Sequence[str]) -> tuple[dict[str, Sequence[float]], str]:
        """The vectors of texts, and their model; blank ones have none."""
        wanted = [text for text in texts if text.strip()]
        if not wanted:
            return {}, self._model
        request = pb.EmbedBatchRequest(texts=[text[:_LONGEST] for text in wanted])
        answer = await self._embedding.call(
            self._stub.EmbedBatch, request, pb.EmbedBatchResponse, timeout=BATCH_SECONDS
        )
        return dict(zip(wanted, (e.values for e in answer.embeddings), strict=True)), answer.model

    async def _notice(self, model: str) -> None:
        """Have everything embedded again if the embedding service has changed its model."""
        if not model or model == self._model:
            return
        async with self._database.write(keyed=False) as tx:
            outdated = [await embeddings.outdate(tx, of, model) for of in (IMPEDIMENTS, TITLES)]
        self._model = model
        if any(outdated):
            log.info("embedder.model_changed", model=model, texts=sum(outdated))
