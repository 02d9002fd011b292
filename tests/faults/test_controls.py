"""Negative controls: with a protection broken, its fault test finds something; one that does not proves nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.faults import contention
from tests.faults.arena import FULL, Arena, only_full, seeded
from tests.faults.deliveries import creations, order, repetition, runs

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]


@asynccontextmanager
async def without(arena: Arena, protection: str, service: str) -> AsyncIterator[None]:
    """Meanwhile every process of a service that starts lacks a protection."""
    await arena.stop(service)
    arena.without = protection
    await arena.start(service)
    try:
        yield
    finally:
        arena.without = ""
        await arena.stop(service)
        await arena.start(service)


async def found(body: Awaitable[list[str]], *signs: str) -> None:
    """The body must find something, all of it of the kind that the broken protection lets through."""
    wrong = await body
    print(f"found {len(wrong)}: {wrong[0][:200] if wrong else ''}")
    assert any(sign in sentence for sentence in wrong for sign in signs), f"nothing of {signs} in {wrong}"


@only_full
async def test_events_told_after_the_commit_are_lost(arena: Arena) -> None:
    rng = seeded("control-outbox")
    async with without(arena, "outbox", "backlog"):
        lives = ["outbox.before-publish=kill@60"]
        await found(creations.creates_while_dying(arena, rng, 60, lives), "was never told")


async def test_without_the_inbox_a_redelivery_has_a_second_effect(arena: Arena) -> None:
    rng = seeded("control-inbox")
    async with without(arena, "inbox", "sprint"):
        if FULL:
            await found(
                repetition.reports_while_dying(arena, rng, 60, ["inbox.before-ack=kill@1"] * 4), "has 2 effects"
            )
        await found(repetition.delivered_often(arena, rng, 60, times=3), "effects")


@only_full
async def test_without_the_versions_of_tasks_a_late_message_takes_them_back(arena: Arena) -> None:
    rng = seeded("control-order")
    async with without(arena, "order", "backlog"):
        await found(order.progress_reordered(arena, rng, 300, tasks=10), "back to")


async def test_without_the_version_check_updates_are_lost(arena: Arena) -> None:
    async with without(arena, "version", "backlog"):
        await found(contention.one_task(arena, clients=10), "additions came to")


@only_full
async def test_without_the_relays_lock_a_stalled_one_tells_old_news(arena: Arena) -> None:
    rng = seeded("control-relay-lock")
    async with without(arena, "relay-lock", "backlog"):
        await found(order.relay_stalled(arena, rng, 100, seconds=1.5), "was told in the order")


@only_full
async def test_without_a_takeover_a_planning_stays_half_done(arena: Arena) -> None:
    async with without(arena, "takeover", "sprint"):
        body = contention.planning_cut_short(arena, "saga.start-sprint.reserve.done", seconds=8)
        await found(body, "under way")


@only_full
@pytest.mark.parametrize(
    ("service", "kind"), [("backlog", "Backlog.CreateTask"), ("sprint", "Sprint.UpdateTaskProgress")]
)
async def test_without_the_record_of_requests_a_call_has_its_effect_again(
    arena: Arena, service: str, kind: str
) -> None:
    rng = seeded("control-request-record")

    async def body() -> list[str]:
        wrong, _ = await contention.asked_at_once(arena, rng, [kind], clients=10)
        return wrong

    async with without(arena, "request-record", service):
        await found(body(), "had its effect", "was answered in")


@only_full
async def test_without_the_names_of_runs_one_is_decided_twice(arena: Arena, tmp_path: Path) -> None:
    async with without(arena, "run-id", "orchestrator"):
        await found(runs.decides_while_dying(arena, tmp_path / "now.txt", days=3), "2 decisions of")


@only_full
async def test_without_the_unique_index_two_sprints_are_open(arena: Arena) -> None:
    [index] = await arena.query("sprint", "SELECT indexdef FROM pg_indexes WHERE indexname = 'sprint_open_key'")
    await arena.query("sprint", "DROP INDEX sprint_open_key")
    try:
        await found(contention.planned_at_once(arena, clients=20), "are open at once")
    finally:
        await arena.query("sprint", "UPDATE sprint SET state = 'ABANDONED' WHERE state = 'IN_PROGRESS'")
        await arena.query("sprint", index["indexdef"])
