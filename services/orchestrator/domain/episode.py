"""Records of decisions, and the episodes by which they are remembered."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.orchestrator.domain.action import Action, ActionKind, ActionState
from services.orchestrator.domain.adjustment import Adjustment, Confidence
from services.orchestrator.domain.decision import Decision, DecisionMode, DecisionSource
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

    @property
    def retrievable(self) -> bool:
        """True if it may serve as evidence."""
        return self.quality_score >= RETRIEVABLE_QUALITY


def remember(episode_id: UUID, record: Record) -> Episode:
    """The new episode of a decision."""
    quality, findings = assess(record)
    return Episode(episode_id, record, describe(record.analysis), quality, findings, record.decision_time)


def revise(episode: Episode, record: Record) -> Episode:
    """The episode after its decision's actions went on."""
    quality, findings = assess(record)
    return replace(
        episode, record=record, quality_score=quality, quality_findings=findings, version=episode.version + 1
    )


def describe(analysis: Analysis) -> str:
    """The situation in words: the text that is embedded. It names no project, so that like situations meet."""
    sentences = [
        f"{analysis.backlog_tasks} open tasks, {analysis.unassigned_tasks} of them unassigned"
        f" with {analysis.unassigned_points:g} points.",
        f"Team of {analysis.team_size} people"
        + (f" with {analysis.capacity_person_days:g} person-days." if analysis.capacity_person_days else "."),
        _sprint_in_words(analysis),
    ]
    if analysis.patterns is None:
        return " ".join([*sentences, "No sprint has been closed yet."])
    patterns = analysis.patterns
    sentences.append(
        f"{patterns.closed_sprints} closed sprints of {patterns.duration_days:.0f} days"
        f" with {patterns.completed_tasks:.1f} completed tasks each."
    )
    if patterns.completion_rate is not None:
        sentences.append(f"Completion rate {patterns.completion_rate:.0%}.")
    if patterns.trend:
        sentences.append(f"Velocity {patterns.trend.lower()}.")
    return " ".join(sentences)


def _sprint_in_words(analysis: Analysis) -> str:
    if not analysis.active_sprint_id:
        return "No sprint is open."
    if analysis.active_sprint_finished:
        return f"The open sprint is finished with {analysis.active_sprint_pending} tasks pending."
    return f"A sprint is open with {analysis.active_sprint_pending} tasks pending."


def assess(record: Record) -> tuple[float, tuple[str, ...]]:
    """Quality of a record as evidence, 0 to 1, and what it lacks.

    The sum of the weights of what holds: the team is known 0.2, the backlog is known 0.15, the capacity is known 0.1,
    the decision is consistent with the situation 0.2, and something was done and nothing failed 0.35. Without the last
    no outcome can follow, and the episode, at most 0.65, is never retrieved. An action on its way counts as done.
    """
    analysis, final = record.analysis, record.final
    acted = any(action.state in (ActionState.DONE, ActionState.PENDING) for action in record.actions)
    failed = any(action.state is ActionState.FAILED for action in record.actions)
    checks = (
        (0.2, analysis.team_size > 0, "Nobody is on the team."),
        (0.15, analysis.backlog_tasks > 0, "The backlog holds no open task."),
        (0.1, analysis.capacity_person_days is not None, "The capacity of the team is not known."),
        (0.2, _is_consistent(analysis, final), "The decision does not fit the situation."),
        (0.35, acted and not failed, "An action failed." if failed else "Nothing was done, so no outcome can follow."),
    )
    score = sum(weight for weight, holds, _ in checks if holds)
    return round(score, 4), tuple(finding for _, holds, finding in checks if not holds)


def _is_consistent(analysis: Analysis, decision: Decision) -> bool:
    if not decision.create_new_sprint:
        return decision.tasks_to_assign == 0 and decision.sprint_duration_weeks == 0
    return (
        1 <= decision.tasks_to_assign <= analysis.available_tasks
        and 1 <= decision.sprint_duration_weeks <= LONGEST_SPRINT_WEEKS
    )
