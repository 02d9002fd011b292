"""What befalls events on their way leaves no trace: each is told, and each has its effect once."""

from __future__ import annotations

import pytest

from tests.faults.arena import DELIVERIES, Arena, count, only_full, seeded
from tests.faults.deliveries import creations, order, poison, repetition, replay

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]


async def test_a_backlog_killed_between_commit_and_publish_tells_everything(arena: Arena) -> None:
    rng = seeded("commit-publish")
    points = ("outbox.before-publish", "outbox.after-publish")
    lives = [f"{points[life % 2]}=kill@{rng.randrange(3, 15)}" for life in range(count(20, 2))]
    assert await creations.creates_while_dying(arena, rng, count(1000, 60), lives) == []


async def test_a_sprint_service_killed_between_effect_and_acknowledgement_repeats_nothing(arena: Arena) -> None:
    rng = seeded("effect-ack")
    points = ("inbox.before-ack", "inbox.before-effect")
    lives = [f"{points[life % 2]}=kill@{rng.randrange(1, 3)}" for life in range(count(10, 1))]
    assert await repetition.reports_while_dying(arena, rng, count(1000, 200), lives) == []


async def test_a_message_delivered_ten_times_has_one_effect(arena: Arena) -> None:
    rng = seeded("ten-times")
    assert await repetition.delivered_often(arena, rng, count(5000, 200), times=10) == []


async def test_messages_in_another_order_take_nothing_back(arena: Arena) -> None:
    rng = seeded("reordered")
    assert await order.progress_reordered(arena, rng, count(5000, 200), tasks=count(50, 10)) == []
    assert await order.titles_reordered(arena, rng, count(5000, 200), tasks=count(50, 10)) == []


async def test_a_relay_that_stalls_tells_nothing_late_or_twice(arena: Arena) -> None:
    rng = seeded("stalled-relay")
    assert await order.relay_stalled(arena, rng, count(2000, 200), seconds=1.5) == []


@only_full
async def test_what_is_told_again_has_no_second_effect(arena: Arena) -> None:
    rng = seeded("replay")
    assert await replay.replayed(arena, rng, count(1000, 50)) == []


async def test_poison_is_put_aside_and_holds_nobody_up(arena: Arena) -> None:
    rng = seeded("poison")
    assert await poison.poisoned(arena, rng, count(2000, 300), DELIVERIES) == []
