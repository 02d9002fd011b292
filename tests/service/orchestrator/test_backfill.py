"""Episodes that wait for their embedding, embedded by call: in batches, none twice, and not without the service."""

from __future__ import annotations

from uuid import uuid4

import pytest
import pytest_asyncio
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.orchestrator import memory
from tests.harness import World, refused
from tests.service.orchestrator.orchestrations import Dsm, dsm_of

COUNT = 3


@pytest_asyncio.fixture
async def dsm(world: World, monkeypatch: pytest.MonkeyPatch) -> Dsm:
    """Nobody but the test embeds what waits, once the last decision's episode is embedded."""
    monkeypatch.setattr(memory, "RETRY_SECONDS", 3600.0)
    return await dsm_of(world)


async def outdate(dsm: Dsm) -> None:
    """As a change of model does."""
    await dsm.world.query(
        "orchestrator", "UPDATE episode SET requires_embedding = true, embedding_model = 'old' RETURNING 1"
    )


async def embed(dsm: Dsm, **more: object) -> pb.EmbedEpisodesResponse:
    answer: pb.EmbedEpisodesResponse = await dsm.orchestrator.EmbedEpisodes(pb.EmbedEpisodesRequest(**more))  # type: ignore[arg-type]
    return answer


async def test_what_waits_is_embedded_and_nothing_twice(dsm: Dsm) -> None:
    await dsm.project("EMB-ALL")
    for _ in range(COUNT):
        await dsm.orchestrate("EMB-ALL", dry_run=True)
    before = await dsm.embedded("EMB-ALL", COUNT)
    await outdate(dsm)
    request_id = str(uuid4())
    first = await embed(dsm, max_episodes=1, request_id=request_id)
    assert (first.embedded_episodes, first.waiting_episodes) == (1, COUNT - 1)
    assert first.embedding_model == before[0].embedding_model
    assert await embed(dsm, max_episodes=1, request_id=request_id) == first
    rest = await embed(dsm)
    assert (rest.embedded_episodes, rest.waiting_episodes) == (COUNT - 1, 0)
    assert (await embed(dsm)).embedded_episodes == 0
    assert await dsm.embedded("EMB-ALL", COUNT) == before


async def test_without_the_embedding_service_it_is_refused_and_they_wait(dsm: Dsm) -> None:
    await outdate(dsm)
    await dsm.world.stop("embedding")
    failed = await refused(dsm.orchestrator.EmbedEpisodes(pb.EmbedEpisodesRequest()))
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    await dsm.world.start("embedding")
