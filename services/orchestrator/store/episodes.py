"""Episodes: lists, the search by meaning, embeddings and outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg.types.json import Jsonb

from services.kit.database import ReadHandle, WriteHandle
from services.kit.paging import Page
from services.orchestrator.domain.episode import RETRIEVABLE_QUALITY, Episode
from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.store.rows import COLUMNS, SELECT, outcome_json, to_episode, where

_CONDITIONS = {
    "project_id": "e.project_id = %(project_id)s",
    "episode_id": "e.episode_id = %(episode_id)s",
    "with_outcome": "e.outcome_time IS NOT NULL",
    "retrievable": "e.quality_score >= %(least_quality)s",
    "after_id": "(e.create_time, e.episode_id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)",
}
_ORDER = "ORDER BY e.create_time DESC, e.episode_id DESC LIMIT %(limit)s"
# The setting holds for this statement alone. It lets the index scan go on when the filter has refused its first
# candidates; PostgreSQL looks at `setting` before it begins the scan, because nothing in it depends on a row.
SEARCH = f"""
    WITH setting AS MATERIALIZED (SELECT set_config('hnsw.iterative_scan', 'strict_order', true) AS value),
    nearest AS MATERIALIZED (
        SELECT episode_id, embedding <=> %(vector)s::vector AS distance FROM episode
        WHERE (SELECT value FROM setting) = 'strict_order'
          AND embedding_model = %(model)s AND quality_score >= %(least_quality)s
          AND (%(project_id)s = '' OR project_id = %(project_id)s)
          AND (NOT %(with_outcome)s OR outcome_time IS NOT NULL)
        ORDER BY embedding <=> %(vector)s::vector LIMIT %(limit)s)
    SELECT {COLUMNS}, greatest(0, least(1, 1 - n.distance)) AS similarity
    FROM nearest n JOIN episode e USING (episode_id) JOIN decision d USING (decision_id)
    ORDER BY n.distance, e.episode_id
"""
_WAITING = """
    SELECT episode_id, context_text FROM episode WHERE requires_embedding ORDER BY create_time LIMIT %(limit)s
"""
_EMBED = """
    UPDATE episode e SET embedding = v.vector::vector, embedding_model = %(model)s, requires_embedding = false
    FROM unnest(%(episode_ids)s::uuid[], %(vectors)s::text[]) AS v (episode_id, vector)
    WHERE e.episode_id = v.episode_id
"""
_OUTDATE = """
    UPDATE episode SET requires_embedding = true WHERE NOT requires_embedding AND embedding_model <> %(model)s
"""
_RECORD_OUTCOMES = f"""
    UPDATE episode e SET outcome = v.outcome, outcome_time = now(), version = e.version + 1
    FROM unnest(%(sprint_ids)s::text[], %(outcomes)s::jsonb[]) AS v (sprint_id, outcome),
         decision d
    WHERE d.sprint_id = v.sprint_id AND e.decision_id = d.decision_id AND e.outcome_time IS NULL
    RETURNING {COLUMNS}
"""


@dataclass(frozen=True)
class EpisodeFilter:
    """Which episodes are listed or searched."""

    project_id: str = ""
    episode_id: UUID | None = None
    with_outcome_only: bool = False
    retrievable_only: bool = False


@dataclass(frozen=True)
class Vector:
    """An embedding with the model that made it."""

    model: str
    values: tuple[float, ...]

    @property
    def text(self) -> str:
        """As pgvector reads it."""
        return "[" + ",".join(map(repr, self.values)) + "]"


@dataclass(frozen=True)
class Match:
    """An episode found, with the cosine similarity of its embedding to the query's, 0 to 1."""

    episode: Episode
    similarity: float


async def page_of_episodes(read: ReadHandle, wanted: EpisodeFilter, page: Page) -> tuple[Sequence[Episode], str]:
    """A page of episodes, newest first, and the token of the next."""
    after_time, after_id = page.after or (None, None)
    params = {
        "project_id": wanted.project_id,
        "episode_id": wanted.episode_id,
        "with_outcome": wanted.with_outcome_only,
        "retrievable": wanted.retrievable_only,
        "least_quality": RETRIEVABLE_QUALITY,
        "after_time": after_time,
        "after_id": after_id,
        "limit": page.limit,
    }
    sql = f"{SELECT} {where(_CONDITIONS, params)} {_ORDER}"
    found = [to_episode(row) for row in await read.rows(sql, params)]
    return page.cut(found, lambda e: (e.create_time, e.episode_id))


async def search(read: ReadHandle, vector: Vector, wanted: EpisodeFilter, limit: int) -> list[Match]:
    """The most similar retrievable episodes that were embedded by the same model, most similar first."""
    params = {
        "vector": vector.text,
        "model": vector.model,
        "least_quality": RETRIEVABLE_QUALITY,
        "project_id": wanted.project_id,
        "with_outcome": wanted.with_outcome_only,
        "limit": limit,
    }
    return [Match(to_episode(row), row["similarity"]) for row in await read.rows(SEARCH, params)]


async def waiting(read: ReadHandle, limit: int) -> dict[UUID, str]:
    """The texts of episodes that wait for their embedding, oldest first."""
    return {row["episode_id"]: row["context_text"] for row in await read.rows(_WAITING, {"limit": limit})}


async def embed(tx: WriteHandle, vectors: Mapping[UUID, Vector], model: str) -> None:
    """Store the embeddings of episodes, all by one model."""
    texts = [vector.text for vector in vectors.values()]
    await tx.execute(_EMBED, {"episode_ids": list(vectors), "vectors": texts, "model": model})


async def outdate(tx: WriteHandle, model: str) -> int:
    """Let every episode that another model embedded be embedded again; how many there are."""
    return await tx.execute(_OUTDATE, {"model": model})


async def record_outcomes(tx: WriteHandle, outcomes: Sequence[Outcome]) -> list[Episode]:
    """Store what came of the decisions that started these sprints; the episodes that learned of it."""
    params = {
        "sprint_ids": [outcome.sprint_id for outcome in outcomes],
        "outcomes": [Jsonb(outcome_json(outcome)) for outcome in outcomes],
    }
    return [to_episode(row) for row in await tx.rows(_RECORD_OUTCOMES, params)]
