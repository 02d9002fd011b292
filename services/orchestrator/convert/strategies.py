"""Strategies, as callers and consumers of events get them."""

from dsm.orchestrator.v1 import decision_pb2, strategy_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb

from services.kit.convert import from_time
from services.orchestrator.domain.effect import Effect
from services.orchestrator.domain.evolution import Evolution
from services.orchestrator.domain.strategy import Strategy, StrategyState


def from_strategy(strategy: Strategy) -> strategy_pb2.Strategy:
    """A strategy with its evidence."""
    return strategy_pb2.Strategy(
        strategy_id=str(strategy.strategy_id),
        project_id=strategy.project_id,
        description=strategy.description,
        conditions=[
            strategy_pb2.StrategyCondition(feature=c.feature, minimum=c.minimum, maximum=c.maximum)
            for c in strategy.conditions
        ],
        effect=_effect(strategy.effect),
        state=strategy_pb2.StrategyState.Value(f"STRATEGY_STATE_{strategy.state}"),
        confidence=strategy.confidence,
        times_applied=strategy.times_applied,
        successes=strategy.successes,
        failures=strategy.failures,
        supporting_episode_ids=map(str, strategy.supporting_episode_ids),
        contradicting_episode_ids=map(str, strategy.contradicting_episode_ids),
        version=strategy.version,
        create_time=from_time(strategy.create_time),
        update_time=from_time(strategy.update_time),
        retire_time=from_time(strategy.retire_time),
        retire_reason=strategy.retire_reason,
    )


def from_evolution(evolution: Evolution, considered: int) -> pb.EvolveStrategiesResponse:
    """What changed, and from how many episodes that was learned."""
    return pb.EvolveStrategiesResponse(
        created=[from_strategy(change.strategy) for change in evolution.created],
        updated=[from_strategy(change.strategy) for change in evolution.updated],
        retired=[from_strategy(change.strategy) for change in evolution.retired],
        episodes_considered=considered,
    )


def to_state(value: strategy_pb2.StrategyState.ValueType) -> StrategyState | None:
    """A state; unspecified = None."""
    if value == strategy_pb2.STRATEGY_STATE_UNSPECIFIED:
        return None
    return StrategyState(strategy_pb2.StrategyState.Name(value).removeprefix("STRATEGY_STATE_"))


def _effect(effect: Effect) -> strategy_pb2.StrategyEffect:
    kind = decision_pb2.AdjustmentKind.Value(f"ADJUSTMENT_KIND_{effect.kind}")
    if effect.factor is None:
        return strategy_pb2.StrategyEffect(kind=kind, value=effect.value or 0.0)
    return strategy_pb2.StrategyEffect(kind=kind, factor=effect.factor)
