"""Whether enhanced decisions do better than rule-based ones."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from services.chronicle.domain.decisions import SUCCESS_RATE

# Decisions that each group needs before its figures are worth a conclusion. The 95 % interval of a mean then reaches
# 1.2 standard deviations to either side; of four decisions 1.6, of three 2.5, of two 9.0.
MINIMUM_GROUP_SIZE = 5
DEFAULT_DAYS = 30
MOST_DETAILS = 1_000

# Student's t at 0.975, for 1 to 30 degrees of freedom and for some more (NIST/SEMATECH e-Handbook, 1.3.6.7.2); beyond,
# the normal distribution's value.
_T_975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)
_T_975_BEYOND = ((120, 1.980), (60, 2.000), (40, 2.021), (30, 2.042))
_Z_975 = 1.960
_MANY = 1_000


class Source(StrEnum):
    """Where a decision came from."""

    RULE_BASED = "RULE_BASED_ONLY"
    ENHANCED = "INTELLIGENCE_ENHANCED"


@dataclass(frozen=True, slots=True)
class Interval:
    """A 95 % confidence interval."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Sample:
    """Some measurements: how many, their mean and their sample variance (None = too few)."""

    count: int = 0
    mean: float | None = None
    variance: float | None = None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The outcomes of the decisions of one source; efficiency in tasks per person-day, the others 0 to 1."""

    decisions: int = 0
    successes: int = 0
    completion: Sample = Sample()
    efficiency: Sample = Sample()
    utilization: Sample = Sample()


@dataclass(frozen=True, slots=True)
class Detail:
    """One decision and what came of it; None = not known."""

    audit_id: str
    sprint_id: str
    decision_source: str
    decision_time: datetime
    completion_rate: float | None
    task_efficiency: float | None
    resource_utilization: float | None

    @property
    def success(self) -> bool | None:
        """True if at least SUCCESS_RATE of the sprint's tasks were completed; None if that is not known."""
        return None if self.completion_rate is None else self.completion_rate >= SUCCESS_RATE


@dataclass(frozen=True, slots=True)
class Impact:
    """Both groups, the decisions that still wait for their outcome, and the newest decisions, oldest first."""

    start: date
    end: date
    enhanced: Outcomes
    rule_based: Outcomes
    waiting: int
    details: Sequence[Detail]

    @property
    def enough(self) -> bool:
        """True if both groups are large enough for a conclusion."""
        return min(self.enhanced.decisions, self.rule_based.decisions) >= MINIMUM_GROUP_SIZE


def mean_interval(sample: Sample, low: float = -math.inf, high: float = math.inf) -> Interval | None:
    """Student's t interval of a mean: mean +- t(0.975, n - 1) s / sqrt(n), cut to what the figure can be.

    None for fewer than two measurements. Source: NIST/SEMATECH e-Handbook, 1.3.5.2.
    """
    if sample.mean is None or sample.variance is None or sample.count < 2:
        return None
    half = student_t(sample.count - 1) * math.sqrt(sample.variance / sample.count)
    return Interval(max(low, sample.mean - half), min(high, sample.mean + half))


def difference_interval(first: Sample, second: Sample) -> Interval | None:
    """Welch's t interval of the difference of two means, first less second, with unequal variances.

    The degrees of freedom by Welch and Satterthwaite, rounded down, which errs to the wide side. None if either has
    fewer than two measurements. Source: Welch, The generalization of Student's problem when several different
    population variances are involved, Biometrika 34, 1947; NIST/SEMATECH e-Handbook, 1.3.5.3.
    """
    if first.mean is None or second.mean is None or first.variance is None or second.variance is None:
        return None
    if min(first.count, second.count) < 2:
        return None
    parts = [(sample.variance or 0.0) / sample.count for sample in (first, second)]
    spread = sum(parts)
    degrees = first.count + second.count - 2
    if spread > 0:
        weights = sum(part**2 / (s.count - 1) for part, s in zip(parts, (first, second), strict=True))
        degrees = max(1, math.floor(spread**2 / weights)) if weights else degrees
    half = student_t(degrees) * math.sqrt(spread)
    difference = first.mean - second.mean
    return Interval(difference - half, difference + half)


def share_interval(successes: int, count: int) -> Interval | None:
    """Wilson's score interval of a chance of success; None for no tries.

    (p + z^2 / 2n +- z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n) with z = 1.96: unlike p +- z s, it is never
    empty nor outside of 0 to 1. Source: Wilson, Probable inference, the law of succession, and statistical inference,
    JASA 22, 1927.
    """
    if not count:
        return None
    share, square = successes / count, _Z_975**2
    middle = share + square / (2 * count)
    half = _Z_975 * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    scale = 1 + square / count
    # At the ends the formula gives 0 and 1, but for rounding.
    low = (middle - half) / scale if successes else 0.0
    return Interval(low, (middle + half) / scale if successes < count else 1.0)


def improvement_percent(enhanced: Sample, rule_based: Sample) -> float | None:
    """Difference of the means in percent of the rule-based one; None if one is not known or that one is 0."""
    if enhanced.mean is None or not rule_based.mean:
        return None
    return 100 * (enhanced.mean - rule_based.mean) / rule_based.mean


def student_t(degrees: int) -> float:
    """Student's t at 0.975; between the degrees of the table, that of the lower ones, which errs to the wide side."""
    if degrees <= len(_T_975):
        return _T_975[degrees - 1]
    if degrees > _MANY:
        return _Z_975
    return next(value for least, value in _T_975_BEYOND if degrees >= least)


def describe(impact: Impact) -> str:
    """The result in a sentence or two; a difference is claimed only where its interval leaves out 0."""
    counts = (
        f"{impact.enhanced.decisions} enhanced and {impact.rule_based.decisions} rule-based decisions with a known "
        "outcome"
    )
    if not impact.enough:
        return f"Not enough data: {counts}; each group needs {MINIMUM_GROUP_SIZE}."
    interval = difference_interval(impact.enhanced.completion, impact.rule_based.completion)
    if interval is None or impact.enhanced.completion.mean is None or impact.rule_based.completion.mean is None:
        return f"{counts}, too few of which tell a completion rate."
    means = (
        f"Sprints of enhanced decisions completed {impact.enhanced.completion.mean:.0%} on average, those of "
        f"rule-based ones {impact.rule_based.completion.mean:.0%}"
    )
    span = f"95 % interval of the difference: {100 * interval.low:+.0f} to {100 * interval.high:+.0f} points"
    if interval.low <= 0 <= interval.high:
        return f"{counts}. {means}; no difference beyond the scatter ({span})."
    return f"{counts}. {means}: a difference beyond the scatter ({span}), which proves no cause."
