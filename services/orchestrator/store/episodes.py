"""Episodes: lists, the search by meaning, embeddings and outcomes."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from uuid import UUID

from psycopg.types.json import Jsonb

from services.kit.data.database import Params, ReadHandle, WriteHandle
from services.kit.data.paging import Page
from services.orchestrator.domain.episode import RETRIEVABLE_QUALITY, Episode
from services.orchestrator.domain.likeness import MEANING_WEIGHT, WEIGHTS, Traits
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
# What the index of the vectors holds: a condition that says the same, in figures and not in parameters, may use it.
_RETRIEVABLE = f"quality_score >= {RETRIEVABLE_QUALITY} AND NOT requires_embedding"
_SEARCH_CONDITIONS = {
    "model": "embedding_model = %(model)s",
    "project_id": "project_id = %(project_id)s",
    "with_outcome": "outcome_time IS NOT NULL",
}
# The lengths of vectors that there are indexes for.
_LENGTHS = (384, 1024)
# Nearest by meaning that are compared by their figures too; how many the index looks at before it filters.
_CANDIDATES = 30
_EF_SEARCH = 60
# Episodes of one project that are compared: a decision a working day for eight years. Those before are of another team.
NEWEST = 2000


def _likeness() -> str:
    """Likeness of two situations, 0 to 1: the weighted mean of the likeness of their meaning and of each trait.

    Gower's general coefficient of similarity (Gower 1971, Biometrics 27, 857-871): what is not known of one of the two
    has no weight. Meaning is the cosine of the embeddings; the likeness of a trait is the smaller figure divided by the
    greater, which is exp(-|ln(a / b)|) and the same in whatever unit both are.
    """
    likenesses = {trait: f"exp(-abs(ln(e.{trait} / %({trait})s::float8)))" for trait in WEIGHTS}
    total = [f"{MEANING_WEIGHT} * greatest(0, least(1, 1 - n.distance))"]
    total += [f"coalesce({WEIGHTS[trait]} * {likeness}, 0)" for trait, likeness in likenesses.items()]
    weight = [f"{MEANING_WEIGHT}"]
    weight += [
        f"CASE WHEN e.{trait} / %({trait})s::float8 IS NULL THEN 0 ELSE {WEIGHTS[trait]} END" for trait in WEIGHTS
    ]
    return f"({' + '.join(total)}) / ({' + '.join(weight)})"


# The nearest by meaning of all projects, from the graph. What is cast to the index's type is looked up in it.
_IN_GRAPH = """
    SELECT episode_id, embedding::halfvec({length}) <=> %(vector)s::halfvec({length}) AS distance FROM episode
    {conditions} ORDER BY distance LIMIT %(candidates)s
"""
# The nearest of a project's newest, one by one: the graph would lead past the episodes of every other project.
_IN_PROJECT = f"""
    SELECT * FROM (
        SELECT episode_id, embedding <=> %(vector)s::halfvec AS distance FROM episode
        {{conditions}} ORDER BY create_time DESC, episode_id DESC LIMIT {NEWEST}) AS newest
    ORDER BY distance LIMIT %(candidates)s
"""
# The settings hold for this statement alone. Iterative scan lets the index go on when the filter has refused its first
# candidates; its order is relaxed, because the candidates are sorted afterwards. PostgreSQL looks at `setting` before
# it begins the scan, because nothing in it depends on a row. Completed by `search_sql`.
_SEARCH = f"""
    WITH setting AS MATERIALIZED (
        SELECT set_config('hnsw.ef_search', '{_EF_SEARCH}', true) AS ef_search,
               set_config('hnsw.iterative_scan', 'relaxed_order', true) AS iterative_scan),
    nearest AS MATERIALIZED ({{nearest}}),
    likest AS MATERIALIZED (
        SELECT episode_id, {_likeness()} AS likeness FROM nearest n JOIN episode e USING (episode_id)
        ORDER BY likeness DESC, episode_id LIMIT %(limit)s)
    SELECT {COLUMNS}, l.likeness FROM likest l JOIN episode e USING (episode_id) JOIN decision d USING (decision_id)
    ORDER BY l.likeness DESC, e.episode_id
"""
_COUNT = "SELECT count(*) AS episodes, count(*) FILTER (WHERE requires_embedding) AS waiting FROM episode"
_WAITING = """
    SELECT episode_id, context_text FROM episode WHERE requires_embedding ORDER BY create_time LIMIT %(limit)s
"""
_EMBED = """
    UPDATE episode e SET embedding = v.vector::halfvec, embedding_model = %(model)s, requires_embedding = false
    FROM unnest(%(episode_ids)s::uuid[], %(vectors)s::text[]) AS v (episode_id, vector)
    WHERE e.episode_id = v.episode_id
"""
_OUTDATE = """
    UPDATE episode SET requires_embedding = true WHERE NOT requires_embedding AND embedding_model <> %(model)s
"""
_REASSESS = """
    UPDATE episode e SET quality_score = v.score, quality_findings = v.findings
    FROM jsonb_to_recordset(%(qualities)s) AS v (episode_id uuid, score float8, findings text[])
    WHERE e.episode_id = v.episode_id
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
    """An embedding with the model that made it, without the zeros that a shorter model's is filled up with."""

    model: str
    values: tuple[float, ...]

    @classmethod
    def of(cls, model: str, values: Sequence[float], native: int) -> "Vector":
        """What the embedding service answers, `native` of whose values are the model's own."""
        length = next((length for length in _LENGTHS if 0 < native <= length), _LENGTHS[-1])
        return cls(model, tuple(values[:length]))

    @cached_property
    def text(self) -> str:
        """As pgvector reads it."""
        # A half has three digits.
        return "[" + ",".join([f"{value:.5g}" for value in self.values]) + "]"


@dataclass(frozen=True)
class Match:
    """An episode found, and how like its situation is to the one searched for, 0 to 1."""

    episode: Episode
    likeness: float


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


async def search(read: ReadHandle, vector: Vector, traits: Traits, wanted: EpisodeFilter, limit: int) -> list[Match]:
    """The retrievable episodes, embedded by the same model, whose situations are most like one; most like first.

    Without traits (as for a text) they are compared by meaning alone. Of one project the newest 2,000 are looked at.
    """
    params = {
        "vector": vector.text,
        "length": len(vector.values),
        "model": vector.model,
        "project_id": wanted.project_id,
        "with_outcome": wanted.with_outcome_only,
        "candidates": max(_CANDIDATES, limit),
        "limit": limit,
        **asdict(traits),
    }
    rows = await read.rows(search_sql(params), params)
    return [Match(to_episode(row), row["likeness"]) for row in rows]


def search_sql(params: Params) -> str:
    """The search with the conditions that are asked for."""
    conditions = (
        f"{where(_SEARCH_CONDITIONS, params)} AND {_RETRIEVABLE} AND vector_dims(embedding) = {params['length']}"
        " AND (SELECT iterative_scan <> 'off' AND ef_search <> '' FROM setting)"
    )
    nearest = _IN_PROJECT if params["project_id"] else _IN_GRAPH
    return _SEARCH.format(nearest=nearest.format(conditions=conditions, length=params["length"]))


async def count(read: ReadHandle) -> tuple[int, int]:
    """Episodes, and those of them that wait for their embedding."""
    [row] = await read.rows(_COUNT)
    return row["episodes"], row["waiting"]


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


async def reassess(tx: WriteHandle, changed: Sequence[Episode]) -> None:
    """Store the quality of episodes."""
    qualities = [
        {"episode_id": str(e.episode_id), "score": e.quality_score, "findings": list(e.quality_findings)}
        for e in changed
    ]
    await tx.execute(_REASSESS, {"qualities": Jsonb(qualities)})
