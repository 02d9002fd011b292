"""How strategies come, change and go.

A strategy that is better than the rules by corrected intervals, with a confidence of at least 0.75, is ACTIVE; one
that is better only before the correction, or less sure, is a CANDIDATE. It stays ACTIVE until its confidence falls
below 0.6: the gap keeps it from changing to and fro over single outcomes. It is RETIRED, for good, when it surely
succeeds in less than half of the cases, by what came of its applications or by all its evidence. The effect of a
strategy that was ever applied never changes, so that its outcomes stay its own.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import UUID

from services.orchestrator.domain.effect import AdjustmentKind, Effect
from services.orchestrator.domain.learning import (
    EVEN,
    Finding,
    Kind,
    Lessons,
    Rule,
    findings,
    share_interval,
    votes,
)
from services.orchestrator.domain.strategy import Condition, Feature, Strategy, StrategyState

# Least confidence of a strategy that stays in use.
UNSURE = 0.6
# Ids of episodes that are kept of each side.
KEPT_IDS = 100


@dataclass(frozen=True)
class Change:
    """A strategy as it is after a change, and why it changed."""

    strategy: Strategy
    reason: str


@dataclass(frozen=True)
class Evolution:
    """What lessons make of the strategies."""

    created: tuple[Change, ...]
    updated: tuple[Change, ...]
    retired: tuple[Change, ...]

    @property
    def changes(self) -> tuple[Change, ...]:
        """All of it."""
        return (*self.created, *self.updated, *self.retired)


def evolve(
    known: Sequence[Strategy],
    lessons: Lessons,
    scopes: Iterable[str],
    now: datetime,
    new_id: Callable[[], UUID],
) -> Evolution:
    """What lessons make of the strategies of some scopes ("" = for all projects).

    `known` are all strategies of these scopes, also the retired ones. Done again with the result, nothing changes.
    """
    judged = {s: _settle(_judged(s, lessons), now) for s in known if s.state is not StrategyState.RETIRED}
    retired = [change for change in judged.values() if change.strategy.state is StrategyState.RETIRED]
    failed = [strategy for strategy in known if strategy.state is StrategyState.RETIRED]
    found = findings(lessons, scopes, {_rule(s) for s in failed} | {_rule(change.strategy) for change in retired})
    live = {s: change for s, change in judged.items() if change.strategy.state is not StrategyState.RETIRED}
    updated = [_follow(change, found.get(_kind(s)), lessons, now) for s, change in live.items()]
    taken = {_kind(strategy) for strategy in live}
    return Evolution(
        tuple(_learn(finding, lessons, now, new_id()) for kind, finding in found.items() if kind not in taken),
        tuple(_next(change, now) for s, change in zip(live, updated, strict=True) if change.strategy != s),
        tuple(_next(change, now) for change in retired),
    )


def credit(strategy: Strategy, episode_id: UUID, success: bool, now: datetime) -> Change:
    """The strategy after the outcome of a decision that applied it: credited for a success, else blamed."""
    supporting, contradicting = strategy.supporting_episode_ids, strategy.contradicting_episode_ids
    new = episode_id not in supporting + contradicting
    if new and success:
        supporting = (episode_id, *supporting)[:KEPT_IDS]
    elif new:
        contradicting = (episode_id, *contradicting)[:KEPT_IDS]
    credited = replace(
        strategy,
        successes=strategy.successes + success,
        failures=strategy.failures + (not success),
        episodes_for=strategy.episodes_for + (new and success),
        episodes_against=strategy.episodes_against + (new and not success),
        supporting_episode_ids=supporting,
        contradicting_episode_ids=contradicting,
    )
    said = "It was applied with success." if success else "It was applied and failed."
    return _next(_settle(credited, now, said), now)


def _judged(strategy: Strategy, lessons: Lessons) -> Strategy:
    """The strategy with its evidence counted anew."""
    assert strategy.effect.factor is not None, "Only factors are learned."
    cast = votes(lessons.fitting(_kind(strategy)), strategy.effect.factor)
    return replace(
        strategy,
        episodes_for=len(cast.supporting),
        episodes_against=len(cast.contradicting),
        supporting_episode_ids=cast.supporting[:KEPT_IDS],
        contradicting_episode_ids=cast.contradicting[:KEPT_IDS],
    )


def _settle(strategy: Strategy, now: datetime, said: str = "") -> Change:
    """The strategy with its confidence and, if it cannot stay as it is, its state."""
    total, applied = strategy.episodes_for + strategy.episodes_against, strategy.successes + strategy.failures
    overall = share_interval(strategy.episodes_for, total)
    strategy = replace(strategy, confidence=overall.low)
    said = said or f"{strategy.episodes_for} of {total} episodes speak for it."
    if strategy.state is StrategyState.RETIRED:
        return Change(strategy, said)
    if share_interval(strategy.successes, applied).high < EVEN:
        return _retire(strategy, f"Only {strategy.successes} of {applied} decisions that applied it succeeded.", now)
    if overall.high < EVEN:
        return _retire(strategy, f"Only {strategy.episodes_for} of {total} episodes speak for it.", now)
    if strategy.state is StrategyState.ACTIVE and strategy.confidence < UNSURE:
        return Change(replace(strategy, state=StrategyState.CANDIDATE), f"{said} It is no longer sure enough.")
    return Change(strategy, said)


def _retire(strategy: Strategy, why: str, now: datetime) -> Change:
    return Change(replace(strategy, state=StrategyState.RETIRED, retire_time=now, retire_reason=why), why)


def _follow(change: Change, finding: Finding | None, lessons: Lessons, now: datetime) -> Change:
    """A strategy in the light of what was found for its kind of situation."""
    strategy = change.strategy
    if finding is None or strategy.state is StrategyState.ACTIVE:
        return change
    if strategy.times_applied == 0 and _effect(finding) != strategy.effect:
        adopted = replace(strategy, effect=_effect(finding), description=_in_words(finding))
        change = _settle(_judged(adopted, lessons), now)
    if finding.sure and change.strategy.effect == _effect(finding):
        return replace(change, strategy=replace(change.strategy, state=StrategyState.ACTIVE))
    return change


def _learn(finding: Finding, lessons: Lessons, now: datetime, strategy_id: UUID) -> Change:
    strategy = Strategy(
        strategy_id=strategy_id,
        project_id=finding.kind.project_id,
        description=_in_words(finding),
        conditions=finding.kind.conditions,
        effect=_effect(finding),
        state=StrategyState.ACTIVE if finding.sure else StrategyState.CANDIDATE,
        confidence=0.0,
        episodes_for=0,
        episodes_against=0,
        supporting_episode_ids=(),
        contradicting_episode_ids=(),
        create_time=now,
        update_time=now,
    )
    return _settle(_judged(strategy, lessons), now)


def _next(change: Change, now: datetime) -> Change:
    strategy = change.strategy
    return replace(change, strategy=replace(strategy, version=strategy.version + 1, update_time=now))


def _kind(strategy: Strategy) -> Kind:
    return Kind(strategy.project_id, strategy.conditions)


def _rule(strategy: Strategy) -> Rule:
    return _kind(strategy), strategy.effect.factor or 0.0


def _effect(finding: Finding) -> Effect:
    return Effect(AdjustmentKind.TASK_COUNT, factor=finding.factor)


_WORDS = {
    Feature.TEAM_SIZE: "a team of {} people",
    Feature.CLOSED_SPRINTS: "{} closed sprints",
    Feature.LOAD: "{} tasks per person-day",
    Feature.RELATIVE_LOAD: "a plan of {} times the usual pace",
}


def _in_words(finding: Finding) -> str:
    conditions = finding.kind.conditions
    when = " and ".join(_WORDS[condition.feature].format(_range(condition)) for condition in conditions)
    take = f"take {finding.factor:g} times the tasks of the rules"
    return f"With {when}, {take}." if when else f"{take.capitalize()}."


def _range(condition: Condition) -> str:
    if condition.minimum is None:
        return f"at most {condition.maximum:.2g}"
    if condition.maximum is None:
        return f"at least {condition.minimum:.2g}"
    return f"{condition.minimum:.2g} to {condition.maximum:.2g}"
