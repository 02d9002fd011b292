"""What a sprint delivers: quantiles from its plan, what is done so far, and past sprints.

Pooled linear quantile regression (Koenker and Bassett, Econometrica 46, 1978) on figures divided by the sprint's own
scale, so that one small set of coefficients serves teams of any size and unit. The plan corrected by the team's own
ratio and by its own drift carry the team's history; the pooled coefficients are what shrinks them toward the plan.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.orchestrator.domain.forecast.distribution import Distribution
from services.orchestrator.domain.forecast.history import PastSprint, Record, recency_weights, record_of

# Figures of a sprint, divided by its scale, beyond which they say nothing more.
_MOST_SHARE = 6.0
# A plan corrected by the ratio is never more than plan + so many times what is usual: ratios of tiny plans explode.
_MOST_USUAL = 3.0
_USUAL_DAYS = 14.0
_DAYS_RANGE = (1.0, 60.0)
# Sprints that the pooled quantiles are worth when they are mixed with the team's own deliveries.
_POOLED_WORTH = 15.0
# Older sprints have no weight to speak of.
_OWN_SPRINTS = 20

# The figures that a forecast is linear in, in the order of the coefficients.
FIGURES = (
    "one",
    "plan times ratio",
    "plan plus drift",
    "done",
    "in progress",
    "anything begun",
    "nothing planned",
    "log tasks",
    "log length",
)


@dataclass(frozen=True)
class SprintInHand:
    """A sprint to forecast, at its start or while it runs.

    Sizes are in one unit, tasks or points, and `grain` is what a small task measures in it: the least that matters.
    """

    committed: float  # all that it holds now, with what is done
    done: float
    in_progress: float
    tasks: int  # what it holds now, in tasks
    days: float  # its planned length, in calendar days
    elapsed: float = 0.0  # share of its time that is over, 0 to 1
    grain: float = 1.0


@dataclass(frozen=True)
class Coefficients:
    """Coefficients of the quantiles: by share of time elapsed, a row per level and a column per figure."""

    levels: NDArray[np.float64]
    by_elapsed: Mapping[float, NDArray[np.float64]]


def figures_of(
    sprint: SprintInHand, own: Sequence[PastSprint], wider: Sequence[PastSprint]
) -> tuple[NDArray[np.float64], float]:
    """The figures that a forecast is linear in, and the sprint's scale, in the sprint's unit.

    The plan is corrected in two ways, by the ratio of delivered to planned and by their mean difference, each by the
    team's own record and by the wider one; a record that is missing is replaced by the other, both by the plan itself.
    The scale is the mean of the plan, what is usual and the corrected plans, and one grain.
    """
    plan, grain = sprint.committed, sprint.grain
    of_wider = record_of(wider) or record_of(own)
    of_own = record_of(own) or of_wider
    own_usual, own_by_ratio, own_by_drift = _corrected(plan, of_own, grain)
    usual, by_ratio, by_drift = _corrected(plan, of_wider, grain)
    scale = grain + (plan + own_usual + own_by_ratio + own_by_drift + usual + by_ratio + by_drift) / 7
    sizes = np.minimum(np.array([by_ratio, by_drift, sprint.done, sprint.in_progress]) / scale, _MOST_SHARE)
    marks = (
        float(sprint.done + sprint.in_progress > 0),
        float(plan <= 0),
        float(np.log1p(sprint.tasks)),
        float(np.log(np.clip(sprint.days, *_DAYS_RANGE) / _USUAL_DAYS)),
    )
    return np.r_[1.0, sizes, marks], scale


def forecast_delivery(
    sprint: SprintInHand,
    own: Sequence[PastSprint],
    wider: Sequence[PastSprint],
    coefficients: Coefficients,
) -> Distribution:
    """What the sprint delivers by its end, in its unit.

    `own` are the team's closed sprints, oldest first, `wider` those of teams like it (or of its whole organisation);
    either may be empty. Between the shares of elapsed time that there are coefficients for, quantiles are interpolated;
    at the end it delivers what is done.
    """
    figures, scale = figures_of(sprint, own, wider)
    moments = sorted(coefficients.by_elapsed)
    quantiles = [np.sort(coefficients.by_elapsed[moment] @ figures) * scale for moment in moments]
    at_end = np.full_like(quantiles[0], sprint.done)
    values = _between(sprint.elapsed, [*moments, 1.0], [*quantiles, at_end])
    pooled = Distribution.of(coefficients.levels, values, floor=sprint.done)
    return _with_own(pooled, sprint, own[-_OWN_SPRINTS:])


def _with_own(pooled: Distribution, sprint: SprintInHand, own: Sequence[PastSprint]) -> Distribution:
    """The pooled forecast mixed with what the team delivered in its past sprints, in the time that is left."""
    if not own:
        return pooled
    weights = recency_weights(len(own))
    left = (1 - sprint.elapsed) * np.array([past.delivered for past in own])
    return pooled.mixed(sprint.done + left, weights, weights.sum() / (weights.sum() + _POOLED_WORTH))


def _corrected(plan: float, record: Record | None, grain: float) -> tuple[float, float, float]:
    """What is usual, the plan times the ratio, and the plan plus the drift."""
    if record is None:
        return plan, plan, plan
    by_ratio = min(plan * record.ratio(grain), plan + _MOST_USUAL * record.delivered)
    by_drift = max(plan + record.delivered - record.planned, 0.0)
    return record.delivered, by_ratio, by_drift


def _between(elapsed: float, moments: Sequence[float], quantiles: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The quantiles at a share of elapsed time, linear between the moments around it."""
    place = float(np.interp(elapsed, moments, range(len(moments))))
    before = min(int(place), len(moments) - 2)
    share = place - before
    return (1 - share) * quantiles[before] + share * quantiles[before + 1]
