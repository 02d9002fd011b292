"""A team's pace: how much it gets done per person-day, learned from its closed sprints, and how sure that is.

Planning by what was done before is 'yesterday's weather' (Beck & Fowler, Planning Extreme Programming, 2001), scaled by
the days that people are there: capacity-driven planning (Cohn, Agile Estimating and Planning, 2005, chapter 14). Three
things are taken into account that a mean over the last sprints is not:

- A sprint that completed all it held says what the team can do at least, not at most (a censored observation; Tobin,
  Econometrica 26, 1958). A mean over such sprints would never let a team take more.
- A pace changes: the older a sprint, the less it says of the next one. The level is a random walk, as in the local
  level model (Harvey, Forecasting, Structural Time Series Models, 1989), which weighs sprints exponentially.
- How much a team varies is not known either, and is learned with the level.

All of it is computed on a grid of log paces (a point-mass filter; Bucy & Senne, Automatica 7, 1971), exact to the step
of the grid.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# Deviations of the log pace from sprint to sprint, and how likely each is beforehand: of teams that book their days,
# one varied by 0.12; public boards, whose days nobody knows, by 0.5 and more.
_DEVIATIONS = np.array([0.1, 0.2, 0.4, 0.7])
_DEVIATION_CHANCES = np.array([0.25, 0.4, 0.25, 0.1])
# Deviation of the effort of one task around what it should be, by which few tasks say less than many: 0.59 over 488
# stories with booked hours.
_TASK_DEVIATION = 0.6
# How far the level moves from one sprint to the next.
_WALK = 0.07
_STEP = 0.04
_MARGIN = 2.0
# What is farther than so many deviations, one chance in 10^15, is nothing.
_REACH = 8.0
# No pace is a thousand times another: such figures are mistakes, and would only make the grid long.
_FARTHEST = math.log(1000)
_LEAST_WORK = 1e-6


@dataclass(frozen=True)
class Prior:
    """What is thought of a pace before anything is known of the team: median, and deviation of its logarithm."""

    median: float
    deviation: float


@dataclass(frozen=True)
class Work:
    """What a sprint showed: work done (tasks or points) in so many tasks, over person-days or weeks."""

    done: float
    tasks: int
    exposure: float
    all_done: bool

    @property
    def pace(self) -> float:
        """Work per person-day or week; half a task's where nothing was completed, because something was worked on."""
        return max(self.done, 0.5 if not self.done else _LEAST_WORK) / self.exposure


@dataclass(frozen=True)
class Pace:
    """What is thought of a team's pace: chances by log pace, of the level and of the next sprint."""

    logs: np.ndarray
    levels: np.ndarray
    following: np.ndarray

    def quantile(self, chance: float) -> float:
        """The pace that the next sprint stays below with this chance."""
        return math.exp(float(np.interp(chance, _summed(self.following), self.logs)))

    def level(self, chance: float) -> float:
        """The pace that the team's level is below with this chance."""
        return math.exp(float(np.interp(chance, _summed(self.levels), self.logs)))

    def level_below(self, pace: float) -> float:
        """Chance that the team's level is at most a pace, 0 to 1."""
        return float(np.interp(math.log(pace), self.logs, _summed(self.levels), left=0.0, right=1.0))

    def below(self, pace: float) -> float:
        """Chance that the next sprint stays below a pace, 0 to 1."""
        return float(np.interp(math.log(pace), self.logs, _summed(self.following), left=0.0, right=1.0))

    def completed(self, pace: float) -> float:
        """Share of its work that a sprint of this load is expected to get done, 0 to 1: E[min(1, C / load)]."""
        return min(1.0, float((self.following * np.minimum(1.0, np.exp(self.logs) / pace)).sum()))


def learn(past: Sequence[Work], prior: Prior, tasks: int) -> Pace:
    """The pace after the sprints, oldest first; `tasks` are about as many as the next sprint is to hold."""
    middle = math.log(prior.median)
    seen = [min(max(math.log(work.pace), middle - _FARTHEST), middle + _FARTHEST) for work in past]
    logs = _grid(prior, seen)
    level = np.outer(_DEVIATION_CHANCES, _normal(logs, middle, prior.deviation))
    for work, log in zip(past, seen, strict=True):
        level = np.array([_spread(chances, _WALK) for chances in level])
        for row, deviation in enumerate(_deviations(work.tasks)):
            level[row] *= _above(log, logs, deviation) if work.all_done else _density(log, logs, deviation)
        level /= level.sum()
    level = np.array([_spread(chances, _WALK) for chances in level])
    following = sum(_spread(chances, deviation) for deviation, chances in zip(_deviations(tasks), level, strict=True))
    return Pace(logs, _whole(level.sum(axis=0)), _whole(np.asarray(following)))


def _grid(prior: Prior, seen: Sequence[float]) -> np.ndarray:
    around = [math.log(prior.median) - prior.deviation, math.log(prior.median) + prior.deviation, *seen]
    return np.arange(min(around) - _MARGIN, max(around) + _MARGIN, _STEP)


def _deviations(tasks: int) -> np.ndarray:
    """Of a sprint's log pace, for each deviation of the team."""
    found: np.ndarray = np.sqrt(_DEVIATIONS**2 + _TASK_DEVIATION**2 / max(1, tasks))
    return found


def _normal(logs: np.ndarray, middle: float, deviation: float) -> np.ndarray:
    """Chances of a normal distribution on the grid, which add up to 1."""
    return _whole(np.exp(-0.5 * ((logs - middle) / deviation) ** 2))


def _spread(chances: np.ndarray, deviation: float) -> np.ndarray:
    """The chances after a normal step of this deviation, none of which leads off the grid.

    The steps of the grid are all alike, so this is a convolution: a matrix of every two points would take a hundred
    times as long.
    """
    reach = min(math.ceil(_REACH * deviation / _STEP), len(chances) - 1)
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * _STEP / deviation) ** 2)
    within = slice(reach, reach + len(chances))
    stays = np.convolve(np.ones(len(chances)), kernel)[within]
    moved: np.ndarray = np.convolve(chances / stays, kernel)[within]
    return moved


def _density(log: float, logs: np.ndarray, deviation: float) -> np.ndarray:
    """Likelihood of what was seen for each level; never quite nothing, because figures can be wrong."""
    density: np.ndarray = np.exp(-0.5 * ((log - logs) / deviation) ** 2) / deviation + 1e-12
    return density


def _above(log: float, logs: np.ndarray, deviation: float) -> np.ndarray:
    """Chance, for each level, that a sprint could do at least so much; never quite nothing.

    The normal distribution by Abramowitz & Stegun 26.2.17, exact to 1e-7.
    """
    z = (log - logs) / deviation
    t = 1 / (1 + 0.2316419 * np.abs(z))
    powers = t * (0.319381530 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
    tail = np.exp(-0.5 * z**2) / math.sqrt(2 * math.pi) * powers
    chance: np.ndarray = np.where(z > 0, tail, 1 - tail) + 1e-12
    return chance


def _whole(chances: np.ndarray) -> np.ndarray:
    whole: np.ndarray = chances / chances.sum()
    return whole


def _summed(chances: np.ndarray) -> np.ndarray:
    summed: np.ndarray = np.minimum(1.0, np.cumsum(chances))
    return summed
