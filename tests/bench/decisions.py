"""Rule-based against enhanced decisions over simulated teams: `python -m tests.bench.decisions [--teams N] [--json]`.

Every team lives through the same twenty sprints three times: planned by the documents' rules, by the product's own
functions with memory (evidence of the simulated past, proposals, gate), and by an oracle that knows what is to come.
Three measures, each a mean over a team's sprints or a ratio of its sums, then a mean over teams:

- completion: completed of the planned tasks, mean of the sprints
- carried over: points planned and not completed, of all points planned
- delivered: points completed, of all that the team was really able to do (hidden from who decides)

Differences are enhanced less rules, team by team, with bootstrap intervals of 95 % over teams. Teams with even seeds
were used to choose the constants of the decision, those with odd seeds are for reporting (`--set tune|report`).
The simulator, its distributions and their sources: tests/bench/simulator.py. What learned strategies add:
tests/bench/learning.py.
"""

import argparse
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import partial

import numpy as np
from rich.console import Console
from rich.table import Table

from services.orchestrator.domain.case import Case
from services.orchestrator.domain.decision import Decision, ModeConfig, decide_rule_based
from services.orchestrator.domain.evidence import gather
from services.orchestrator.domain.proposal import adjust
from services.orchestrator.domain.situation import (
    Backlog,
    ClosedSprint,
    Membership,
    Observation,
    Options,
    Velocity,
    analyze,
    capacity_of,
)
from services.orchestrator.domain.strategy import Strategy
from tests.bench.simulator import KINDS, SPRINTS, Plan, Result, View, draw, oracle, play

_START = date(2026, 1, 5)
_LONGEST_WEEKS = 6
_RESAMPLES = 2000
_CONFIG = ModeConfig(0.75)
_ENHANCED, _RULES, _ORACLE = "enhanced", "rules", "oracle"


@dataclass(frozen=True)
class Score:
    """What came of a team's sprints, all of them 0 to 1."""

    completion: float
    carried: float
    delivered: float
    adjusted: float = 0.0


@dataclass(frozen=True)
class Team:
    """One team's scores by way of deciding."""

    kind: str
    seed: int
    scores: dict[str, Score]


def decide_by_rules(view: View, past: Sequence[Result]) -> Plan:
    """The product's rule-based decision."""
    rule_based = case_of(view, past).rule_based
    return Plan(rule_based.sprint_duration_weeks, rule_based.tasks_to_assign)


class Enhanced:
    """The product's enhanced decision, with strategies if there are some; keeps what each was made from."""

    def __init__(self, strategies: Sequence[Strategy] = ()) -> None:
        self._strategies = strategies
        self.cases: list[Case] = []
        self.adjusted = self.by_strategy = 0

    def __call__(self, view: View, past: Sequence[Result]) -> Plan:
        """Decide on one sprint."""
        case = case_of(view, past, self._strategies)
        adjustments, final = adjust(case, _CONFIG)
        self.cases.append(case)
        self.adjusted += _figures(final) != _figures(case.rule_based)
        self.by_strategy += any(adjustment.applied and adjustment.strategy_ids for adjustment in adjustments)
        return Plan(final.sprint_duration_weeks, final.tasks_to_assign, final.points_to_assign)


def _figures(decision: Decision) -> tuple[int, int, float | None]:
    return decision.tasks_to_assign, decision.sprint_duration_weeks, decision.points_to_assign


def case_of(view: View, past: Sequence[Result], strategies: Sequence[Strategy] = ()) -> Case:
    """What a team could know, by the product's functions, in the order of its pipeline."""
    options = Options(sprint_duration_weeks=view.weeks, max_tasks_per_sprint=view.most_tasks)
    seen = _observe(view, past)
    analysis = analyze(seen)
    rule_based = decide_rule_based(analysis, options)
    capacity = capacity_of(seen, rule_based.start_date, rule_based.sprint_duration_weeks)
    analysis = replace(analysis, capacity_person_days=capacity)
    return Case(rule_based, analysis, options, gather(seen, rule_based.start_date, strategies, (), ()))


def _observe(view: View, past: Sequence[Result]) -> Observation:
    """What the services would tell: the backlog's counts, the calendar, the closed sprints."""
    today = _START + timedelta(weeks=sum(result.weeks for result in past))
    promised = [0.0, *(view.person_days(weeks) for weeks in range(1, _LONGEST_WEEKS + 1))]
    return Observation(
        project_id="P",
        today=today,
        team=(Membership(_START, None),) * view.people,
        backlog=Backlog(total=view.waiting_tasks, unassigned=view.waiting_tasks, unassigned_points=view.waiting_points),
        sprint=None,
        capacity_by_day={
            today + timedelta(weeks=week): promised[week + 1] - promised[week] for week in range(_LONGEST_WEEKS)
        },
        velocity=Velocity(tuple(_closed(past))),
    )


def _closed(past: Sequence[Result]) -> Iterable[ClosedSprint]:
    start = _START
    for result in past:
        following = start + timedelta(weeks=result.weeks)
        yield ClosedSprint(
            sprint_id=f"P-S{result.number:02}",
            start=start,
            end=following - timedelta(days=1),
            completed_tasks=result.completed_tasks,
            completed_points=result.completed_points if result.estimated else 0.0,
            completion_rate=result.completion_rate,
            planned_tasks=result.planned_tasks,
            planned_points=result.planned_points if result.estimated else 0.0,
            person_days=result.person_days,
        )
        start = following


def score(results: Sequence[Result], adjusted: float = 0.0) -> Score:
    """The measures over the sprints of a team."""
    planned, completed = (sum(getattr(r, f"{what}_points") for r in results) for what in ("planned", "completed"))
    return Score(
        completion=float(np.mean([result.completion_rate for result in results])),
        carried=(planned - completed) / planned,
        delivered=completed / sum(result.capacity for result in results),
        adjusted=adjusted,
    )


def live(kind: str, seed: int, sprints: int = SPRINTS) -> Team:
    """A team's lives."""
    team = draw(kind, seed)
    enhanced = Enhanced()
    scores = {
        _RULES: score(play(team, decide_by_rules, sprints)),
        _ENHANCED: score(play(team, enhanced, sprints)),
        _ORACLE: score(oracle(team, sprints)),
    }
    share = enhanced.adjusted / len(enhanced.cases)
    scores[_ENHANCED] = replace(scores[_ENHANCED], adjusted=share)
    return Team(kind, seed, scores)


def run(teams: int, *, first_seed: int, kinds: Sequence[str] = tuple(KINDS), sprints: int = SPRINTS) -> list[Team]:
    """So many teams of each kind, with every second seed from the first on."""
    jobs = [(kind, first_seed + 2 * number) for kind in kinds for number in range(teams)]
    with ProcessPoolExecutor() as pool:
        return list(pool.map(partial(_live, sprints), jobs, chunksize=4))


def _live(sprints: int, job: tuple[str, int]) -> Team:
    return live(*job, sprints)


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean and its bootstrap interval of 95 %."""
    figures = np.asarray(values)
    rng = np.random.default_rng(1)
    means = figures[rng.integers(0, len(figures), (_RESAMPLES, len(figures)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return float(figures.mean()), float(low), float(high)


def summarize(teams: Sequence[Team]) -> dict[str, dict[str, float | list[float]]]:
    """The figures of a group of teams, in percent; differences with their intervals."""
    found: dict[str, dict[str, float | list[float]]] = {}
    for measure in ("completion", "carried", "delivered"):
        values = {who: [getattr(team.scores[who], measure) for team in teams] for who in (_RULES, _ENHANCED, _ORACLE)}
        found[measure] = {who: 100 * float(np.mean(each)) for who, each in values.items()}
        differences = [e - r for e, r in zip(values[_ENHANCED], values[_RULES], strict=True)]
        found[measure]["difference"] = [100 * figure for figure in interval(differences)]
    return found


def _show(teams: Sequence[Team]) -> None:
    title = "rules → enhanced (oracle), in %; [difference with its 95 % interval]"
    table = Table("kind", "teams", "adjusted", title=title)
    for name in ("completion of the tasks", "points carried over", "delivered of what was possible"):
        table.add_column(name, justify="right")
    for kind in [*dict.fromkeys(team.kind for team in teams), "all"]:
        group = [team for team in teams if kind in (team.kind, "all")]
        found = summarize(group)
        adjusted = np.mean([team.scores[_ENHANCED].adjusted for team in group])
        table.add_row(kind, str(len(group)), f"{adjusted:.0%}", *map(_cell, found.values()), end_section=kind != "all")
    Console(width=150).print(table)
    print(_verdict(teams))


def _cell(figures: dict[str, float | list[float]]) -> str:
    mean, low, high = figures["difference"]  # type: ignore[misc]
    return (
        f"{figures[_RULES]:.1f} → {figures[_ENHANCED]:.1f} ({figures[_ORACLE]:.1f})\n"
        f"\\[{mean:+.1f}: {low:+.1f} … {high:+.1f}]"
    )


def _verdict(teams: Sequence[Team]) -> str:
    """In words, with the kinds for which it is not better."""
    worse = []
    for kind in dict.fromkeys(team.kind for team in teams):
        found = summarize([team for team in teams if team.kind == kind])
        for measure, sign in (("completion", 1), ("carried", -1), ("delivered", 1)):
            mean = found[measure]["difference"][0]  # type: ignore[index]
            if sign * mean < 0:
                worse.append(f"  {kind}: {measure} {mean:+.1f} points")
    delivered = {who: np.mean([t.scores[who].delivered for t in teams]) for who in (_RULES, _ENHANCED)}
    gain = delivered[_ENHANCED] / delivered[_RULES]
    return "\n".join([f"Delivered points over all: {gain - 1:+.1%}.", "Not better in:", *(worse or ["  nothing"])])


def main() -> None:
    """Run what was asked for and print it."""
    parser = argparse.ArgumentParser(prog="tests.bench.decisions", description=__doc__.splitlines()[0])
    parser.add_argument("--teams", type=int, default=30, help="teams of each of the kinds (default 30)")
    parser.add_argument("--set", choices=("tune", "report"), default="report", help="which seeds (default report)")
    parser.add_argument("--kind", action="append", choices=tuple(KINDS), help="only this kind")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    given = parser.parse_args()
    teams = run(given.teams, first_seed=0 if given.set == "tune" else 1, kinds=given.kind or tuple(KINDS))
    if given.json:
        kinds = dict.fromkeys(team.kind for team in teams)
        print(json.dumps({kind: summarize([t for t in teams if t.kind == kind]) for kind in kinds}))
    else:
        _show(teams)


if __name__ == "__main__":
    main()
