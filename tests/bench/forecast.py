"""How well sprints are forecast, on real ones: `python -m tests.bench.forecast [FILE] [--predict FILE] [--fit]`.

FILE holds past sprints (tests/bench/sprints_file.py); only its rows with split = train are learned from. Without more,
it validates by rolling origin: for each of several cut points in each project's time, the coefficients are fitted on
what is before and the sprints after it, up to the next, are forecast one after the other. With --predict, they are
fitted on all of FILE and every row of the other file is forecast in the order of time. With --fit, the product's
coefficients are written anew.

Measure: MAE of delivered points on representative rows; NMAE = MAE / interquartile range of delivered - committed of
the project over all rows read; mean NMAE = mean over the projects. The Brier score is that of the
chance that at least what is committed gets delivered.
"""

import argparse
import csv
import math
import sys
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from services.orchestrator.domain.forecast import delivery
from services.orchestrator.domain.forecast.delivery import (
    Coefficients,
    SprintInHand,
    figures_of,
    forecast_delivery,
)
from services.orchestrator.domain.forecast.distribution import Distribution
from services.orchestrator.domain.forecast.history import PastSprint, record_of
from tests.bench.forecast_fit import LEVELS, Example, fit
from tests.bench.sprints_file import MOMENTS, Row, Sprint, read, replay

DEFAULT_FILE = Path(__file__).parents[2].parent / "shared" / "data" / "sprints_A" / "sprints.csv"
PREDICTED_MOMENTS = (0, 30)
COVERAGES = (0.5, 0.8, 0.95)
# Shares of each project's sprints: fitted before the first, forecast up to the second. The last is the last 20 %.
COEFFICIENTS_FILE = Path(delivery.__file__).with_name("coefficients.py")
_MODULE = '''"""Coefficients of the quantiles of a sprint's delivery; written by `python -m tests.bench.forecast --fit`.

Fitted to {sprints} sprints of five organisations (the data of Choetkiertikul et al., IEEE TSE 44, 2018). They are
scale-free: no team, unit or size is in them. Rows are levels, columns delivery.FIGURES.
"""

import numpy as np

from services.orchestrator.domain.forecast.delivery import Coefficients

# fmt: off
POOLED = Coefficients(
    levels=np.array({levels}),
    by_elapsed={{
{rows},
    }},
)
# What a sprint delivers in terms of what is usual for its team: the middles of ten equally likely parts.
MULTIPLES = np.array({multiples})
# fmt: on
'''
# Points are whole, forecasts are not.
_HALF_A_POINT = 0.5
# A team's usual delivery is known after a few sprints; below a few points it is noise.
LEAST_WEIGHT, LEAST_USUAL = 2.0, 3.0
CUTS = ((0.4, 0.5), (0.5, 0.6), (0.6, 0.7), (0.7, 0.8), (0.8, 1.0))


@dataclass
class Past:
    """What a forecaster has learned: deliveries of each line of sprints, each board and each project, in order."""

    lines: dict[tuple[str, str], list[PastSprint]] = field(default_factory=lambda: defaultdict(list))
    boards: dict[tuple[str, str], list[PastSprint]] = field(default_factory=lambda: defaultdict(list))
    projects: dict[str, list[PastSprint]] = field(default_factory=lambda: defaultdict(list))

    def own(self, sprint: Sprint) -> list[PastSprint]:
        """Those of the sprint's own line."""
        return self.lines[sprint.project, sprint.line]

    def wider(self, sprint: Sprint) -> list[PastSprint]:
        """Those of its board, or of its project if the board is new."""
        return self.boards[sprint.project, sprint.board] or self.projects[sprint.project]

    def learn(self, sprints: Iterable[Sprint], delivered: Iterable[float]) -> None:
        """Add what came of sprints."""
        for sprint, points in zip(sprints, delivered, strict=True):
            if sprint.representative:
                past = PastSprint(sprint.planned, points)
                self.lines[sprint.project, sprint.line].append(past)
                self.boards[sprint.project, sprint.board].append(past)
                self.projects[sprint.project].append(past)


@dataclass(frozen=True)
class Forecast:
    """A forecast of one row, ours and the simple ones, with what came of it."""

    sprint: Sprint
    delivered: float
    ours: Distribution

    @property
    def points(self) -> Mapping[str, float]:
        """The single figure that each method gives."""
        plan = self.sprint.committed
        last = self.sprint.last_three if self.sprint.last_three is not None else plan
        return {"plan": plan, "last 3": last, "half each": (plan + last) / 2, "ours": self.ours.median()}


def in_hand(sprint: Sprint) -> SprintInHand:
    """The sprint as the product's forecaster takes it; the data say nothing of smaller units than a point."""
    return SprintInHand(
        committed=sprint.committed,
        done=sprint.done,
        in_progress=sprint.in_progress,
        tasks=sprint.tasks,
        days=sprint.days,
        elapsed=sprint.moment / 100,
    )


def spreads(rows: Iterable[Row], moment: int) -> dict[str, float]:
    """Interquartile range of delivered - committed by project, in points; at least 1."""
    rest: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        rest[row.seen[0].project].append(row.delivered - row.seen[moment].committed)
    return {project: max(float(np.subtract(*np.percentile(r, [75, 25]))), 1.0) for project, r in rest.items()}


def learn_coefficients(rows: Sequence[Row], moments: Sequence[int] = MOMENTS) -> Coefficients:
    """The product's coefficients, fitted to these rows alone."""
    return fit({moment / 100: _examples(rows, moment) for moment in moments})


def _examples(rows: Sequence[Row], moment: int) -> list[Example]:
    spread, past, examples = spreads(rows, moment), Past(), []
    for sprints, delivered in replay(rows, moment):
        for sprint, points in zip(sprints, delivered, strict=True):
            if sprint.representative:
                figures, scale = figures_of(in_hand(sprint), past.own(sprint), past.wider(sprint))
                examples.append(Example(figures, scale, points, spread[sprint.project]))
        past.learn(sprints, delivered)
    return examples


def predict(rows: Sequence[Row], wanted: Callable[[Row], bool], c: Coefficients, moment: int) -> list[Forecast]:
    """Forecasts of the rows wanted, in the order of time; the others are only learned from."""
    asked = {row.row_key for row in rows if wanted(row)}
    past, forecasts = Past(), []
    for sprints, delivered in replay(rows, moment):
        ours = [forecast_delivery(in_hand(sprint), past.own(sprint), past.wider(sprint), c) for sprint in sprints]
        for sprint, points, distribution in zip(sprints, delivered, ours, strict=True):
            if (sprint.project, sprint.number, sprint.board) in asked:
                forecasts.append(Forecast(sprint, points, distribution))
        past.learn(sprints, delivered)
    return forecasts


@dataclass(frozen=True)
class Score:
    """How forecasts of one project, or of several (then means over them), did. NMAE and coverage by name."""

    sprints: int
    spread: float
    mae: Mapping[str, float]
    nmae: Mapping[str, float]
    coverage: Mapping[float, float]
    pinball: float
    brier: float


def score(forecasts: Sequence[Forecast], spread: float) -> Score:
    """How the forecasts of one project did; pinball loss in points, mean over the fitted levels."""
    delivered = np.array([f.delivered for f in forecasts])
    mae = {
        name: float(np.mean(np.abs(np.array([f.points[name] for f in forecasts]) - delivered)))
        for name in forecasts[0].points
    }
    held = {
        level: float(np.mean([_within(f.delivered, f.ours.interval(level)) for f in forecasts])) for level in COVERAGES
    }
    quantiles = np.array([[f.ours.quantile(level) for level in LEVELS] for f in forecasts])
    rest = delivered[:, None] - quantiles
    pinball = float(np.mean(np.maximum(LEVELS * rest, (LEVELS - 1) * rest)))
    nmae = {name: value / spread for name, value in mae.items()}
    return Score(len(forecasts), spread, mae, nmae, held, pinball, brier_score(forecasts))


def brier_score(forecasts: Sequence[Forecast]) -> float:
    """Mean squared error of the chance that at least what is committed is delivered, 0 (perfect) to 1.

    Sprints that hold nothing are left out: their chance is 1 and says nothing. NaN if there are no others.
    """
    errors = [
        (f.ours.chance_of(f.sprint.committed - _HALF_A_POINT) - (f.delivered >= f.sprint.committed)) ** 2
        for f in forecasts
        if f.sprint.committed > 0
    ]
    return float(np.mean(errors)) if errors else math.nan


def _within(points: float, interval: tuple[float, float]) -> bool:
    return interval[0] - 1e-9 <= points <= interval[1] + 1e-9


def scores(forecasts: Iterable[Forecast], spread: Mapping[str, float]) -> dict[str, Score]:
    """Scores by project of the representative rows."""
    by_project: dict[str, list[Forecast]] = defaultdict(list)
    for forecast in forecasts:
        if forecast.sprint.representative:
            by_project[forecast.sprint.project].append(forecast)
    return {project: score(some, spread[project]) for project, some in sorted(by_project.items())}


def mean_of(parts: Sequence[Score]) -> Score:
    """Means over projects, each counting the same; the coverage is that of all their sprints."""
    total = sum(part.sprints for part in parts)
    return Score(
        sprints=total,
        spread=float(np.mean([part.spread for part in parts])),
        mae={name: float(np.mean([part.mae[name] for part in parts])) for name in parts[0].mae},
        nmae={name: float(np.mean([part.nmae[name] for part in parts])) for name in parts[0].nmae},
        coverage={level: sum(part.coverage[level] * part.sprints for part in parts) / total for level in COVERAGES},
        pinball=float(np.mean([part.pinball for part in parts])),
        brier=float(np.mean([part.brier for part in parts])),
    )


def validate(rows: Sequence[Row], moment: int) -> dict[str, dict[str, Score]]:
    """Scores by cut point and project: each part of the time is forecast from what is before it."""
    spread, place = spreads(rows, moment), _places(rows)
    found = {}
    for start, end in CUTS:
        before = [row for row in rows if place[row.key] <= start]
        upto = [row for row in rows if place[row.key] <= end]
        later = partial(_after, place, start)
        forecasts = predict(upto, later, learn_coefficients(before, [moment]), moment)
        found[f"{start:.0%} to {end:.0%}"] = scores(forecasts, spread)
    return found


def _after(place: Mapping[tuple[str, int], float], start: float, row: Row) -> bool:
    return place[row.key] > start


def _places(rows: Sequence[Row]) -> dict[tuple[str, int], float]:
    """Where in its project's time each sprint is, 0 to 1. All rows of a sprint are at the same place."""
    sprints = defaultdict(list)
    for key in sorted({row.key for row in rows}):
        sprints[key[0]].append(key)
    return {key: (i + 1) / len(keys) for keys in sprints.values() for i, key in enumerate(keys)}


def show(title: str, parts: Mapping[str, Score], console: Console) -> None:
    """Print scores, and their mean below."""
    names = list(next(iter(parts.values())).nmae)
    table = Table(title=title, title_justify="left")
    for heading in ["", "n", "IQR", "MAE ours", *[f"NMAE {name}" for name in names]]:
        table.add_column(heading, justify="right")
    for level in COVERAGES:
        table.add_column(f"in {level:.0%}", justify="right")
    table.add_column("pinball", justify="right")
    table.add_column("Brier", justify="right")
    for label, part in [*parts.items(), ("mean", mean_of(list(parts.values())))]:
        table.add_row(
            label,
            str(part.sprints),
            f"{part.spread:g}",
            f"{part.mae['ours']:.2f}",
            *[f"{part.nmae[name]:.3f}" for name in names],
            *[f"{part.coverage[level]:.1%}" for level in COVERAGES],
            f"{part.pinball:.2f}",
            f"{part.brier:.3f}",
        )
    console.print(table)


def show_validation(rows: Sequence[Row], moment: int, console: Console) -> None:
    """Print how forecasts did by cut point, how much that varies, and by project."""
    by_cut = validate(rows, moment)
    when = f"T = {moment} %"
    show(f"{when}, by cut point", {cut: mean_of(list(parts.values())) for cut, parts in by_cut.items()}, console)
    projects = next(iter(by_cut.values()))
    by_project = {p: mean_of([parts[p] for parts in by_cut.values()]) for p in projects}
    show(f"{when}, by project, mean over the cut points", by_project, console)
    show(f"{when}, by project, the last 20 % alone", list(by_cut.values())[-1], console)
    means = {
        name: [mean_of(list(parts.values())).nmae[name] for parts in by_cut.values()] for name in ("half each", "ours")
    }
    ratios = [ours / half for ours, half in zip(means["ours"], means["half each"], strict=True)]
    console.print(
        f"Ours / half each, mean NMAE: {min(ratios):.2f} to {max(ratios):.2f} over the cut points, "
        f"mean {np.mean(ratios):.2f}.\n"
    )


def show_predictions(rows: Sequence[Row], other: Sequence[Row], out: Path | None, console: Console) -> None:
    """Forecast every row of the other file that is not in the first, print how that went, and write it if asked."""
    known = {row.row_key for row in rows}
    new = [row for row in other if row.row_key not in known]
    if not new:
        sys.exit("The file to forecast holds no sprint that is not learned from: there is nothing to forecast.")
    every = sorted([*rows, *new], key=lambda row: row.key)
    coefficients, forecasts = learn_coefficients(rows), []
    for moment in PREDICTED_MOMENTS:
        made = predict(every, lambda row: row.row_key not in known, coefficients, moment)
        show(f"T = {moment} %, later sprints", scores(made, spreads(every, moment)), console)
        forecasts += made
    if out:
        _write(forecasts, out)


def _write(forecasts: Iterable[Forecast], out: Path) -> None:
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["project", "boardid", "sprintid", "t", "forecast", *[f"q{level * 100:g}" for level in LEVELS]])
        for forecast in forecasts:
            sprint, ours = forecast.sprint, forecast.ours
            quantiles = [f"{ours.quantile(level):.3f}" for level in LEVELS]
            writer.writerow(
                [sprint.project, sprint.board, sprint.number, sprint.moment, f"{ours.median():.3f}", *quantiles]
            )


def multiples(rows: Sequence[Row]) -> list[float]:
    """How deliveries relate to what is usual for their teams, as far as that is more than next to nothing."""
    past, found = Past(), []
    for sprints, delivered in replay(rows, 0):
        for sprint, points in zip(sprints, delivered, strict=True):
            record = record_of(past.own(sprint))
            if sprint.representative and record and record.weight >= LEAST_WEIGHT and record.delivered >= LEAST_USUAL:
                found.append(points / record.delivered)
        past.learn(sprints, delivered)
    return [round(float(value), 3) for value in np.percentile(found, np.arange(5, 100, 10))]


def write_coefficients(coefficients: Coefficients, multiples: Sequence[float], sprints: int) -> None:
    """Write the product's coefficients as the module that holds them."""
    rows = []
    for elapsed, by_level in coefficients.by_elapsed.items():
        lines = [f"            [{', '.join(f'{value:.4f}' for value in level)}],\n" for level in by_level]
        rows.append(f"        {elapsed}: np.array([\n{''.join(lines)}        ])")
    levels = [float(level) for level in coefficients.levels]
    text = _MODULE.format(sprints=sprints, levels=levels, multiples=multiples, rows=",\n".join(rows))
    COEFFICIENTS_FILE.write_text(text, encoding="utf-8")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.bench.forecast", description=__doc__.splitlines()[0])
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        default=DEFAULT_FILE,
        help="past sprints; rows with split = train are learned from",
    )
    parser.add_argument(
        "--predict", type=Path, metavar="FILE", help="forecast the rows of this file, in the order of time"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="write those forecasts as CSV")
    parser.add_argument("--fit", action="store_true", help="write the product's coefficients anew")
    return parser.parse_args()


def main() -> None:
    """Run what was asked for and print it."""
    options, console = _options(), Console(width=150)
    if not options.file.is_file():
        sys.exit(f"There are no past sprints at {options.file}: name a file, or put the data there.")
    rows = [row for row in read(options.file) if row.split == "train"]
    if options.fit:
        write_coefficients(learn_coefficients(rows), multiples(rows), len({row.key for row in rows}))
    elif options.predict:
        show_predictions(rows, read(options.predict), options.out, console)
    else:
        for moment in PREDICTED_MOMENTS:
            show_validation(rows, moment, console)


if __name__ == "__main__":
    main()
