"""One decision to be made: the rules' decision, the situation and the evidence, and the paces that follow from them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import exp, log, sqrt

from services.orchestrator.domain.adjustment import LEAST_OUTCOMES
from services.orchestrator.domain.decision import Decision
from services.orchestrator.domain.evidence import (
    Evidence,
    EvidenceSource,
    PastSprint,
    Recollection,
    past_sprint,
    sprint_of,
)
from services.orchestrator.domain.pace import Pace, Prior, Work, learn
from services.orchestrator.domain.situation import Analysis, Options, SimilarProject
from services.orchestrator.domain.strategy import Strategy, applicable, features

# Of a team that nothing is known of, per person-day: what the sprint service plans a first sprint by.
TASKS_PER_PERSON_DAY = 0.2
POINTS_PER_PERSON_DAY = 0.8
# Log deviations of the pace: between teams that are alike, and of their mean as long as none of them is known.
_BETWEEN_TEAMS = 0.5
_UNKNOWN_MEAN = 0.85
_DAYS_PER_WEEK = 5


@dataclass(frozen=True)
class Case:
    """What proposals are made from."""

    rule_based: Decision
    analysis: Analysis
    options: Options
    evidence: Evidence

    @cached_property
    def by_person_days(self) -> bool:
        """Whether work is compared by person-days; else by weeks, because the days are not known."""
        return bool(self.evidence.person_days) and all(sprint.person_days for sprint in self.evidence.own_sprints)

    @property
    def source(self) -> EvidenceSource:
        """What the team's own sprints are evidence as."""
        return EvidenceSource.CAPACITY if self.by_person_days else EvidenceSource.VELOCITY

    @property
    def unit(self) -> str:
        """What work is compared by."""
        return "person-day" if self.by_person_days else "week"

    @property
    def mean_points(self) -> float:
        """Points of an average task that waits; 0 = nothing is estimated."""
        seen = self.analysis
        return seen.unassigned_points / seen.unassigned_tasks if seen.unassigned_tasks else 0.0

    @property
    def estimated(self) -> bool:
        """Whether points say anything: the waiting tasks have some, and so had those of every sprint."""
        sprints = self.evidence.own_sprints
        return self.mean_points > 0 and bool(sprints) and all(sprint.planned_points > 0 for sprint in sprints)

    @property
    def most_tasks(self) -> int:
        """As many as there are, or as the caller allows; the rules' own default is no limit of the caller's."""
        available = self.analysis.available_tasks
        return min(self.options.max_tasks_per_sprint or available, available)

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        """Those that hold here, best first; none once the team's own sprints are enough to go by.

        A factor on what the rules say holds for a kind of situation, the pace for this team and this sprint's days.
        """
        if len(self.evidence.own_sprints) >= LEAST_OUTCOMES:
            return ()
        return applicable(self.evidence.strategies, features(self.analysis, self.rule_based))

    @cached_property
    def pace_of_tasks(self) -> Pace:
        """Tasks per person-day or week."""
        return learn(self._work(_completed_tasks), self._prior_of_tasks(), self.rule_based.tasks_to_assign)

    @cached_property
    def pace_of_points(self) -> Pace:
        """Points per person-day or week. Points of different teams cannot be compared: only the team's own count."""
        prior = Prior(POINTS_PER_PERSON_DAY * self._person_days_of_unit, sqrt(_variance(0.0)))
        return learn(self._work(_completed_points), prior, self.rule_based.tasks_to_assign)

    def exposure(self, weeks: int) -> float:
        """Person-days of a sprint of so many weeks, or the weeks themselves; 0 = nobody is there."""
        return self.evidence.person_days.get(weeks, 0.0) if self.by_person_days else float(weeks)

    def spent(self, sprint: PastSprint) -> float:
        """The same of a past sprint."""
        return (sprint.person_days if self.by_person_days else None) or sprint.weeks

    @cached_property
    def others(self) -> tuple[tuple[float, float], ...]:
        """Tasks per person-day or week of other teams, each with the similarity of its project or situation."""
        theirs = [(_sprints(project), project.similarity) for project in self.evidence.similar_projects]
        theirs += [([sprint], episode.similarity) for episode, sprint in self.foreign_episodes]
        paces = []
        for sprints, similarity in theirs:
            comparable = [s for s in sprints if s.person_days or not self.by_person_days]
            done = sum(sprint.completed_tasks for sprint in comparable)
            if done:
                paces.append((done / sum(map(self.spent, comparable)), similarity))
        return tuple(paces)

    @cached_property
    def own_episodes(self) -> tuple[Recollection, ...]:
        """Retrieved episodes of the team's own sprints."""
        own = {sprint.sprint_id for sprint in self.evidence.own_sprints}
        return tuple(e for e in self.evidence.episodes if e.outcome and e.outcome.sprint_id in own)

    @cached_property
    def foreign_episodes(self) -> tuple[tuple[Recollection, PastSprint], ...]:
        """Retrieved episodes of other teams, with their sprints; none of a project that is compared as a whole."""
        known = {sprint.sprint_id for sprint in self.evidence.own_sprints}
        known |= {closed.sprint_id for project in self.evidence.similar_projects for closed in project.sprints}
        found = [(episode, sprint_of(episode)) for episode in self.evidence.episodes]
        return tuple((e, sprint) for e, sprint in found if sprint and sprint.sprint_id not in known)

    @property
    def _person_days_of_unit(self) -> float:
        return 1.0 if self.by_person_days else float(_DAYS_PER_WEEK * self.analysis.team_size)

    def under_way(self, done: Callable[[PastSprint], float]) -> list[float]:
        """What was done, at the end of each sprint, of tasks that were not: one task per person, half done on average.

        A task that is carried over was worked on before it counts. Without this, a team that leaves work over seems
        slower than it is by half of what it works on at a time, plans less, and so on.
        """
        people = self.analysis.team_size
        return [
            0.5 * min(people, sprint.left_tasks) * done(sprint) / sprint.completed_tasks
            if sprint.completed_tasks
            else 0.0
            for sprint in self.evidence.own_sprints
        ]

    def _work(self, done: Callable[[PastSprint], float]) -> list[Work]:
        ends = self.under_way(done)
        return [
            Work(
                max(done(sprint) / 2, done(sprint) + end - begin),
                sprint.completed_tasks,
                self.spent(sprint),
                sprint.all_done,
            )
            for sprint, end, begin in zip(self.evidence.own_sprints, ends, [0.0, *ends], strict=False)
        ]

    def _prior_of_tasks(self) -> Prior:
        """What other teams do, each counted by its similarity, drawn toward what the sprint service plans by.

        As if one more team, of which nothing is known, were among them. Its deviation keeps what teams differ by, so
        that the team's own sprints soon count more: plain likeness was found to forecast worse than a team's own past.
        """
        default = log(TASKS_PER_PERSON_DAY * self._person_days_of_unit)
        weight = sum(similarity for _, similarity in self.others)
        logs = sum(similarity * log(pace) for pace, similarity in self.others)
        return Prior(exp((default + logs) / (1 + weight)), sqrt(_variance(weight)))


def _completed_tasks(sprint: PastSprint) -> float:
    return float(sprint.completed_tasks)


def _completed_points(sprint: PastSprint) -> float:
    return sprint.completed_points


def _sprints(project: SimilarProject) -> Sequence[PastSprint]:
    return [sprint for closed in project.sprints if (sprint := past_sprint(closed))]


def _variance(weight: float) -> float:
    """Of the log pace of a team, with so many like teams known."""
    return _BETWEEN_TEAMS**2 + _UNKNOWN_MEAN**2 / (1 + weight)
