"""Adjustments: what evidence would change about the rules' decision, and the gate that lets it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from statistics import fmean
from uuid import UUID

from services.orchestrator.domain.decision import Decision, DecisionMode, ModeConfig
from services.orchestrator.domain.effect import AdjustmentKind
from services.orchestrator.domain.evidence import EvidenceSource, Recollection

# Fewer outcomes than these are an anecdote.
LEAST_OUTCOMES = 3


class AdjustmentState(StrEnum):
    """What became of an adjustment; PROPOSED only before the gate."""

    PROPOSED = "PROPOSED"
    APPLIED = "APPLIED"
    ADVICE = "ADVICE"
    DROPPED = "DROPPED"


@dataclass(frozen=True)
class Details:
    """What an adjustment rests on. Rates are means over past sprints whose load was near; None = there was none."""

    similar_projects: tuple[str, ...] = ()
    episodes: tuple[Recollection, ...] = ()
    strategies: tuple[UUID, ...] = ()
    sprints: tuple[str, ...] = ()
    sample_size: int = 0
    average_similarity: float | None = None
    completion_rate_recommended: float | None = None
    completion_rate_original: float | None = None


@dataclass(frozen=True)
class Adjustment:
    """One change that evidence suggests, in tasks, weeks or points. Confidence is 0 to 1.

    `expected_change` is that of the completion rate, -1 to 1; None = not known.
    """

    kind: AdjustmentKind
    original: float
    recommended: float
    confidence: float
    summary: str
    rationale: str
    source: EvidenceSource = EvidenceSource.EPISODES
    details: Details = field(default_factory=Details)
    expected_change: float | None = None
    improvement: str = ""
    state: AdjustmentState = AdjustmentState.PROPOSED

    @property
    def applied(self) -> bool:
        """True if it passed the gate."""
        return self.state is AdjustmentState.APPLIED

    @property
    def strategy_ids(self) -> tuple[UUID, ...]:
        """The strategies that it follows."""
        return self.details.strategies

    @property
    def applied_value(self) -> float:
        """The value in the final decision."""
        return self.recommended if self.applied else self.original


@dataclass(frozen=True)
class Confidence:
    """How sure a final decision is: the mean of its applied adjustments, else of all proposed ones; None = none."""

    threshold: float
    overall: float | None
    threshold_met: bool


def gate(proposed: Sequence[Adjustment], config: ModeConfig) -> tuple[Adjustment, ...]:
    """Each adjustment with its fate: applied if wanted, sure enough and supported, else advice (HYBRID) or dropped."""
    if config.mode is DecisionMode.RULE_BASED_ONLY:
        return ()
    otherwise = AdjustmentState.ADVICE if config.mode is DecisionMode.HYBRID else AdjustmentState.DROPPED
    return tuple(
        replace(adjustment, state=AdjustmentState.APPLIED if passes(adjustment, config) else otherwise)
        for adjustment in proposed
    )


def passes(adjustment: Adjustment, config: ModeConfig) -> bool:
    """True if the project wants this kind of adjustment, and it is sure enough and rests on enough outcomes."""
    supported = adjustment.details.sample_size >= LEAST_OUTCOMES
    return _is_wanted(adjustment.kind, config) and supported and adjustment.confidence >= config.confidence_threshold


def finalize(decision: Decision, adjustments: Sequence[Adjustment]) -> Decision:
    """The decision with the applied adjustments; the reasons of all of them are told."""
    for adjustment in adjustments:
        if adjustment.applied:
            decision = _changed(decision, adjustment.kind, adjustment.recommended)
        reasoning = f"{decision.reasoning} {adjustment.rationale} It was {_FATES[adjustment.state]}."
        decision = replace(decision, reasoning=reasoning)
    return decision


def confidence_of(adjustments: Sequence[Adjustment], threshold: float) -> Confidence:
    """How sure the final decision is."""
    applied = [adjustment.confidence for adjustment in adjustments if adjustment.applied]
    counted = applied or [adjustment.confidence for adjustment in adjustments]
    return Confidence(threshold, fmean(counted) if counted else None, bool(applied))


_FATES = {
    AdjustmentState.PROPOSED: "proposed",
    AdjustmentState.APPLIED: "applied",
    AdjustmentState.ADVICE: "kept as advice, because it is not sure enough or not wanted",
    AdjustmentState.DROPPED: "dropped, because it is not sure enough or not wanted",
}


def _is_wanted(kind: AdjustmentKind, config: ModeConfig) -> bool:
    return {
        AdjustmentKind.TASK_COUNT: config.enable_task_count_adjustment,
        AdjustmentKind.SPRINT_DURATION: config.enable_sprint_duration_adjustment,
        AdjustmentKind.POINTS: config.enable_points_adjustment,
    }[kind]


def _changed(decision: Decision, kind: AdjustmentKind, value: float) -> Decision:
    match kind:
        case AdjustmentKind.TASK_COUNT:
            return replace(decision, tasks_to_assign=int(value))
        case AdjustmentKind.SPRINT_DURATION:
            return replace(decision, sprint_duration_weeks=int(value))
        case AdjustmentKind.POINTS:
            return replace(decision, points_to_assign=value)
