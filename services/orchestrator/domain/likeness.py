"""Likeness: what makes two situations comparable, besides the words that describe them."""

from dataclasses import dataclass

from services.orchestrator.domain.decision import Decision
from services.orchestrator.domain.situation import Analysis


@dataclass(frozen=True)
class Traits:
    """The figures by which situations are compared. All are above 0; None = not known.

    `team_size` in people, `load` in tasks of the rules' decision per person-day of its sprint, `velocity` in tasks
    completed per week of the closed sprints, `duration_weeks` of the rules' decision. `relative_load` is the tasks per
    week of that decision as a multiple of the velocity.
    """

    team_size: float | None = None
    load: float | None = None
    velocity: float | None = None
    duration_weeks: float | None = None
    relative_load: float | None = None


# Weight of each trait, and of the meaning of the words. A plan that asks too much of a team shows in the load first;
# texts count no more than one trait, because on real backlogs the likeness of texts was found to be a poor guide.
WEIGHTS = {"team_size": 1.0, "load": 2.0, "velocity": 1.0, "duration_weeks": 1.0}
MEANING_WEIGHT = 1.0


def traits_of(analysis: Analysis, rule_based: Decision) -> Traits:
    """The traits of a situation, as far as they are known."""
    tasks, weeks = rule_based.tasks_to_assign, rule_based.sprint_duration_weeks
    capacity, patterns = analysis.capacity_person_days, analysis.patterns
    velocity = 7 * patterns.completed_tasks / patterns.duration_days if patterns else 0.0
    return Traits(
        team_size=analysis.team_size or None,
        load=tasks / capacity if capacity and tasks else None,
        velocity=velocity or None,
        duration_weeks=weeks or None,
        relative_load=tasks / weeks / velocity if weeks and velocity else None,
    )
