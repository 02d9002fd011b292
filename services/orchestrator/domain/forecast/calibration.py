"""How past forecasts did: whether what was said with a confidence came true that often."""

from collections.abc import Sequence
from dataclasses import dataclass

CONFIDENCES = (50, 85, 95)
# Fewer say nothing: of ten that were 85 % sure, seven to ten may hold by chance.
ENOUGH = 10
_BUCKETS = 5


@dataclass(frozen=True)
class Judged:
    """A past forecast whose end is known.

    `probability` is the chance that was given of completing everything (None = not asked) and `all_done` whether it
    was; `held` says for each of CONFIDENCES whether what was said with it came true.
    """

    probability: float | None
    all_done: bool
    held: tuple[bool, ...]


@dataclass(frozen=True)
class Bucket:
    """Forecasts with a chance in a range, `low` to `high`, 0 to 1; means are None if there is none."""

    low: float
    high: float
    forecasts: int
    mean_probability: float | None
    observed_rate: float | None


@dataclass(frozen=True)
class Calibration:
    """How past forecasts did. The Brier score is 0 (perfect) to 1, `observed` the share that held by confidence."""

    forecasts: int
    brier_score: float | None
    buckets: tuple[Bucket, ...]
    observed: tuple[float | None, ...]

    @property
    def enough(self) -> bool:
        """Whether there are enough to judge by."""
        return self.forecasts >= ENOUGH


def calibrate(judged: Sequence[Judged]) -> Calibration:
    """Compare forecasts with what happened.

    Brier score: mean of (chance - outcome) ** 2, outcome 1 or 0 (Brier, Monthly Weather Review 78, 1950).
    """
    chances = [(one.probability, one.all_done) for one in judged if one.probability is not None]
    brier = _mean([(chance - done) ** 2 for chance, done in chances])
    buckets = [_bucket(chances, index / _BUCKETS, (index + 1) / _BUCKETS) for index in range(_BUCKETS)]
    observed = [_mean([one.held[place] for one in judged]) for place in range(len(CONFIDENCES))]
    return Calibration(len(judged), brier, tuple(buckets), tuple(observed))


def _bucket(chances: Sequence[tuple[float, bool]], low: float, high: float) -> Bucket:
    inside = [(chance, done) for chance, done in chances if low <= chance < high or chance == high == 1]
    return Bucket(low, high, len(inside), _mean([c for c, _ in inside]), _mean([d for _, d in inside]))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
