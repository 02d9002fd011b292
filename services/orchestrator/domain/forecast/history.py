"""Past sprints, and what they say about the next one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

# Sprints after which a past sprint counts half: teams drift, so the last few say most (exponential smoothing, Brown
# 1956). The best of 1, 2, 3 and 5 over all cut points of tests/bench/forecast.py.
HALF_LIFE = 3.0
# No team delivers more than so many times its plan for long: a ratio beyond it comes of a plan of nearly nothing.
MOST_RATIO = 4.0


@dataclass(frozen=True)
class PastSprint:
    """A closed sprint: what it held at its start, and what was delivered by its end."""

    planned: float
    delivered: float


@dataclass(frozen=True)
class Record:
    """What past sprints come to, recent ones counting most. Means per sprint; `weight` is the number they are worth."""

    planned: float
    delivered: float
    weight: float

    def ratio(self, least: float) -> float:
        """Delivered per planned, 0 to MOST_RATIO; plans together are taken as `least` if they are smaller."""
        return min(self.delivered / max(self.planned, least), MOST_RATIO)


def recency_weights(sprints: int) -> NDArray[np.float64]:
    """Weights of so many past sprints, oldest first: 0.5 ** (age / HALF_LIFE), age in sprints."""
    ages = np.arange(sprints - 1, -1, -1, dtype=np.float64)
    return np.asarray(0.5 ** (ages / HALF_LIFE), dtype=np.float64)


def record_of(sprints: Sequence[PastSprint]) -> Record | None:
    """The record of past sprints, oldest first; None = there are none."""
    if not sprints:
        return None
    weights = recency_weights(len(sprints))
    return Record(
        planned=float(np.average([sprint.planned for sprint in sprints], weights=weights)),
        delivered=float(np.average([sprint.delivered for sprint in sprints], weights=weights)),
        weight=float(weights.sum()),
    )
