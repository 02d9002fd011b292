"""Evidence: what is known that could speak for another decision than the rules', before anybody weighs it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from uuid import UUID

from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.domain.situation import (
    LONGEST_SPRINT_WEEKS,
    ClosedSprint,
    Observation,
    SimilarProject,
    capacity_of,
)
from services.orchestrator.domain.strategy import Strategy


class EvidenceSource(StrEnum):
    """The kind of evidence that an adjustment mainly rests on.

    CAPACITY and VELOCITY are the team's own sprints, by person-day or, where those are not known, by week.
    """

    STRATEGY = "STRATEGY"
    CAPACITY = "CAPACITY"
    VELOCITY = "VELOCITY"
    SIMILAR_PROJECTS = "SIMILAR_PROJECTS"
    EPISODES = "EPISODES"


@dataclass(frozen=True)
class Recollection:
    """A retrieved episode, as far as it matters for the next decision. `similarity` is 0 to 1."""

    episode_id: UUID
    project_id: str
    similarity: float
    sprint_duration_weeks: int
    outcome: Outcome | None


@dataclass(frozen=True)
class PastSprint:
    """What a closed sprint brought. Weeks and person-days above 0, None = not known; points 0 = nothing estimated.

    `all_done` = nothing was left over, so that the team might have done more.
    """

    sprint_id: str
    end: date
    weeks: float
    person_days: float | None
    completed_tasks: int
    completed_points: float
    completion_rate: float
    planned_tasks: float
    planned_points: float

    @property
    def all_done(self) -> bool:
        """True if nothing was left over."""
        return self.completion_rate >= 1

    @property
    def left_tasks(self) -> float:
        """Tasks left over."""
        if not self.completion_rate:
            return self.planned_tasks
        return self.completed_tasks / self.completion_rate - self.completed_tasks


@dataclass(frozen=True)
class Evidence:
    """Everything at hand for one decision. `person_days` of the team by the weeks of the sprint; empty = not known."""

    strategies: tuple[Strategy, ...] = ()
    own_sprints: tuple[PastSprint, ...] = ()
    similar_projects: tuple[SimilarProject, ...] = ()
    episodes: tuple[Recollection, ...] = ()
    person_days: Mapping[int, float] = field(default_factory=dict)


def gather(
    seen: Observation,
    start: date | None,
    strategies: Sequence[Strategy],
    similar: Sequence[SimilarProject],
    episodes: Sequence[Recollection],
) -> Evidence:
    """The evidence for a sprint that starts on a day.

    The team's own sprints come from the chronicle; those that it does not know, or all if it is away, from the team's
    own episodes. Own episodes are thereby no evidence for a second time.
    """
    told = [sprint for closed in seen.velocity.sprints if (sprint := past_sprint(closed))] if seen.velocity else []
    known = {sprint.sprint_id for sprint in told}
    own = [episode for episode in episodes if episode.project_id == seen.project_id]
    recalled = [sprint for episode in own if (sprint := sprint_of(episode)) and sprint.sprint_id not in known]
    days = {weeks: capacity_of(seen, start, weeks) for weeks in range(1, LONGEST_SPRINT_WEEKS + 1)}
    return Evidence(
        strategies=tuple(strategies),
        own_sprints=_in_order([*told, *recalled]),
        similar_projects=tuple(similar),
        episodes=tuple(episodes),
        person_days={weeks: person_days for weeks, person_days in days.items() if person_days},
    )


def past_sprint(closed: ClosedSprint) -> PastSprint | None:
    """A closed sprint as evidence; None if it held nothing, or what it held is not known."""
    if closed.completion_rate is None:
        return None
    return PastSprint(
        sprint_id=closed.sprint_id,
        end=closed.end,
        weeks=((closed.end - closed.start).days + 1) / 7,
        person_days=closed.person_days or None,
        completed_tasks=closed.completed_tasks,
        completed_points=closed.completed_points,
        completion_rate=closed.completion_rate,
        planned_tasks=float(closed.planned_tasks or closed.completed_tasks),
        planned_points=closed.planned_points or closed.completed_points,
    )


def sprint_of(episode: Recollection) -> PastSprint | None:
    """The sprint of an episode as evidence; None if its outcome is not known or it held nothing."""
    outcome = episode.outcome
    if outcome is None or outcome.completion_rate is None or not episode.sprint_duration_weeks:
        return None
    return PastSprint(
        sprint_id=outcome.sprint_id,
        end=outcome.close_time.date(),
        weeks=episode.sprint_duration_weeks,
        person_days=outcome.capacity_person_days,
        completed_tasks=outcome.completed_tasks,
        completed_points=outcome.completed_points,
        completion_rate=outcome.completion_rate,
        planned_tasks=outcome.planned_tasks,
        planned_points=outcome.planned_points,
    )


def _in_order(sprints: Iterable[PastSprint]) -> tuple[PastSprint, ...]:
    """Oldest first."""
    return tuple(sorted(sprints, key=lambda sprint: (sprint.end, sprint.sprint_id)))
