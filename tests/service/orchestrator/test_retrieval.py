"""The benchmark of retrieval, small: it runs, and what it measures holds."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from psycopg import AsyncConnection

from services.kit.data.database import Database
from services.kit.data.migrate import upgrade
from services.local.stack import Stack
from services.orchestrator.domain.likeness import MEANING_WEIGHT, WEIGHTS, Traits
from services.orchestrator.store import episodes
from services.orchestrator.store.episodes import EpisodeFilter, Vector
from tests.bench import retrieval
from tests.harness import World

COUNT = 2000


@pytest.fixture(scope="module")
def fleet() -> retrieval.Fleet:
    return retrieval.draw(60, 20, seed=2)


@pytest.fixture(scope="module")
def url(stack: Stack, fleet: retrieval.Fleet) -> str:
    """A database of its own with many episodes."""
    stack.postgres.ensure_database("dsm_retrieval")
    found = stack.postgres.url("dsm_retrieval")
    upgrade("orchestrator", found)
    asyncio.run(retrieval.fill(found, fleet, COUNT))
    return found


async def test_the_search_finds_what_an_exact_one_finds(url: str, fleet: retrieval.Fleet) -> None:
    database = Database("orchestrator", url)
    await database.open()
    found = await retrieval.search(database, fleet, COUNT)
    await database.close()
    recalls = {name: figures.recall for name, figures in found.items() if figures.recall == figures.recall}
    assert len(recalls) == 5
    assert min(recalls.values()) >= 0.95


async def test_likeness_is_the_weighted_mean_of_meaning_and_figures(url: str, fleet: retrieval.Fleet) -> None:
    database = Database("orchestrator", url)
    await database.open()
    vector = Vector(fleet.model, tuple(map(float, fleet.asked[0])))
    for traits in (Traits(), Traits(team_size=4, load=0.25, velocity=7, duration_weeks=2), Traits(load=0.01)):
        matches = await episodes.search(database.read, vector, traits, EpisodeFilter(), 5)
        assert len(matches) == 5
        assert [match.likeness for match in matches] == sorted((match.likeness for match in matches), reverse=True)
        for match in matches:
            meaning = float(fleet.vectors(COUNT)[match.episode.episode_id.int] @ fleet.asked[0])
            assert match.likeness == pytest.approx(_gower(meaning, traits, match.episode.traits), abs=2e-3)
    await database.close()


async def test_the_index_serves_the_search(url: str, fleet: retrieval.Fleet) -> None:
    vector = Vector(fleet.model, tuple(map(float, fleet.asked[0])))
    params = {
        "vector": vector.text,
        "model": vector.model,
        "with_outcome": False,
        "candidates": 50,
        "limit": 5,
        "length": 384,
    }
    async with await AsyncConnection.connect(url) as connection:
        for project_id, index in (("", "episode_embedding_384_idx"), ("P3", "episode_retrievable_idx")):
            wanted = params | {"project_id": project_id} | vars(Traits())
            plan = await (await connection.execute("EXPLAIN " + episodes.search_sql(wanted), wanted)).fetchall()
            assert any(index in line for (line,) in plan), plan


async def test_decisions_are_timed(world: World) -> None:
    await world.start("project", "backlog", "sprint", "chronicle", "embedding", "orchestrator")
    channel = await world.channel("orchestrator")
    target: Any = SimpleNamespace(
        channel=lambda _: channel,
        project=ProjectServiceStub(await world.channel("project")),
        backlog=BacklogServiceStub(await world.channel("backlog")),
    )
    timed = await retrieval.decide(target, calls=2)
    assert [len(each.milliseconds) for each in timed.values()] == [2, 2, 5, 5]


def _gower(meaning: float, one: Traits, other: Traits) -> float:
    total, weights = MEANING_WEIGHT * meaning, MEANING_WEIGHT
    for trait, weight in WEIGHTS.items():
        first, second = getattr(one, trait), getattr(other, trait)
        if first and second:
            total += weight * min(first, second) / max(first, second)
            weights += weight
    return total / weights
