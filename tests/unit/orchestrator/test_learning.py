"""Learning: what lessons say, which strategies are learned from them, and how these come and go."""

import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count, pairwise
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.orchestrator.domain.decision import decide_rule_based
from services.orchestrator.domain.effect import AdjustmentKind, Effect
from services.orchestrator.domain.evolution import UNSURE, Evolution, credit, evolve
from services.orchestrator.domain.learning import (
    FACTORS,
    LEAST_VOTES,
    MOST_OF_ONE_PROJECT,
    SURE,
    Kind,
    Lesson,
    Lessons,
    mean_interval,
    share_interval,
    votes,
)
from services.orchestrator.domain.situation import Options
from services.orchestrator.domain.strategy import (
    Condition,
    Feature,
    Strategy,
    StrategyState,
    applicable,
    features,
)
from tests.unit.orchestrator.situations import HISTORY, analysis

NOW = datetime(2026, 3, 2, 12, tzinfo=UTC)
LATER = NOW + timedelta(days=1)
CANDIDATE, ACTIVE, RETIRED = StrategyState.CANDIDATE, StrategyState.ACTIVE, StrategyState.RETIRED
numbers = count(1)


def lesson(completed: int, planned: int = 10, rule: int = 10, project: str = "P", **figures: float) -> Lesson:
    situation = {Feature.TEAM_SIZE: 5.0, Feature.CLOSED_SPRINTS: 3.0, Feature.LOAD: 0.25, Feature.RELATIVE_LOAD: 1.4}
    situation |= {Feature(name): value for name, value in figures.items()}
    return Lesson(UUID(int=next(numbers)), project, situation, rule, planned, completed)


def learn(lessons: Sequence[Lesson], *known: Strategy, scopes: Sequence[str] = ("P",)) -> Evolution:
    return evolve(known, Lessons(lessons), scopes, NOW, lambda: UUID(int=next(numbers)))


def strategy(state: StrategyState = ACTIVE, good: int = 15, bad: int = 0, **more: object) -> Strategy:
    base = Strategy(
        strategy_id=UUID(int=next(numbers)),
        project_id="P",
        description="Take less.",
        conditions=(),
        effect=Effect(AdjustmentKind.TASK_COUNT, factor=0.6),
        state=state,
        confidence=share_interval(good, good + bad).low,
        episodes_for=good,
        episodes_against=bad,
        supporting_episode_ids=(),
        contradicting_episode_ids=(),
        create_time=NOW,
        update_time=NOW,
    )
    return replace(base, **more)  # type: ignore[arg-type]


# --- lessons ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("planned", "completed", "factor", "expected"),
    [
        (10, 6, 1.0, False),
        (10, 8, 1.0, True),
        (10, 6, 0.6, True),
        (10, 6, 0.7, True),
        (10, 6, 0.8, False),
        (10, 0, 0.5, False),
        # All of a plan was completed: what more would have come to, nobody knows.
        (10, 10, 1.1, None),
        (6, 6, 1.0, None),
        (6, 6, 0.6, True),
        # Not all of it: more would have come to the same.
        (10, 9, 1.1, True),
        (10, 9, 1.25, False),
        (15, 13, 1.5, True),
        (15, 11, 1.5, False),
    ],
)
def test_how_an_outcome_votes(planned: int, completed: int, factor: float, expected: bool | None) -> None:
    assert lesson(completed, planned).vote(factor) is expected


def test_what_a_smaller_or_larger_plan_would_have_delivered() -> None:
    assert lesson(8).delivered(0.6) == 6 / 8
    assert lesson(5).delivered(0.6) == 1
    assert lesson(12, planned=15).delivered(1.5) == 1.2
    assert lesson(0).delivered(0.5) == 1


@given(st.integers(0, 30), st.integers(1, 30), st.integers(1, 20))
def test_who_succeeds_with_more_succeeds_with_less(completed: int, planned: int, rule: int) -> None:
    said = [lesson(min(completed, planned), planned, rule).vote(factor) for factor in FACTORS]
    verdicts = [vote for vote in said if vote is not None]
    assert verdicts == sorted(verdicts, reverse=True)


# --- intervals --------------------------------------------------------------------------------


def test_intervals_of_the_literature() -> None:
    # Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20, 1 of 29.
    for successes, tries, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        found = share_interval(successes, tries)
        assert (found.low, found.high) == pytest.approx((low, high), abs=6e-5)
    # The 0.975 quantile of t with 9 degrees of freedom is 2.262, times the spread of 1 to 10 over the root of 10.
    found = mean_interval(range(1, 11))
    assert (found.low, found.high) == pytest.approx((5.5 - 2.1658, 5.5 + 2.1658), abs=2e-3)


@given(st.integers(0, 200), st.integers(0, 200))
def test_an_interval_holds_its_share_and_wider_ones_hold_narrower(successes: int, failures: int) -> None:
    found, wider = (
        share_interval(successes, successes + failures),
        share_interval(successes, successes + failures, 0.001),
    )
    assert 0 <= wider.low <= found.low <= found.high <= wider.high <= 1
    if successes + failures:
        assert found.low <= successes / (successes + failures) <= found.high


# --- what is learned --------------------------------------------------------------------------


def test_a_team_that_always_falls_short_learns_to_take_less() -> None:
    (made, *others) = learn([lesson(6) for _ in range(20)]).created
    found = made.strategy
    assert (found.conditions, found.project_id, found.state) == ((), "P", ACTIVE)
    # 0.7 is the largest factor that six of ten tasks are 80 % of.
    assert found.effect == Effect(AdjustmentKind.TASK_COUNT, factor=0.7)
    assert (found.episodes_for, found.episodes_against, found.times_applied, found.version) == (20, 0, 0, 1)
    assert len(found.supporting_episode_ids) == 20
    assert found.confidence == share_interval(20, 20).low >= SURE
    assert found.description == "Take 0.7 times the tasks of the rules."
    assert {other.strategy.conditions[0].feature for other in others} == {Feature.LOAD, Feature.RELATIVE_LOAD}
    assert others[1].strategy.description == (
        "With a plan of 1.2 to 1.6 times the usual pace, take 0.7 times the tasks of the rules."
    )


@pytest.mark.parametrize(
    ("lessons", "why"),
    [
        ([], "nothing was seen"),
        ([lesson(6) for _ in range(LEAST_VOTES - 1)], "too few"),
        ([lesson(10) for _ in range(40)], "the rules are good enough"),
        ([lesson(8) for _ in range(40)], "the rules are good enough"),
        ([lesson(0) for _ in range(40)], "nothing helps"),
        ([lesson(4 if n % 2 else 10) for n in range(40)], "less would deliver less"),
    ],
)
def test_nothing_is_learned_without_evidence(lessons: list[Lesson], why: str) -> None:
    assert not learn(lessons).created, why


def test_little_evidence_makes_a_candidate_that_more_makes_active() -> None:
    lessons = [lesson(6) for _ in range(10)]
    (made, *_) = learn(lessons).created
    assert made.strategy.state is CANDIDATE
    more = [*(lesson(6) for _ in range(10)), *lessons]
    updated = next(c.strategy for c in learn(more, made.strategy).updated if c.strategy.conditions == ())
    assert (updated.state, updated.version, updated.strategy_id) == (ACTIVE, 2, made.strategy.strategy_id)


def test_who_does_more_than_the_rules_ask_learns_to_take_more() -> None:
    (made, *_) = learn([lesson(14, planned=15) for _ in range(20)]).created
    assert (made.strategy.effect.factor, made.strategy.state) == (1.5, ACTIVE)


def test_a_rule_for_all_needs_several_projects_and_counts_each_a_little() -> None:
    alone = [lesson(6, project="A") for _ in range(40)]
    assert not learn(alone, scopes=[""]).created
    three = [*alone, *(lesson(6, project=name) for name in ("B", "C") for _ in range(4))]
    found = [change.strategy for change in learn(three, scopes=[""]).created]
    assert found
    assert {strategy.project_id for strategy in found} == {""}
    assert {strategy.episodes_for for strategy in found} == {MOST_OF_ONE_PROJECT + 8}
    # A rule for all always says in which situation.
    assert all(strategy.conditions for strategy in found)


def test_many_projects_without_anything_to_learn_teach_nothing() -> None:
    """Chance alone: whether 8 of 10 tasks are completed is a coin, whatever was planned."""
    chance = random.Random(1)
    lessons = [
        lesson(chance.randint(6, 10), project=f"P{p}", team_size=1 + p % 9, relative_load=chance.uniform(0.5, 3))
        for p in range(40)
        for _ in range(20)
    ]
    created = learn(lessons, scopes=["", *(f"P{p}" for p in range(40))]).created
    # Rules for all rest on hundreds of lessons; what little is really better there (8 of 9) is found, and less is not.
    assert all((change.strategy.effect.factor or 0) >= 0.8 for change in created)


# --- how strategies change --------------------------------------------------------------------


def test_learning_again_changes_nothing() -> None:
    lessons = [lesson(6, project=f"P{n % 4}") for n in range(80)]
    scopes = ["", "P0", "P1", "P2", "P3"]
    first = learn(lessons, scopes=scopes)
    assert first.created
    again = learn(lessons, *(change.strategy for change in first.created), scopes=scopes)
    assert not again.changes


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 15), st.sampled_from([5, 10, 15])), max_size=60), st.integers(0, 40))
def test_what_is_in_use_has_evidence_and_learning_settles(outcomes: list[tuple[int, int]], cut: int) -> None:
    lessons = [lesson(min(done, planned), planned) for done, planned in outcomes]
    earlier = learn(lessons[cut:])
    evolution = learn(lessons, *(change.strategy for change in earlier.created))
    known = {change.strategy.strategy_id: change.strategy for change in (*earlier.created, *evolution.changes)}
    for change in earlier.created:
        if change.strategy.state is ACTIVE:
            assert change.strategy.confidence >= SURE
            assert change.strategy.episodes_for >= 12
    for found in known.values():
        assert found.state is not ACTIVE or found.confidence >= UNSURE
        assert found.confidence == share_interval(found.episodes_for, found.episodes_for + found.episodes_against).low
    for change in (*evolution.updated, *evolution.retired):
        assert change.strategy.version == 2
    assert not learn(lessons, *known.values()).changes


@given(st.lists(st.booleans(), max_size=30), st.randoms())
def test_credit_and_blame_count_alike_in_any_order(outcomes: list[bool], chance: object) -> None:
    def judged(order: Sequence[tuple[int, bool]]) -> Strategy:
        # So well founded that no outcome retires it.
        found = strategy(good=1000, strategy_id=UUID(int=7), successes=100)
        for number, success in order:
            found = credit(found, UUID(int=10_000 + number), success, LATER).strategy
        return found

    forward, backward = list(enumerate(outcomes)), list(enumerate(outcomes))[::-1]
    one, other = judged(forward), judged(backward)
    figures = ("successes", "failures", "episodes_for", "episodes_against", "confidence", "state", "version")
    assert [getattr(one, name) for name in figures] == [getattr(other, name) for name in figures]
    assert (one.successes, one.failures) == (100 + sum(outcomes), len(outcomes) - sum(outcomes))
    assert one.version == 1 + len(outcomes)
    assert set(one.supporting_episode_ids) | set(one.contradicting_episode_ids) == {
        UUID(int=10_000 + number) for number, _ in forward
    }


def test_an_outcome_credits_or_blames() -> None:
    known = strategy()
    good = credit(known, UUID(int=1), success=True, now=LATER).strategy
    bad = credit(known, UUID(int=1), success=False, now=LATER).strategy
    assert bad.confidence < known.confidence < good.confidence
    assert (good.successes, good.failures, good.supporting_episode_ids) == (1, 0, (UUID(int=1),))
    assert (bad.successes, bad.failures, bad.contradicting_episode_ids) == (0, 1, (UUID(int=1),))
    assert (good.version, good.update_time) == (2, LATER)
    # An episode that was learned from already is one piece of evidence, not two.
    again = credit(good, UUID(int=1), success=True, now=LATER).strategy
    assert (again.successes, again.episodes_for) == (2, good.episodes_for)


def test_a_strategy_that_fails_when_applied_is_retired_for_good() -> None:
    found = strategy(good=40)
    for number in range(4):
        assert found.state is ACTIVE
        found = credit(found, UUID(int=number), success=False, now=LATER).strategy
    assert (found.state, found.retire_time, found.failures) == (RETIRED, LATER, 4)
    assert found.retire_reason == "Only 0 of 4 decisions that applied it succeeded."
    late = credit(found, UUID(int=9), success=True, now=LATER + timedelta(days=1)).strategy
    assert (late.state, late.retire_time, late.successes) == (RETIRED, LATER, 1)
    # The same rule is never learned again; another may be.
    lessons = [lesson(6) for _ in range(20)]
    failed = replace(found, effect=Effect(AdjustmentKind.TASK_COUNT, factor=0.7))
    relearned = [c.strategy for c in learn(lessons, failed).created if c.strategy.conditions == ()]
    assert [strategy.effect.factor for strategy in relearned] == [0.6]


def test_evidence_that_turns_retires_too() -> None:
    lessons = [lesson(2) for _ in range(20)]
    (change,) = learn(lessons, strategy()).retired
    assert change.strategy.state is RETIRED
    assert change.strategy.retire_reason == change.reason == "Only 0 of 20 episodes speak for it."
    assert change.strategy.version == 2


def test_a_strategy_does_not_change_to_and_fro_over_single_outcomes() -> None:
    """Between the confidence that begins and the one that ends, it stays what it is, wherever it came from."""
    found = strategy(good=14)
    states = []
    for number in range(60):
        found = credit(found, UUID(int=number), success=number % 10 != 0, now=LATER).strategy
        states.append(found.state)
    assert sum(before is not after for before, after in pairwise(states)) <= 1


def test_the_effect_of_an_applied_strategy_never_changes() -> None:
    lessons = [lesson(6) for _ in range(20)]
    for applied, factor in ((0, 0.7), (3, 0.5)):
        known = strategy(CANDIDATE, times_applied=applied, effect=Effect(AdjustmentKind.TASK_COUNT, factor=0.5))
        after = next((c.strategy for c in learn(lessons, known).updated if c.strategy.conditions == ()), known)
        assert after.effect.factor == factor


def test_only_the_newest_hundred_ids_are_kept() -> None:
    found = strategy()
    for number in range(150):
        found = credit(found, UUID(int=number), success=True, now=LATER).strategy
    assert found.supporting_episode_ids == tuple(UUID(int=number) for number in range(149, 49, -1))
    assert found.episodes_for == 165


# --- where strategies hold --------------------------------------------------------------------


def test_features_of_a_situation() -> None:
    seen = analysis(patterns=HISTORY)
    assert features(seen, decide_rule_based(seen, Options())) == {
        Feature.TEAM_SIZE: 5,
        Feature.CLOSED_SPRINTS: 4,
        Feature.LOAD: 0.2,
        Feature.RELATIVE_LOAD: pytest.approx(4 / 3),
    }
    young = analysis(capacity_person_days=None)
    assert features(young, decide_rule_based(young, Options())) == {Feature.TEAM_SIZE: 5, Feature.CLOSED_SPRINTS: 0}
    idle = analysis(unassigned=0)
    assert not features(idle, decide_rule_based(idle, Options()))


def test_which_strategies_apply_and_in_what_order() -> None:
    heavy = (Condition(Feature.RELATIVE_LOAD, minimum=1.25),)
    own, surer, general = strategy(good=15), strategy(good=20, conditions=heavy), strategy(good=90, project_id="")
    others = [
        strategy(CANDIDATE),
        strategy(RETIRED),
        strategy(conditions=(Condition(Feature.RELATIVE_LOAD, maximum=1.2),)),
    ]
    situation = {Feature.RELATIVE_LOAD: 1.4}
    assert applicable([general, own, *others, surer], situation) == (surer, own, general)
    # What is not known fulfils nothing.
    assert applicable([surer, own], {}) == (own,)


def test_an_effect_is_a_value_or_a_factor() -> None:
    assert Effect(AdjustmentKind.TASK_COUNT, factor=0.5).on(8) == 4
    assert Effect(AdjustmentKind.SPRINT_DURATION, value=2).on(6) == 2
    for given_value, given_factor in ((None, None), (1.0, 1.0)):
        with pytest.raises(ValueError, match="a value or a factor"):
            Effect(AdjustmentKind.TASK_COUNT, given_value, given_factor)


def test_votes_of_a_kind() -> None:
    lessons = Lessons([lesson(6), lesson(10), lesson(3), lesson(6, project="Q"), lesson(6, relative_load=3)])
    kind = Kind("P", (Condition(Feature.RELATIVE_LOAD, 1.25, 1.6),))
    cast = votes(lessons.fitting(kind), 0.7)
    assert (len(cast.supporting), len(cast.contradicting)) == (2, 1)
