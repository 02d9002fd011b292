"""Velocity: what a team completes per sprint, how much that varies, and where it is going."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

MIN_SPRINTS_FOR_TREND = 3

# Student's t at 0.90 one-sided, for 1 to 30 degrees of freedom (NIST/SEMATECH e-Handbook, 1.3.6.7.2); beyond, the
# normal distribution's value.
_T_90 = (
    *(3.078, 1.886, 1.638, 1.533, 1.476, 1.440, 1.415, 1.397, 1.383, 1.372),
    *(1.363, 1.356, 1.350, 1.345, 1.341, 1.337, 1.333, 1.330, 1.328, 1.325),
    *(1.323, 1.321, 1.319, 1.318, 1.316, 1.315, 1.314, 1.313, 1.311, 1.310),
)
_Z_90 = 1.282


class Trend(StrEnum):
    """Where a series goes; UNKNOWN = it is too short to say."""

    UNKNOWN = "UNSPECIFIED"
    RISING = "RISING"
    STABLE = "STABLE"
    FALLING = "FALLING"


class Unit(StrEnum):
    """What a trend is measured in."""

    POINTS = "points"
    TASKS = "tasks"


@dataclass(frozen=True, slots=True)
class SprintVelocity:
    """One closed sprint; planned None = not known, capacity and team size 0 = not known."""

    sprint_id: str
    sprint_name: str
    start_date: date
    end_date: date
    planned_tasks: int | None
    planned_points: float | None
    completed_tasks: int
    completed_points: float
    capacity_person_days: float
    team_size: int
    completion_rate: float | None


@dataclass(frozen=True, slots=True)
class Line:
    """A fitted line: change per step, and whether that is more than the scatter around it explains."""

    slope: float
    trend: Trend


@dataclass(frozen=True, slots=True)
class Velocity:
    """Figures over some closed sprints; None = too few of them."""

    sprints: tuple[SprintVelocity, ...]
    average_tasks: float | None
    average_points: float | None
    spread_tasks: float | None
    spread_points: float | None
    unit: Unit
    slope: float | None
    trend: Trend
    points_per_person_day: float | None


def velocity_of(sprints: Sequence[SprintVelocity]) -> Velocity:
    """Mean, sample standard deviation and trend over closed sprints, oldest first."""
    tasks = [float(sprint.completed_tasks) for sprint in sprints]
    points = [sprint.completed_points for sprint in sprints]
    unit = _unit_of(sprints)
    line = fit_line(points if unit is Unit.POINTS else tasks)
    return Velocity(
        sprints=tuple(sprints),
        average_tasks=statistics.fmean(tasks) if tasks else None,
        average_points=statistics.fmean(points) if points else None,
        spread_tasks=statistics.stdev(tasks) if len(tasks) > 1 else None,
        spread_points=statistics.stdev(points) if len(points) > 1 else None,
        unit=unit,
        slope=line.slope if line else None,
        trend=line.trend if line else Trend.UNKNOWN,
        points_per_person_day=_points_per_person_day(sprints),
    )


def fit_line(values: Sequence[float]) -> Line | None:
    """The least-squares line through values one step apart; None for fewer than MIN_SPRINTS_FOR_TREND.

    slope b = sum((x - mean x)(y - mean y)) / sum((x - mean x)^2), with standard error
    s_b = sqrt(sum(residual^2) / (n - 2) / sum((x - mean x)^2)); it has a direction if |b| > t s_b, with Student's t at
    0.90 one-sided and n - 2 degrees of freedom, so that pure scatter is called a direction once in five times.
    Source: Draper & Smith, Applied Regression Analysis, 3rd ed., sections 1.2 and 1.4.
    """
    count = len(values)
    if count < MIN_SPRINTS_FOR_TREND:
        return None
    middle, mean = (count - 1) / 2, statistics.fmean(values)
    squares = sum((x - middle) ** 2 for x in range(count))
    slope = sum((x - middle) * (y - mean) for x, y in enumerate(values)) / squares
    residuals = [y - mean - slope * (x - middle) for x, y in enumerate(values)]
    error = (sum(residual**2 for residual in residuals) / (count - 2) / squares) ** 0.5
    # Rounding alone must not make a direction of a flat line.
    noise = 1e-9 * max(1.0, *map(abs, values))
    if abs(slope) <= max(_t(count - 2) * error, noise):
        return Line(slope, Trend.STABLE)
    return Line(slope, Trend.RISING if slope > 0 else Trend.FALLING)


def describe(velocity: Velocity) -> str:
    """The findings in a sentence or two; a direction is named only where there is one to name."""
    count = len(velocity.sprints)
    if not count or velocity.average_tasks is None or velocity.average_points is None:
        return "No sprint has closed yet."
    found = (
        f"{count} closed sprint{'s' if count > 1 else ''}: {velocity.average_tasks:.1f} tasks and "
        f"{velocity.average_points:.1f} points completed per sprint on average"
    )
    if velocity.spread_tasks is not None and velocity.spread_points is not None:
        found += (
            f", with a standard deviation of {velocity.spread_tasks:.1f} tasks and {velocity.spread_points:.1f} points"
        )
    if velocity.slope is None:
        return f"{found}. At least {MIN_SPRINTS_FOR_TREND} closed sprints are needed for a trend."
    change = f"{velocity.slope:+.1f} {velocity.unit} per sprint"
    words = {
        Trend.RISING: f"rising ({change})",
        Trend.FALLING: f"falling ({change})",
        Trend.STABLE: f"stable (the fitted {change} are within the scatter)",
    }
    return f"{found}. The velocity is {words[velocity.trend]}."


def _unit_of(sprints: Sequence[SprintVelocity]) -> Unit:
    """Points, unless they are missing: a sprint completed tasks without a point, or no sprint has points at all."""
    missing = any(sprint.completed_tasks and not sprint.completed_points for sprint in sprints)
    return Unit.POINTS if not missing and any(sprint.completed_points for sprint in sprints) else Unit.TASKS


def _points_per_person_day(sprints: Sequence[SprintVelocity]) -> float | None:
    known = [sprint for sprint in sprints if sprint.capacity_person_days > 0]
    capacity = sum(sprint.capacity_person_days for sprint in known)
    return sum(sprint.completed_points for sprint in known) / capacity if capacity else None


def _t(degrees: int) -> float:
    return _T_90[degrees - 1] if degrees <= len(_T_90) else _Z_90
