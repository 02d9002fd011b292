"""The benchmark of decisions, small: it runs, tells the same twice, and its simulator keeps to the rules it states."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bench import learning
from tests.bench.decisions import decide_by_rules, interval, live, summarize
from tests.bench.learning import FIRST_OLDER_SEED, differences, learn_from, teach
from tests.bench.simulator import KINDS, Plan, draw, oracle, play


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_team_lives(kind: str) -> None:
    team = draw(kind, 3)
    results = play(team, decide_by_rules, sprints=3)
    for result in [*results, *oracle(team, sprints=3)]:
        assert 0 <= result.completed_tasks <= result.planned_tasks
        assert 0 <= result.completed_points <= result.planned_points
        assert result.planned_tasks >= 1
        assert result.capacity > 0
    assert [vars(r) for r in play(draw(kind, 3), decide_by_rules, sprints=3)] == [vars(result) for result in results]


@settings(deadline=None)
@given(st.integers(1, 40), st.one_of(st.none(), st.floats(1, 200)), st.integers(0, 20))
def test_a_plan_is_taken_by_rank_within_its_limits(tasks: int, points: float | None, seed: int) -> None:
    team = draw("uneven tasks", seed)
    [result] = play(team, lambda view, past: Plan(2, tasks, points), sprints=1)
    assert result.planned_tasks <= tasks
    taken = team.points[: result.planned_tasks]
    assert result.planned_points == taken.sum()
    if points is not None and result.planned_tasks > 1:
        assert result.planned_points <= points


def test_no_effort_is_lost_and_none_is_made_up() -> None:
    """What is completed over many sprints is what the team was able to do, but for what is under way at the end."""
    team = replace(draw("steady", 5), people=3)
    results = play(team, lambda view, past: Plan(2, 1000), sprints=8)
    able = sum(result.capacity for result in results)
    completed = sum(result.completed_tasks for result in results)
    effort = np.sort(team.effort[: completed + 3])
    assert team.effort[: completed + 3].sum() >= able
    assert effort[:completed].sum() <= able


def test_memory_helps_an_overloaded_team() -> None:
    teams = [live("overloaded by the rule", seed, sprints=8) for seed in (1, 3, 5)]
    found = summarize(teams)
    for who in ("rules", "enhanced", "oracle"):
        assert all(0 <= float(found[measure][who]) <= 100 for measure in found)  # type: ignore[arg-type]
    assert found["completion"]["enhanced"] > found["completion"]["rules"]  # type: ignore[operator]
    assert found["carried"]["enhanced"] < found["carried"]["rules"]  # type: ignore[operator]
    assert all(team.scores["enhanced"].adjusted > 0 for team in teams)


def test_what_others_learned_helps_a_team_without_a_past_and_is_not_heard_later() -> None:
    kind = "underloaded by the rule"
    lives = [teach(kind, FIRST_OLDER_SEED + number, sprints=12) for number in range(12)]
    strategies = learn_from(lives)
    assert strategies
    assert learn_from(lives) == strategies
    older = {lesson.project_id for lessons in lives for lesson in lessons}
    teams = [learning.live(kind, seed, strategies, sprints=6) for seed in (1, 3, 5)]
    assert not older & {f"{team.kind}/{team.seed}" for team in teams}
    assert all(0 < team.followed <= 0.5 for team in teams)
    assert differences(teams, "early")["delivered"][0] > 0


def test_an_interval_holds_its_mean() -> None:
    mean, low, high = interval([0.1, 0.2, 0.4])
    assert low <= mean <= high
