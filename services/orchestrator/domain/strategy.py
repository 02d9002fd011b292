"""Strategies: rules learned from episodes, the situations that they hold in, and which of them to follow."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from services.orchestrator.domain.decision import Decision
from services.orchestrator.domain.effect import Effect
from services.orchestrator.domain.likeness import traits_of
from services.orchestrator.domain.situation import Analysis


class StrategyState(StrEnum):
    """Whether a strategy is in use."""

    CANDIDATE = "CANDIDATE"
    ACTIVE = "ACTIVE"
    RETIRED = "RETIRED"


class Feature(StrEnum):
    """What conditions are about: few figures, each known before the sprint, that say how much the rules ask of a team.

    TEAM_SIZE: people. CLOSED_SPRINTS: how many the history holds. LOAD: tasks that the rules plan per person-day of the
    sprint. RELATIVE_LOAD: their tasks per week as a multiple of what the closed sprints completed per week: 1 asks for
    what the team did so far, 2 for twice that.
    """

    TEAM_SIZE = "team_size"
    CLOSED_SPRINTS = "closed_sprints"
    LOAD = "load"
    RELATIVE_LOAD = "relative_load"


Features = Mapping[Feature, float]


@dataclass(frozen=True)
class Condition:
    """A range that a feature must be in, both ends included; None = no such end."""

    feature: Feature
    minimum: float | None = None
    maximum: float | None = None

    def holds(self, features: Features) -> bool:
        """True if the feature is known and in the range: what is not known fulfils nothing."""
        value = features.get(self.feature)
        if value is None:
            return False
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)


@dataclass(frozen=True)
class Strategy:
    """A rule with its evidence. An empty project_id = it holds for all.

    `confidence` (0 to 1) is the lower end of the interval of the share of `episodes_for` in all its evidence.
    `successes` and `failures` count the outcomes, so far as they are known, of the decisions that applied it. The ids
    of episodes are the newest hundred of each side.
    """

    strategy_id: UUID
    project_id: str
    description: str
    conditions: tuple[Condition, ...]
    effect: Effect
    state: StrategyState
    confidence: float
    episodes_for: int
    episodes_against: int
    supporting_episode_ids: tuple[UUID, ...]
    contradicting_episode_ids: tuple[UUID, ...]
    create_time: datetime
    update_time: datetime
    times_applied: int = 0
    successes: int = 0
    failures: int = 0
    version: int = 1
    retire_time: datetime | None = None
    retire_reason: str = ""

    def holds(self, features: Features) -> bool:
        """True if every condition does."""
        return all(condition.holds(features) for condition in self.conditions)


def features(analysis: Analysis, rule_based: Decision) -> Features:
    """The features of a situation, as far as they are known; none if the rules start no sprint.

    The same function serves learning and applying: a condition means the same in both.
    """
    if not rule_based.create_new_sprint:
        return {}
    traits, patterns = traits_of(analysis, rule_based), analysis.patterns
    found = {
        Feature.TEAM_SIZE: float(analysis.team_size),
        Feature.CLOSED_SPRINTS: float(patterns.closed_sprints if patterns else 0),
    }
    if traits.load is not None:
        found[Feature.LOAD] = traits.load
    if traits.relative_load is not None:
        found[Feature.RELATIVE_LOAD] = traits.relative_load
    return found


def applicable(strategies: Iterable[Strategy], situation: Features) -> tuple[Strategy, ...]:
    """The active strategies whose conditions hold, best first: a project's own before those for all, then the surest.

    The first of each kind of effect is the one to follow.
    """
    found = [s for s in strategies if s.state is StrategyState.ACTIVE and s.holds(situation)]
    return tuple(sorted(found, key=lambda s: (not s.project_id, -s.confidence, s.strategy_id)))
