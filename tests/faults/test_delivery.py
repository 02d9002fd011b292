"""What befalls events on their way leaves no trace: each is told, and each has its effect once."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.local.stack import Stack
from tests.faults import deliveries
from tests.faults.arena import Arena, count, seeded

pytestmark = pytest.mark.slow


@pytest_asyncio.fixture(scope="module")
async def arena(fault_stack: Stack) -> AsyncIterator[Arena]:
    # Small batches: what is killed between two of them has done some and not all.
    made = Arena(fault_stack, DSM_SPRINT_CONSUMER_BATCH="20")
    yield made
    await made.close()


async def test_a_backlog_killed_between_commit_and_publish_tells_everything(arena: Arena) -> None:
    rng = seeded("commit-publish")
    points = ("outbox.before-publish", "outbox.after-publish")
    lives = [f"{points[life % 2]}=kill@{rng.randrange(3, 25)}" for life in range(count(20, 2))]
    assert await deliveries.creates_while_dying(arena, rng, count(1000, 100), lives) == []


async def test_a_sprint_service_killed_between_effect_and_acknowledgement_repeats_nothing(arena: Arena) -> None:
    rng = seeded("effect-ack")
    points = ("inbox.before-ack", "inbox.before-effect")
    lives = [f"{points[life % 2]}=kill@{rng.randrange(1, 4)}" for life in range(count(10, 2))]
    assert await deliveries.reports_while_dying(arena, rng, count(1000, 200), lives) == []


async def test_a_message_delivered_ten_times_has_one_effect(arena: Arena) -> None:
    rng = seeded("ten-times")
    assert await deliveries.delivered_often(arena, rng, count(5000, 200), times=10) == []
