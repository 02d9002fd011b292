"""Records of decisions, and the episodes by which they are remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import inf
from uuid import UUID

from services.orchestrator.domain.action import Action, ActionKind, ActionState
from services.orchestrator.domain.adjustment import Adjustment, Confidence
from services.orchestrator.domain.advisory import Advisory
from services.orchestrator.domain.decision import Decision, DecisionMode, DecisionSource
from services.orchestrator.domain.likeness import Traits, traits_of
from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.domain.situation import LONGEST_SPRINT_WEEKS, Analysis, Options, OrchestrateAction

RETRIEVABLE_QUALITY = 0.7


@dataclass(frozen=True)
class Metadata:
    """How memory took part in a decision; `degraded` names what could not be had."""

    episodes_considered: int = 0
    episodes_used: int = 0
    degraded: tuple[str, ...] = ()
    cache_hit: bool = False
    embedding_model: str = ""
    similar_projects_considered: int = 0
    strategies_considered: int = 0


@dataclass(frozen=True)
class Record:
    """A decision with everything that led to it."""

    decision_id: UUID
    project_id: str
    decision_time: datetime
    mode: DecisionMode
    asked: OrchestrateAction
    options: Options
    analysis: Analysis
    rule_based: Decision
    final: Decision
    adjustments: tuple[Adjustment, ...]
    confidence: Confidence
    actions: tuple[Action, ...]
    metadata: Metadata

    @property
    def source(self) -> DecisionSource:
        """Enhanced as soon as one adjustment was applied."""
        if any(adjustment.applied for adjustment in self.adjustments):
            return DecisionSource.INTELLIGENCE_ENHANCED
        return DecisionSource.RULE_BASED_ONLY

    @property
    def strategy_ids(self) -> tuple[UUID, ...]:
        """The strategies that the applied adjustments follow; its outcome credits or blames them."""
        return tuple(
            sorted({i for adjustment in self.adjustments if adjustment.applied for i in adjustment.strategy_ids})
        )

    @property
    def sprint_id(self) -> str:
        """The sprint that it started; empty = none."""
        started = (a.sprint_id for a in self.actions if a.kind is ActionKind.START_SPRINT)
        return next(started, "")

    @property
    def starts_sprint(self) -> bool:
        """True if a sprint is started, or to be."""
        open_ends = (ActionState.PENDING, ActionState.DONE)
        return any(a.kind is ActionKind.START_SPRINT and a.state in open_ends for a in self.actions)

    @property
    def pending(self) -> bool:
        """True while something is left to do."""
        return any(action.state is ActionState.PENDING for action in self.actions)

    def with_actions(self, actions: Sequence[Action]) -> "Record":
        """The record after some of its actions."""
        return replace(self, actions=tuple(actions))


@dataclass(frozen=True)
class Episode:
    """What is remembered of a decision. `version` counts the episode's changes."""

    episode_id: UUID
    record: Record
    context_text: str
    quality_score: float
    quality_findings: tuple[str, ...]
    create_time: datetime
    version: int = 1
    requires_embedding: bool = True
    embedding_model: str = ""
    outcome: Outcome | None = None
    outcome_time: datetime | None = None
    # None = nobody is asked for one.
    advisory: Advisory | None = None

    @property
    def traits(self) -> Traits:
        """The figures by which its situation is compared."""
        return traits_of(self.record.analysis, self.record.rule_based)

    @property
    def retrievable(self) -> bool:
        """True if it may serve as evidence."""
        return self.quality_score >= RETRIEVABLE_QUALITY


def remember(episode_id: UUID, record: Record) -> Episode:
    """The new episode of a decision."""
    quality, findings = assess(record)
    text = describe(record.analysis, record.rule_based)
    return Episode(episode_id, record, text, quality, findings, record.decision_time)


def revise(episode: Episode, record: Record) -> Episode:
    """The episode after its decision's actions went on."""
    quality, findings = assess(record, episode.outcome)
    return replace(
        episode, record=record, quality_score=quality, quality_findings=findings, version=episode.version + 1
    )


def reassess(episode: Episode) -> Episode:
    """The episode with its quality in the light of its outcome."""
    quality, findings = assess(episode.record, episode.outcome)
    return replace(episode, quality_score=quality, quality_findings=findings)


def describe(analysis: Analysis, rule_based: Decision) -> str:
    """The situation in words: the text that is embedded.

    It names no project, so that like situations meet, and says magnitudes in words with rounded figures, because a
    sentence model tells 'overloaded' from 'light' and not 38 from 41; so it also stays the same over small changes,
    which keeps its vector in the cache.
    """
    traits = traits_of(analysis, rule_based)
    sentences = [_team_in_words(analysis), _plan_in_words(analysis, rule_based, traits), _sprint_in_words(analysis)]
    return " ".join([*sentences, _history_in_words(analysis, traits)])


def _team_in_words(analysis: Analysis) -> str:
    if not analysis.team_size:
        return "A project with nobody on the team."
    people = "1 person" if analysis.team_size == 1 else f"{analysis.team_size} people"
    size = next(word for most, word in _TEAM_SIZES if analysis.team_size <= most)
    capacity = f" with {_rounded(analysis.capacity_person_days)} person-days" if analysis.capacity_person_days else ""
    return f"A {size} team of {people}{capacity}."


def _plan_in_words(analysis: Analysis, rule_based: Decision, traits: Traits) -> str:
    if not rule_based.create_new_sprint:
        return f"No sprint is to be planned; {_rounded(analysis.available_tasks)} tasks wait."
    weeks = f"{rule_based.sprint_duration_weeks}-week sprint"
    plan = f"A {weeks} of {_rounded(rule_based.tasks_to_assign)} of {_rounded(analysis.available_tasks)} waiting tasks"
    if traits.relative_load is None:
        return f"{plan}."
    burden = next(word for most, word in _BURDENS if traits.relative_load <= most)
    return f"{plan}: {burden}, {_rounded(traits.relative_load)} times the usual pace."


def _sprint_in_words(analysis: Analysis) -> str:
    if not analysis.active_sprint_id:
        return "No sprint is open."
    if analysis.active_sprint_finished:
        return f"The open sprint is finished with {_rounded(analysis.active_sprint_pending)} tasks left over."
    return f"A sprint is open with {_rounded(analysis.active_sprint_pending)} tasks pending."


def _history_in_words(analysis: Analysis, traits: Traits) -> str:
    patterns = analysis.patterns
    if patterns is None:
        return "The first sprint: none has been closed yet."
    pace = f"{_rounded(traits.velocity)} tasks a week" if traits.velocity else "nothing"
    sprints = (
        "1 closed sprint" if patterns.closed_sprints == 1 else f"{_rounded(patterns.closed_sprints)} closed sprints"
    )
    sentences = [f"{sprints} completed {pace}"]
    if patterns.completion_rate is not None:
        sentences.append(f"{_rounded(100 * patterns.completion_rate)} % of what was planned")
    if patterns.trend:
        sentences.append(f"velocity {patterns.trend.lower()}")
    return ", ".join(sentences) + "."


# Most people of a team of that name; most times the usual pace of a plan of that name.
_TEAM_SIZES = ((3, "small"), (7, "middle-sized"), (inf, "large"))
_BURDENS = ((0.8, "a light plan"), (1.25, "a usual plan"), (2.0, "a heavy plan"), (inf, "a plan far too heavy"))


def _rounded(value: float) -> str:
    """With two significant digits."""
    return f"{float(f'{value:.2g}'):g}"


def assess(record: Record, outcome: Outcome | None = None) -> tuple[float, tuple[str, ...]]:
    """Quality of a record as evidence, 0 to 1, and what it lacks.

    The sum of the weights of what holds: the team is known 0.2, the backlog is known 0.15, the capacity is known 0.1,
    the decision is consistent with the situation 0.2, and 0.35 for what came of it: something was done and nothing
    failed or, once the outcome is there, its sprint held tasks. Without the last the episode, at most 0.65, is no
    evidence of anything and never retrieved. An action on its way counts as done.
    """
    analysis, final = record.analysis, record.final
    checks = (
        (0.2, analysis.team_size > 0, "Nobody is on the team."),
        (0.15, analysis.backlog_tasks > 0, "The backlog holds no open task."),
        (0.1, analysis.capacity_person_days is not None, "The capacity of the team is not known."),
        (0.2, _is_consistent(analysis, final), "The decision does not fit the situation."),
        (0.35, *_fruit(record, outcome)),
    )
    score = sum(weight for weight, holds, _ in checks if holds)
    return round(score, 4), tuple(finding for _, holds, finding in checks if not holds)


def _fruit(record: Record, outcome: Outcome | None) -> tuple[bool, str]:
    """Whether anything came of a decision, or can; and what to say if not."""
    if outcome:
        return outcome.completion_rate is not None, "The sprint held no task when it closed."
    # When the daily scrum is held says nothing about the decision.
    actions = [action for action in record.actions if action.kind is not ActionKind.SCHEDULE_DAILY_SCRUM]
    if any(action.state is ActionState.FAILED for action in actions):
        return False, "An action failed."
    acted = any(action.state in (ActionState.DONE, ActionState.PENDING) for action in actions)
    return acted, "Nothing was done, so no outcome can follow."


def _is_consistent(analysis: Analysis, decision: Decision) -> bool:
    if not decision.create_new_sprint:
        return decision.tasks_to_assign == 0 and decision.sprint_duration_weeks == 0
    return (
        1 <= decision.tasks_to_assign <= analysis.available_tasks
        and 1 <= decision.sprint_duration_weeks <= LONGEST_SPRINT_WEEKS
    )
