"""The two forecasts that are asked for, from facts to figures: a sprint's end, and how far a team gets."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from services.orchestrator.domain.errors import NotEnoughData
from services.orchestrator.domain.forecast.calibration import CONFIDENCES
from services.orchestrator.domain.forecast.coefficients import MULTIPLES, POOLED
from services.orchestrator.domain.forecast.delivery import SprintInHand, forecast_delivery
from services.orchestrator.domain.forecast.history import PastSprint
from services.orchestrator.domain.forecast.horizon import Stint, at_least, day_by, extended, simulate

# Closed sprints of its own that a team needs to be forecast.
LEAST_SPRINTS = 1
# A sprint of a team of another size, or of another length, is scaled by no more than this.
_MOST_SCALE = 4.0


@dataclass(frozen=True)
class Closed:
    """A closed sprint. Person-days are 0 if they are not known."""

    sprint_id: str
    project_id: str
    last_day: date
    planned_tasks: int
    completed_tasks: int
    person_days: float
    working_days: int


@dataclass(frozen=True)
class Closing:
    """A sprint that has just closed: its figures, the days on which its tasks were completed, whether all were."""

    closed: Closed
    complete_dates: tuple[date, ...]
    all_done: bool


@dataclass(frozen=True)
class Running:
    """A sprint under way: its days, the last one included, and its tasks as they are on the first day simulated."""

    sprint_id: str
    project_id: str
    first_day: date
    last_day: date
    total_tasks: int
    completed_tasks: int
    begun_tasks: int


@dataclass(frozen=True)
class Basis:
    """What a forecast rests on."""

    sampled_days: int
    sampled_sprints: int
    mean_tasks_per_day: float
    simulations: int
    seed: int
    as_of: date


@dataclass(frozen=True)
class SprintProjection:
    """How likely a sprint completes what it holds. `tasks` and `dates` go with CONFIDENCES."""

    sprint: Running
    remaining_working_days: int
    probability: float
    tasks: tuple[int, ...]
    dates: tuple[date | None, ...]
    basis: Basis

    @property
    def remaining_tasks(self) -> int:
        """Tasks that are not completed."""
        return self.sprint.total_tasks - self.sprint.completed_tasks


@dataclass(frozen=True)
class BacklogProjection:
    """How far a team gets. `tasks` and `dates` go with CONFIDENCES; `tasks` is None if no day was asked about."""

    project_id: str
    remaining_tasks: int
    task_count: int
    target_date: date | None
    tasks: tuple[int, ...] | None
    dates: tuple[date | None, ...]
    basis: Basis


def project_sprint(
    sprint: Running,
    own: Sequence[Closed],
    others: Sequence[Closed],
    capacity: Mapping[date, float],
    as_of: date,
    simulations: int,
    seed: int,
) -> SprintProjection:
    """Forecast a sprint's end from `as_of`, a day of the sprint.

    `own` are the team's closed sprints and `others` those of other teams, oldest first; `capacity` are person-days by
    day from the sprint's first day on. What a sprint delivered is scaled by the person-days of this one: the plan for
    the same team with half of it away is half (capacity-driven planning; Cohn, Agile Estimating and Planning, 2005).
    Raises NotEnoughData.
    """
    basis = _basis(own, simulations, seed, as_of)
    ahead = extended(dict(capacity), as_of)
    length = (sprint.last_day - as_of).days + 1
    left = float(ahead[:length].sum())
    total = sum(value for day, value in capacity.items() if sprint.first_day <= day <= sprint.last_day)
    in_hand = SprintInHand(
        committed=sprint.total_tasks,
        done=sprint.completed_tasks,
        in_progress=sprint.begun_tasks,
        tasks=sprint.total_tasks,
        days=(sprint.last_day - sprint.first_day).days + 1,
        elapsed=1 - left / total if total > 0 else 1.0,
    )
    scaled_own = [_scaled(closed, total) for closed in own]
    wider = [*(_scaled(closed, total) for closed in others if closed.person_days > 0), *scaled_own]
    delivery = forecast_delivery(in_hand, scaled_own, wider, POOLED)
    ends = delivery.draw(np.random.default_rng(seed).random(simulations))
    # Tasks are whole: an end within half a task of all is all.
    more = np.clip(np.rint(ends) - sprint.completed_tasks, 0, None)
    remaining = sprint.total_tasks - sprint.completed_tasks
    return SprintProjection(
        sprint=sprint,
        remaining_working_days=int((ahead[:length] > 0).sum()),
        probability=float(np.mean(more >= remaining)),
        tasks=tuple(min(at_least(more, percent), remaining) for percent in CONFIDENCES),
        dates=_dates(_days_to(remaining, more, left, ahead), as_of),
        basis=basis,
    )


def project_backlog(
    project_id: str,
    remaining_tasks: int,
    wanted: int,
    target: date | None,
    own: Sequence[Closed],
    capacity: Mapping[date, float],
    as_of: date,
    simulations: int,
    seed: int,
) -> BacklogProjection:
    """Forecast from `as_of` how many tasks are done by a day (None = not asked), and when so many `wanted` are.

    `own` are the team's closed sprints, oldest first; `capacity` are person-days by day from `as_of` on. Raises
    NotEnoughData.
    """
    basis = _basis(own, simulations, seed, as_of)
    ahead = extended(dict(capacity), as_of)
    until = None if target is None else (target - as_of).days
    ends = simulate(_stints(own, ahead), MULTIPLES, ahead, wanted, until, simulations, seed)
    return BacklogProjection(
        project_id=project_id,
        remaining_tasks=remaining_tasks,
        task_count=wanted,
        target_date=target,
        tasks=None if ends.tasks is None else tuple(at_least(ends.tasks, percent) for percent in CONFIDENCES),
        dates=_dates(ends.days, as_of),
        basis=basis,
    )


def _basis(own: Sequence[Closed], simulations: int, seed: int, as_of: date) -> Basis:
    days = sum(closed.working_days for closed in own)
    sprints = sum(closed.working_days > 0 for closed in own)
    if sprints < LEAST_SPRINTS:
        raise NotEnoughData(needed=LEAST_SPRINTS, have=sprints)
    return Basis(
        sampled_days=days,
        sampled_sprints=sprints,
        mean_tasks_per_day=sum(closed.completed_tasks for closed in own) / days,
        simulations=simulations,
        seed=seed,
        as_of=as_of,
    )


def _scaled(closed: Closed, person_days: float) -> PastSprint:
    """A past sprint as if the team had had so many person-days."""
    known = closed.person_days > 0 and person_days > 0
    scale = min(max(person_days / closed.person_days, 1 / _MOST_SCALE), _MOST_SCALE) if known else 1.0
    return PastSprint(closed.planned_tasks * scale, closed.completed_tasks * scale)


def _stints(own: Sequence[Closed], ahead: NDArray[np.float64]) -> list[Stint]:
    """The closed sprints; where person-days are not known, each of their days counts as one of those ahead."""
    usual = float(ahead[ahead > 0].mean()) if (ahead > 0).any() else 1.0
    return [
        Stint(closed.completed_tasks, closed.person_days or closed.working_days * usual, closed.working_days)
        for closed in own
        if closed.working_days > 0
    ]


def _days_to(remaining: int, more: NDArray[np.float64], left: float, ahead: NDArray[np.float64]) -> NDArray[np.float64]:
    """The index of the day on which all is done at the pace of each simulated sprint; infinity = never."""
    if remaining <= 0:
        return np.zeros(len(more))
    if left <= 0:
        return np.full(len(more), np.inf)
    with np.errstate(divide="ignore"):
        needed = remaining * left / more
    held = np.cumsum(ahead)
    days = np.searchsorted(held, needed - 1e-9).astype(np.float64)
    days[days >= len(held)] = np.inf
    return days


def _dates(days: NDArray[np.float64], first: date) -> tuple[date | None, ...]:
    return tuple(day_by(days, percent, first) for percent in CONFIDENCES)
