"""What memory would change about the rules' decision, and the gate that lets it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from math import ceil, floor
from statistics import fmean, stdev
from uuid import UUID

from services.orchestrator.domain.decision import Decision, DecisionMode, ModeConfig
from services.orchestrator.domain.effect import AdjustmentKind
from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.domain.situation import Analysis, Options

LEAST_OUTCOMES = 3
# An adjustment changes the number of tasks by half at most.
LARGEST_CHANGE = 0.5


class AdjustmentState(StrEnum):
    """What became of an adjustment; PROPOSED only before the gate."""

    PROPOSED = "PROPOSED"
    APPLIED = "APPLIED"
    ADVICE = "ADVICE"
    DROPPED = "DROPPED"


@dataclass(frozen=True)
class Recollection:
    """A retrieved episode, as far as it matters for the next decision. `similarity` is 0 to 1."""

    episode_id: UUID
    project_id: str
    similarity: float
    sprint_duration_weeks: int
    outcome: Outcome | None


@dataclass(frozen=True)
class Adjustment:
    """One change that the outcomes of episodes suggest. Confidence is 0 to 1. `strategy_ids`: what it follows."""

    kind: AdjustmentKind
    original: float
    recommended: float
    confidence: float
    evidence: tuple[Recollection, ...]
    summary: str
    rationale: str
    state: AdjustmentState = AdjustmentState.PROPOSED
    strategy_ids: tuple[UUID, ...] = ()

    @property
    def applied(self) -> bool:
        """True if it passed the gate."""
        return self.state is AdjustmentState.APPLIED

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


def propose(
    decision: Decision, analysis: Analysis, options: Options, recalled: Sequence[Recollection], project_id: str
) -> tuple[Adjustment, ...]:
    """The adjustments that evidence suggests; empty without evidence."""
    if not decision.create_new_sprint:
        return ()
    evidence = tuple(
        episode
        for episode in recalled
        if episode.project_id == project_id and episode.outcome and episode.sprint_duration_weeks
    )
    adjustment = _propose_task_count(decision, analysis, options, evidence)
    return (adjustment,) if adjustment else ()


def gate(proposed: Sequence[Adjustment], config: ModeConfig) -> tuple[Adjustment, ...]:
    """Each adjustment with its fate: applied if wanted, sure enough and supported, else advice (HYBRID) or dropped."""
    if config.mode is DecisionMode.RULE_BASED_ONLY:
        return ()
    otherwise = AdjustmentState.ADVICE if config.mode is DecisionMode.HYBRID else AdjustmentState.DROPPED
    return tuple(
        replace(adjustment, state=AdjustmentState.APPLIED if _passes(adjustment, config) else otherwise)
        for adjustment in proposed
    )


def finalize(rule_based: Decision, adjustments: Sequence[Adjustment]) -> Decision:
    """The rules' decision with the applied adjustments."""
    final = rule_based
    for adjustment in adjustments:
        if adjustment.applied:
            final = replace(final, tasks_to_assign=int(adjustment.recommended))
        reasoning = f"{final.reasoning} {adjustment.rationale} It was {_FATES[adjustment.state]}."
        final = replace(final, reasoning=reasoning)
    return final


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


def _propose_task_count(
    decision: Decision, analysis: Analysis, options: Options, evidence: tuple[Recollection, ...]
) -> Adjustment | None:
    """As many tasks as the team's like sprints completed, per week of their length.

    A sprint that completed all it had shows what the team can do at least, not at most; fewer tasks are therefore only
    suggested if most of the sprints left work undone.
    """
    outcomes = [(episode.outcome, episode.sprint_duration_weeks) for episode in evidence if episode.outcome]
    if len(outcomes) < LEAST_OUTCOMES:
        return None
    rates = [outcome.completed_tasks / weeks for outcome, weeks in outcomes]
    completed = fmean(rates) * decision.sprint_duration_weeks
    undone = sum(outcome.completed_tasks < outcome.planned_tasks for outcome, _ in outcomes)
    if completed < decision.tasks_to_assign and undone * 2 <= len(outcomes):
        return None
    recommended = _within_reach(round(completed), decision.tasks_to_assign, analysis, options)
    return Adjustment(
        kind=AdjustmentKind.TASK_COUNT,
        original=decision.tasks_to_assign,
        recommended=recommended,
        confidence=confidence_from(rates),
        evidence=evidence,
        summary=f"{len(outcomes)} like sprints of the team with a known outcome.",
        rationale=(
            f"{len(outcomes)} like sprints completed {completed:.1f} tasks in {decision.sprint_duration_weeks} weeks"
            f" on average; {recommended} tasks were suggested instead of {decision.tasks_to_assign}."
        ),
    )


def confidence_from(values: Sequence[float]) -> float:
    """How sure a mean of outcomes is, 0 to 1: (1 - s / mean) * n / (n + 1), s the standard deviation of n values.

    Many equal outcomes tend to 1; few or scattered ones to 0. Three outcomes are never surer than 0.75.
    """
    mean = fmean(values)
    if len(values) < 2 or mean <= 0:
        return 0.0
    return max(0.0, 1 - stdev(values) / mean) * len(values) / (len(values) + 1)


def _within_reach(tasks: int, original: int, analysis: Analysis, options: Options) -> int:
    """At least half and at most one and a half times the original, and never more than there are or were asked for."""
    most = min(floor(original * (1 + LARGEST_CHANGE)), analysis.available_tasks)
    if options.max_tasks_per_sprint:
        most = min(most, options.max_tasks_per_sprint)
    return max(1, ceil(original * (1 - LARGEST_CHANGE)), min(tasks, most))


def _passes(adjustment: Adjustment, config: ModeConfig) -> bool:
    supported = len(adjustment.evidence) >= LEAST_OUTCOMES
    return config.enable_task_count_adjustment and supported and adjustment.confidence >= config.confidence_threshold
