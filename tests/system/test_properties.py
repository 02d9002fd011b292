"""Whatever several clients send, also at once, leaves everything in order: a state machine plays them.

DSM_PLAY_SEED=1 plays one seed again, DSM_PLAY_EXAMPLES=50 makes more plays, DSM_PLAY_STEPS=500 longer ones, and
DSM_PLAY_SHRINK=1 makes a play that fails shorter, which takes its time.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    MultipleResults,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
    run_state_machine_as_test,
)

from tests.contract.calls import failures
from tests.harness import World
from tests.system.play.client import Client, Command
from tests.system.play.commands import (
    BACKLOG_COMMANDS,
    COMMANDS,
    PROJECT_COMMANDS,
    SPRINT_COMMANDS,
    create_tasks,
    start_sprint,
)
from tests.system.play.order import check_order, settle
from tests.system.play.stage import Ground, Stage, make_stage

pytestmark = pytest.mark.slow

T = TypeVar("T")

EXAMPLES = int(os.environ.get("DSM_PLAY_EXAMPLES", "5"))
STEPS = int(os.environ.get("DSM_PLAY_STEPS", "60"))
SEED = int(os.environ.get("DSM_PLAY_SEED") or Random().randrange(10**6))
_PHASES = (Phase.generate, Phase.shrink) if os.environ.get("DSM_PLAY_SHRINK") else (Phase.generate,)
_SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=STEPS,
    phases=_PHASES,
    deadline=None,
    database=None,
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)


@dataclass(frozen=True)
class Move:
    """One command of a client; what is in it comes from the number and from what all clients know by then."""

    client: str
    command: Command
    number: int

    def __repr__(self) -> str:
        return f"{self.client}.{self.command.__name__}({self.number})"

    async def make(self, stage: Stage, ground: Ground, *, insistent: int = 0) -> None:
        """Send it."""
        await self.command(Client(stage, self.client, Random(self.number), insistent=insistent), ground)


def moves(commands: dict[Command, int]) -> st.SearchStrategy[Move]:
    """Moves of any client, each command as often as it says."""
    weighted = [command for command, weight in commands.items() for _ in range(weight)]
    return st.builds(
        Move, st.sampled_from(["C1", "C2", "C3", "C4"]), st.sampled_from(weighted), st.integers(0, 2**16 - 1)
    )


class Play(RuleBasedStateMachine):
    """Two projects and their clients.

    What it draws from depends on what was drawn before and never on an answer, so that a seed gives the same play
    again as far as moves made at once allow it.
    """

    projects: Bundle[Ground] = Bundle("projects")
    stocked: Bundle[Ground] = Bundle("stocked")
    planned: Bundle[Ground] = Bundle("planned")

    def __init__(self, world: World, loop: asyncio.AbstractEventLoop, tally: Counter[tuple[str, str]]) -> None:
        super().__init__()
        self._loop = loop
        self._tally = tally
        self._stage: Stage = self._wait(make_stage(world))

    @initialize(target=projects)
    def begin(self) -> MultipleResults[Ground]:
        """Two projects that share their people."""
        return multiple(*self._stage.grounds)

    @rule(target=stocked, ground=projects, number=st.integers(0, 2**16 - 1))
    def stock(self, ground: Ground, number: int) -> Ground:
        """A project gets tasks."""
        self._make(Move("C1", create_tasks, number), ground)
        return ground

    @rule(target=planned, ground=stocked, number=st.integers(0, 2**16 - 1))
    def plan(self, ground: Ground, number: int) -> Ground:
        """A sprint of a project that got tasks."""
        self._make(Move("C1", start_sprint, number), ground)
        return ground

    @rule(ground=projects, move=moves(PROJECT_COMMANDS))
    def change_the_project(self, ground: Ground, move: Move) -> None:
        self._make(move, ground)

    @rule(ground=stocked, move=moves(BACKLOG_COMMANDS))
    def change_the_backlog(self, ground: Ground, move: Move) -> None:
        self._make(move, ground)

    @rule(ground=planned, move=moves(SPRINT_COMMANDS))
    def work_in_the_sprint(self, ground: Ground, move: Move) -> None:
        self._make(move, ground)

    @rule(made=st.lists(st.tuples(projects, moves(COMMANDS)), min_size=4, max_size=12))
    def change_anything_at_once(self, made: list[tuple[Ground, Move]]) -> None:
        """Several clients, and one client several times."""
        self._at_once(made)

    @rule(ground=planned, made=st.lists(moves(SPRINT_COMMANDS), min_size=4, max_size=16))
    def work_at_once(self, ground: Ground, made: list[Move]) -> None:
        """All of them in one sprint."""
        self._at_once([(ground, move) for move in made])

    @rule(ground=planned, move=moves(COMMANDS))
    def insist(self, ground: Ground, move: Move) -> None:
        """A command sent four times at once has one answer; no event is under way that could change it between."""
        assert not self._wait(settle(self._stage))
        since = len(self._stage.history)
        self._wait(move.make(self._stage, ground, insistent=4))
        assert not self._stage.mixed(since)

    @invariant()
    def answers_are_well_formed(self) -> None:
        """Nothing INTERNAL, each refusal with its reason, one answer per request_id."""
        assert not self._stage.wrong, self._stage.wrong

    def teardown(self) -> None:
        """Once it is quiet, everything is in order."""
        wrong = self._wait(check_order(self._stage))
        assert not wrong, _story_of(self._stage, wrong)
        self._tally.update(_tally(self._stage))

    def _make(self, move: Move, ground: Ground) -> None:
        self._wait(move.make(self._stage, ground))

    def _at_once(self, made: list[tuple[Ground, Move]]) -> None:
        async def make() -> None:
            await asyncio.gather(*(move.make(self._stage, ground) for ground, move in made))

        self._wait(make())

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        """The services run in the test's loop, the machine in a thread beside it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()


@pytest.mark.timeout(max(300, EXAMPLES * STEPS))
async def test_a_play_leaves_everything_in_order(world: World) -> None:
    before, loop, tally = failures(), asyncio.get_running_loop(), Counter[tuple[str, str]]()
    print(f"DSM_PLAY_SEED={SEED}")
    factory: Callable[[], Play] = seed(SEED)(lambda: Play(world, loop, tally))
    await asyncio.to_thread(run_state_machine_as_test, factory, settings=_SETTINGS)  # type: ignore[arg-type]
    assert failures() == before
    print(", ".join(f"{method} {reason} {times}" for (method, reason), times in sorted(tally.items())))


def _story_of(stage: Stage, wrong: list[str]) -> str:
    """What is wrong, and the part of the history that is about it."""
    ids = {word.strip("',:()[]{}\"") for line in wrong for word in line.split()}
    named = sorted(word for word in ids if "-TASK" in word or "-STORY" in word)
    return "\n".join([*wrong, "", stage.about(*named[:1]) if named else ""])


def _tally(stage: Stage) -> Counter[tuple[str, str]]:
    """How often each command was answered, and why it was refused."""
    return Counter((told.method, outcome.reason or "OK") for told in stage.history for outcome in told.outcomes)
