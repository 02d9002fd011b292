"""Random plays of several clients at once must leave everything in order.

DSM_PLAY_SEEDS=1,2 plays just these, DSM_PLAY_RUNS=50 more of them, DSM_PLAY_COMMANDS=500 longer ones, and
DSM_PLAY_CLIENTS=1 takes the interleaving out of what a seed gives.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from random import Random

import pytest

from tests.contract.calls import failures
from tests.harness import World
from tests.system.play.commands import Client
from tests.system.play.order import check_order, settle
from tests.system.play.stage import Stage, make_stage

pytestmark = pytest.mark.slow

RUNS = int(os.environ.get("DSM_PLAY_RUNS", "6"))
CLIENTS = int(os.environ.get("DSM_PLAY_CLIENTS", "4"))
COMMANDS = int(os.environ.get("DSM_PLAY_COMMANDS", "80"))
SEEDS = [int(seed) for seed in os.environ.get("DSM_PLAY_SEEDS", "").split(",") if seed] or [
    Random().randrange(10**6) for _ in range(RUNS)
]


@pytest.mark.timeout(max(300, COMMANDS))
@pytest.mark.parametrize("seed", SEEDS)
async def test_a_play_leaves_everything_in_order(world: World, seed: int) -> None:
    stage = await make_stage(world)
    before = failures()
    clients = [Client(stage, f"C{number}", Random(f"{seed}:{number}")) for number in range(CLIENTS)]
    await asyncio.gather(*(client.play(COMMANDS) for client in clients))
    wrong = await check_order(stage)
    assert not wrong, _story_of(stage, wrong)
    assert failures() == before
    print(f"seed {seed}: {_tally(stage)}")


@pytest.mark.parametrize("seed", SEEDS[:1])
async def test_a_command_sent_often_at_once_has_one_answer(world: World, seed: int) -> None:
    stage = await make_stage(world)
    client = Client(stage, "C", Random(seed), insistent=4)
    for _ in range(COMMANDS // 2):
        # No event is under way that could change the mind of a service between two of the same.
        assert not await settle(stage)
        await client.play(1)
    assert not stage.mixed()
    assert not await check_order(stage)


def _story_of(stage: Stage, wrong: list[str]) -> str:
    """What is wrong, and the part of the history that is about it."""
    ids = {word.strip("',:()[]{}\"") for line in wrong for word in line.split()}
    named = sorted(word for word in ids if "-TASK" in word or "-STORY" in word)
    return "\n".join([*wrong, "", stage.about(*named[:1]) if named else ""])


def _tally(stage: Stage) -> str:
    """How often each command was answered, and why it was refused."""
    counts = Counter((told.method, outcome.reason or "OK") for told in stage.history for outcome in told.outcomes)
    return ", ".join(f"{method} {reason} {times}" for (method, reason), times in sorted(counts.items()))
