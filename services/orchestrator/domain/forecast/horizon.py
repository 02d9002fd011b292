"""How far a team gets in the days ahead, and by when: simulations of one sprint after the other.

Throughput is drawn from the team's own closed sprints (Monte Carlo forecasting by throughput; Vacanti, Actionable Agile
Metrics for Predictability, 2015), a whole sprint at a time because its days are alike, per person-day because people
are away. How much each past sprint counts is itself drawn anew in each simulation, recent ones counting more: a
Bayesian bootstrap (Rubin, Annals of Statistics 9, 1981). So a short history makes a wide forecast also far ahead, where
the noise of single sprints would have cancelled out. A few sprints of other teams, at this team's pace, fill in for
what a short history has not shown yet.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from services.orchestrator.domain.forecast.history import recency_weights

# Sprints that the pooled ones are worth beside the team's own.
_POOLED_WORTH = 2.0
# Once so many simulations have ended, how long the others take makes no difference to a chance of 95 %.
_NEARLY_ALL = 0.97
# Older sprints have no weight to speak of.
_OWN_SPRINTS = 20
FARTHEST = timedelta(days=5 * 366)


@dataclass(frozen=True)
class Stint:
    """What a team completed in one closed sprint: tasks, in so many person-days and working days."""

    tasks: float
    person_days: float
    working_days: int


@dataclass(frozen=True)
class Ahead:
    """Simulated ends: tasks done by the day asked about, and on which day the wanted number was reached.

    `tasks` is None if no day was asked about; `days` are counted from the first day simulated, infinity = never,
    or long after nearly all of them.
    """

    tasks: NDArray[np.float64] | None
    days: NDArray[np.float64]


def simulate(
    stints: Sequence[Stint],
    multiples: NDArray[np.float64],
    capacity: NDArray[np.float64],
    wanted: int,
    until: int | None,
    simulations: int,
    seed: int,
) -> Ahead:
    """Simulate the days ahead.

    `stints` are the team's closed sprints, oldest first, at least one; `multiples` say how a sprint of any team relates
    to what is usual for it; `capacity` are the person-days of each day from the first; `wanted` is a number of tasks
    and `until` the index of the day asked about.
    """
    random = np.random.default_rng(seed)
    stints = stints[-_OWN_SPRINTS:]
    paces, shapes = _paces(stints, multiples)
    chances = random.standard_gamma(shapes, size=(simulations, len(shapes)))
    # The bounds of every simulation in one ascending row, so that one search draws a sprint for each of them.
    rows = np.arange(simulations, dtype=np.float64)
    bounds = (np.cumsum(chances, axis=1) / chances.sum(axis=1, keepdims=True) + rows[:, None]).ravel()
    firsts = np.arange(simulations) * len(shapes)
    length = max(1, round(float(np.median([stint.working_days for stint in stints]))))
    done, by_day = np.zeros(simulations), np.zeros(simulations)
    reached = np.full(simulations, 0.0 if wanted == 0 else np.inf)
    for days in _blocks(capacity, length):
        picked = np.searchsorted(bounds, rows + random.random(simulations)) - firsts
        pace = paces[np.clip(picked, 0, len(paces) - 1)]
        held = np.cumsum(capacity[days])
        if until is not None:
            by_day += pace * capacity[days][days <= until].sum()
        open_ = np.isinf(reached)
        with np.errstate(divide="ignore", invalid="ignore"):
            needed = np.where(pace > 0, (wanted - done) / pace, np.inf)
        now = open_ & (needed <= held[-1] + 1e-9)
        reached[now] = days[np.minimum(np.searchsorted(held, needed[now] - 1e-9), len(days) - 1)]
        done += pace * held[-1]
        if np.isfinite(reached).mean() >= _NEARLY_ALL and (until is None or days[-1] >= until):
            break
    return Ahead(None if until is None else by_day, reached)


def at_least(values: NDArray[np.float64], percent: int) -> int:
    """The whole number that is reached with this chance."""
    return int(np.floor(np.percentile(values, 100 - percent, method="lower") + 1e-9))


def day_by(days: NDArray[np.float64], percent: int, first: date) -> date | None:
    """The day by which the end is reached with this chance; None = later than can be said."""
    day = float(np.percentile(days, percent, method="higher"))
    return None if np.isinf(day) else first + timedelta(days=int(day))


def extended(capacity: dict[date, float], first: date) -> NDArray[np.float64]:
    """Person-days of each day from the first to FARTHEST; beyond what is known, each weekday is as on average."""
    known = [(day.weekday(), value) for day, value in capacity.items()]
    usual = [float(np.mean([value for weekday, value in known if weekday == w] or [0.0])) for w in range(7)]
    days = (first + timedelta(days=index) for index in range(FARTHEST.days))
    return np.array([capacity.get(day, usual[day.weekday()]) for day in days])


def _paces(stints: Sequence[Stint], multiples: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Tasks per person-day that may be drawn, and the sprints that each is worth."""
    weights = recency_weights(len(stints))
    own = np.array([stint.tasks / stint.person_days for stint in stints])
    usual = float(np.average(own, weights=weights))
    pooled = np.full(len(multiples), _POOLED_WORTH / len(multiples))
    return np.r_[own, usual * multiples], np.r_[weights, pooled]


def _blocks(capacity: NDArray[np.float64], length: int) -> list[NDArray[np.intp]]:
    """The days on which somebody works, in sprints of so many."""
    worked = np.flatnonzero(capacity > 0)
    return [worked[start : start + length] for start in range(0, len(worked), length)]
