"""Memory: embeds situations, finds like ones, and keeps every episode embedded."""

import asyncio
import time
from collections import OrderedDict
from contextlib import suppress
from dataclasses import dataclass
from uuid import UUID

import structlog
from dsm.embedding.v1 import embedding_service_pb2 as pb
from dsm.embedding.v1 import embedding_service_pb2_grpc
from dsm.orchestrator.v1.orchestrator_service_pb2 import EmbedEpisodesResponse

from services.kit.calling.callee import Callee
from services.kit.data.database import Database
from services.kit.errors import DsmError
from services.orchestrator.domain.decision import Decision
from services.orchestrator.domain.episode import describe
from services.orchestrator.domain.evidence import Recollection
from services.orchestrator.domain.likeness import Traits, traits_of
from services.orchestrator.domain.situation import Analysis
from services.orchestrator.store import episodes
from services.orchestrator.store.episodes import EpisodeFilter, Match, Vector

log = structlog.get_logger()

RECALLED = 5
CACHE_SECONDS = 3600.0
CACHE_ENTRIES = 1024
# One call of EmbedBatch; how often episodes that could not be embedded are tried again.
BATCH = 64
RETRY_SECONDS = 5.0
# How often it is looked which model is in use.
MODEL_SECONDS = 60.0
# How a recall says that nothing can be compared by meaning.
EMBEDDING_AWAY = "embedding unavailable"
BATCH_SECONDS = 60.0


@dataclass(frozen=True)
class Recall:
    """What memory says about a situation; `degraded` names what it could not look at."""

    episodes: tuple[Recollection, ...] = ()
    degraded: tuple[str, ...] = ()
    cache_hit: bool = False
    embedding_model: str = ""


class Memory:
    """The episodes of one database, searched by the vectors of the embedding service."""

    def __init__(
        self, database: Database, embedding: Callee, *, embed_seconds: float, retrieval_seconds: float
    ) -> None:
        self._database = database
        self._embedding = embedding
        self._stub = embedding_service_pb2_grpc.EmbeddingServiceStub(embedding.channel)
        self._embed_seconds = embed_seconds
        self._retrieval_seconds = retrieval_seconds
        self.cache = Cache()
        self._wake = asyncio.Event()
        # By which model the last text was embedded; empty = none has been.
        self.model = ""
        self._model_asked = -MODEL_SECONDS

    async def answers(self) -> bool:
        """Whether the embedding service takes calls."""
        return await self._embedding.check() is not None

    async def recall(self, analysis: Analysis, rule_based: Decision, project_id: str) -> Recall:
        """The five episodes that say most about a situation; none, and why, if they cannot be had in time.

        The project's own with a known outcome come first, because what other teams did would otherwise crowd them out;
        then others with a known outcome, and at last what the project decided and awaits. Each by likeness.
        """
        try:
            vector, cached = await self._vector_of(describe(analysis, rule_based))
        except DsmError:
            return Recall(degraded=(EMBEDDING_AWAY,))
        try:
            async with asyncio.timeout(self._retrieval_seconds):
                matches = await self._like(vector, traits_of(analysis, rule_based), project_id)
        except TimeoutError:
            return Recall((), ("retrieval timed out",), cached, vector.model)
        except DsmError:
            return Recall((), ("retrieval failed",), cached, vector.model)
        return Recall(tuple(map(_recollect, matches)), (), cached, vector.model)

    async def search(self, text: str, wanted: EpisodeFilter, limit: int, least: float) -> tuple[list[Match], str]:
        """The episodes most like a text, and the model that compared them. Raises if the text cannot be embedded."""
        vector, _ = await self._vector_of(text)
        matches = await episodes.search(self._database.read, vector, Traits(), wanted, limit)
        return [match for match in matches if match.likeness >= least], vector.model

    async def embed_waiting(self, most: int) -> EmbedEpisodesResponse:
        """Embed some of the episodes that wait, at most 64, and say how many wait still.

        Raises DependencyUnavailable if the embedding service is away.
        """
        await self._ask_model_now()
        vectors = await self._vectors_of_waiting(min(most or BATCH, BATCH))
        async with self._database.write() as tx:
            await episodes.embed(tx, vectors, self.model)
            _, waiting = await episodes.count(tx)
            return tx.reply(
                EmbedEpisodesResponse(
                    embedded_episodes=len(vectors), waiting_episodes=waiting, embedding_model=self.model
                )
            )

    def wake(self) -> None:
        """Say that there are new episodes to embed."""
        self._wake.set()

    async def keep_embedded(self) -> None:
        """Embed every episode that has no vector by the present model, for ever."""
        while True:
            # The embedding service or the database away: the episodes wait, and nobody else has to.
            with suppress(DsmError):
                await self._ask_model()
                while await self._embed_some():
                    pass
            with suppress(TimeoutError):
                async with asyncio.timeout(RETRY_SECONDS):
                    await self._wake.wait()
            self._wake.clear()

    async def _like(self, vector: Vector, traits: Traits, project_id: str) -> list[Match]:
        own, others = await asyncio.gather(
            episodes.search(self._database.read, vector, traits, EpisodeFilter(project_id), 2 * RECALLED),
            episodes.search(self._database.read, vector, traits, EpisodeFilter(with_outcome_only=True), RECALLED),
        )
        known = [match for match in own if match.episode.outcome]
        matches = {match.episode.episode_id: match for match in (*known, *others, *own)}
        return [*matches.values()][:RECALLED]

    async def _vector_of(self, text: str) -> tuple[Vector, bool]:
        if kept := self.cache.get(text):
            return kept, True
        request = pb.EmbedRequest(text=text)
        answer = await self._embedding.call(self._stub.Embed, request, pb.EmbedResponse, timeout=self._embed_seconds)
        vector = Vector.of(answer.model, answer.embedding.values, answer.native_dimensions)
        await self._notice(answer.model)
        self.cache.put(text, vector)
        return vector, False

    async def _embed_some(self) -> bool:
        """Embed one batch; False if there is nothing left."""
        vectors = await self._vectors_of_waiting(BATCH)
        if vectors:
            async with self._database.write(keyed=False) as tx:
                await episodes.embed(tx, vectors, self.model)
        return bool(vectors)

    async def _vectors_of_waiting(self, most: int) -> dict[UUID, Vector]:
        """Vectors by the present model of episodes that wait, oldest first; none if none waits."""
        texts = await episodes.waiting(self._database.read, most)
        # What was asked for to decide is there already, and a model takes ten times as long as everything else here.
        kept = {key: vector for key, text in texts.items() if (vector := self.cache.peek(text))}
        known = {key: vector for key, vector in kept.items() if vector.model == self.model}
        if known or not texts:
            return known
        request = pb.EmbedBatchRequest(texts=texts.values())
        answer = await self._embedding.call(
            self._stub.EmbedBatch, request, pb.EmbedBatchResponse, timeout=BATCH_SECONDS
        )
        await self._notice(answer.model)
        native = answer.native_dimensions
        vectors = [Vector.of(answer.model, embedding.values, native) for embedding in answer.embeddings]
        return dict(zip(texts, vectors, strict=True))

    async def _ask_model(self) -> None:
        """Notice another model even if every text is kept already."""
        if time.monotonic() - self._model_asked >= MODEL_SECONDS:
            await self._ask_model_now()

    async def _ask_model_now(self) -> None:
        self._model_asked = time.monotonic()
        request = pb.GetMetricsRequest()
        answer = await self._embedding.call(self._stub.GetMetrics, request, pb.GetMetricsResponse)
        if answer.metrics.model.model:
            await self._notice(answer.metrics.model.model)

    async def _notice(self, model: str) -> None:
        """Have everything embedded again if the embedding service has changed its model."""
        if model == self.model:
            return
        self.cache.forget()
        async with self._database.write(keyed=False) as tx:
            outdated = await episodes.outdate(tx, model)
        self.model = model
        if outdated:
            log.info("memory.model_changed", model=model, episodes=outdated)
            self.wake()


class Cache:
    """Vectors of the texts last asked for, each kept for an hour; the least recently kept goes first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, tuple[float, Vector]] = OrderedDict()
        self._asked = self._answered = 0

    @property
    def hit_rate(self) -> float | None:
        """Share of the look-ups since the start that it answered, 0 to 1; None = there was none."""
        return self._answered / self._asked if self._asked else None

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, text: str) -> Vector | None:
        """The vector of a text, if it is kept and not too old."""
        found = self.peek(text)
        self._asked += 1
        self._answered += found is not None
        return found

    def peek(self, text: str) -> Vector | None:
        """The same, when it is no look-up that anybody waits for."""
        kept_at, vector = self._entries.get(text, (0.0, None))
        return vector if vector and time.monotonic() - kept_at < CACHE_SECONDS else None

    def put(self, text: str, vector: Vector) -> None:
        """Keep a vector."""
        self._entries[text] = (time.monotonic(), vector)
        self._entries.move_to_end(text)
        if len(self._entries) > CACHE_ENTRIES:
            self._entries.popitem(last=False)

    def forget(self) -> None:
        """Keep nothing."""
        self._entries.clear()


def _recollect(match: Match) -> Recollection:
    episode = match.episode
    return Recollection(
        episode_id=episode.episode_id,
        project_id=episode.record.project_id,
        similarity=match.likeness,
        sprint_duration_weeks=episode.record.final.sprint_duration_weeks,
        outcome=episode.outcome,
    )
