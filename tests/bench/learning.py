"""Whether what is learned makes decisions better: `python -m tests.bench.learning [--teams N] [--set tune|report]`.

Some teams of an organisation live through their sprints, decided on by the product's enhanced decision, and the
product's own functions learn strategies for all projects from what came of it. Other teams of the organisation, from
which nothing was learned, then live twice: without strategies, and with them. So every difference is that of learning
alone. It is told for the first three sprints, when a team's own pace has nothing or little to go by and strategies are
heard, and for all of them. What teams learn for themselves alone is left out: that takes eight outcomes, and is heard
only where the pace is not known.

Organisations are of two sorts: all teams of one kind, and teams of every kind together. Measures, simulator and
intervals are those of tests/bench/decisions.py. Teams that are learned from have seeds of their own; those with even
seeds were used to choose what is learned, those with odd seeds are for reporting.
"""

import argparse
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from random import Random
from uuid import UUID

import numpy as np
from rich.console import Console
from rich.table import Table

from services.orchestrator.domain.case import Case
from services.orchestrator.domain.evolution import evolve
from services.orchestrator.domain.learning import Lesson, Lessons
from services.orchestrator.domain.strategy import Strategy, StrategyState, features
from tests.bench.decisions import Enhanced, Score, interval, score
from tests.bench.simulator import KINDS, SPRINTS, Result, draw, play

# Teams of each kind that are learned from, and the first of their seeds, which nothing else uses.
OLDER_TEAMS = 12
FIRST_OLDER_SEED = 100_000
EARLY = 3
_NOW = datetime(2026, 1, 5, tzinfo=UTC)
_MEASURES = ("completion", "carried", "delivered")


@dataclass(frozen=True)
class Lives:
    """A team's lives without and with strategies, in its first sprints and in all."""

    kind: str
    seed: int
    early: tuple[Score, Score]
    whole: tuple[Score, Score]
    # Share of the decisions that followed a strategy.
    followed: float


def lessons_of(project_id: str, cases: Sequence[Case], results: Sequence[Result]) -> list[Lesson]:
    """What a team's sprints teach, newest first."""
    return [
        Lesson(
            episode_id=UUID(int=Random(f"{project_id}/{result.number}").getrandbits(128)),
            project_id=project_id,
            situation=features(case.analysis, case.rule_based),
            rule_tasks=case.rule_based.tasks_to_assign,
            planned_tasks=result.planned_tasks,
            completed_tasks=result.completed_tasks,
        )
        for case, result in zip(reversed(cases), reversed(results), strict=True)
    ]


def learn_from(lives: Sequence[Sequence[Lesson]]) -> list[Strategy]:
    """The strategies for all projects that teams of an organisation teach, whose sprints went side by side."""
    together = [lesson for lessons in zip(*lives, strict=True) for lesson in lessons]
    ids = Random(len(together))
    evolution = evolve((), Lessons(together), [""], _NOW, lambda: UUID(int=ids.getrandbits(128)))
    return [change.strategy for change in evolution.created if change.strategy.state is StrategyState.ACTIVE]


def teach(kind: str, seed: int, sprints: int = SPRINTS) -> list[Lesson]:
    """What a team that lives without strategies teaches."""
    policy = Enhanced()
    results = play(draw(kind, seed), policy, sprints)
    return lessons_of(f"{kind}/{seed}", policy.cases, results)


def live(kind: str, seed: int, strategies: Sequence[Strategy], sprints: int = SPRINTS) -> Lives:
    """A team's lives: the same one without strategies."""
    team, policies = draw(kind, seed), [Enhanced(), *([Enhanced(strategies)] if strategies else [])]
    results = [play(team, policy, sprints) for policy in policies]
    early, whole = ([score(found[:count]) for found in results] for count in (EARLY, None))
    followed = policies[-1].by_strategy / len(policies[-1].cases)
    return Lives(kind, seed, (early[0], early[-1]), (whole[0], whole[-1]), followed)


def run(teams: int, *, first_seed: int, kinds: Sequence[str]) -> dict[str, list[Lives]]:
    """The lives of so many teams of each kind, in either sort of organisation."""
    seeds = range(FIRST_OLDER_SEED, FIRST_OLDER_SEED + OLDER_TEAMS)
    jobs = [(kind, first_seed + 2 * number) for kind in kinds for number in range(teams)]
    with ProcessPoolExecutor() as pool:
        older = [(kind, seed) for kind in KINDS for seed in seeds]
        taught = dict(zip(older, pool.map(_teach, older, chunksize=4), strict=True))
        alike = {kind: learn_from([taught[kind, seed] for seed in seeds]) for kind in KINDS}
        mixed = learn_from(list(taught.values()))
        return {
            "alike": list(pool.map(_live, jobs, [alike[kind] for kind, _ in jobs], chunksize=4)),
            "mixed": list(pool.map(partial(_live, strategies=mixed), jobs, chunksize=4)),
        }


def _teach(job: tuple[str, int]) -> list[Lesson]:
    return teach(*job)


def _live(job: tuple[str, int], strategies: Sequence[Strategy]) -> Lives:
    return live(*job, strategies)


def differences(lives: Sequence[Lives], span: str) -> dict[str, tuple[float, float, float]]:
    """With strategies less without, in percent, each with its interval."""
    found = {}
    for measure in _MEASURES:
        pairs = [getattr(each, span) for each in lives]
        values = [getattr(learned, measure) - getattr(without, measure) for without, learned in pairs]
        mean, low, high = interval(values)
        found[measure] = 100 * mean, 100 * low, 100 * high
    return found


def _show(title: str, lives: Sequence[Lives]) -> None:
    table = Table("kind", "teams", "followed", title=title)
    for span in (f"first {EARLY} sprints", "all sprints"):
        for measure in _MEASURES:
            table.add_column(f"{span}:\n{measure}", justify="right")
    for kind in [*dict.fromkeys(each.kind for each in lives), "all"]:
        group = [each for each in lives if kind in (each.kind, "all")]
        cells = [_cell(figures) for span in ("early", "whole") for figures in differences(group, span).values()]
        followed = np.mean([each.followed for each in group])
        table.add_row(kind, str(len(group)), f"{followed:.0%}", *cells, end_section=kind != "all")
    Console(width=150).print(table)


def _cell(figures: tuple[float, float, float]) -> str:
    mean, low, high = figures
    return f"{mean:+.1f}\n\\[{low:+.1f} … {high:+.1f}]"


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="tests.bench.learning", description=__doc__.splitlines()[0])
    parser.add_argument("--teams", type=int, default=16, help="teams of each kind (default 16)")
    parser.add_argument("--set", choices=("tune", "report"), default="report", help="which seeds (default report)")
    parser.add_argument("--kind", action="append", choices=tuple(KINDS), help="only this kind")
    given = parser.parse_args()
    found = run(given.teams, first_seed=0 if given.set == "tune" else 1, kinds=given.kind or tuple(KINDS))
    title = "with strategies less without, in points of a percentage [95 % interval over teams]"
    for sort, lives in found.items():
        _show(f"organisations of teams {sort}: {title}", lives)


if __name__ == "__main__":
    main()
