"""Forecasts: quantiles that behave, more done = likelier, scale-free, no history = said so; calibration by hand."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.domain.errors import NotEnoughData
from services.orchestrator.domain.forecast.calibration import Judged, calibrate
from services.orchestrator.domain.forecast.coefficients import MULTIPLES, POOLED
from services.orchestrator.domain.forecast.delivery import FIGURES, SprintInHand, forecast_delivery
from services.orchestrator.domain.forecast.distribution import Distribution
from services.orchestrator.domain.forecast.history import PastSprint, record_of
from services.orchestrator.domain.forecast.horizon import Stint, extended, simulate
from services.orchestrator.domain.forecast.projections import Closed, Running, project_backlog, project_sprint

MONDAY = date(2025, 3, 3)
SPRINT = SprintInHand(committed=20, done=0, in_progress=0, tasks=10, days=14)
PAST = [PastSprint(planned, done) for planned, done in ((22, 18), (20, 20), (24, 16), (18, 18))]

# Nothing, or so much that another unit does not make it nothing.
sizes = st.just(0.0) | st.floats(0.001, 500)
pasts = st.lists(st.builds(PastSprint, planned=sizes, delivered=sizes), max_size=8)
shares = st.floats(0, 1)


@st.composite
def sprints(draw: st.DrawFn) -> SprintInHand:
    committed = draw(sizes)
    done = draw(st.floats(0, 1)) * committed
    return SprintInHand(
        committed=committed,
        done=done,
        in_progress=draw(st.floats(0, 1)) * (committed - done),
        tasks=draw(st.integers(0, 100)),
        days=draw(st.floats(0, 100)),
        elapsed=draw(shares),
    )


def forecast(sprint: SprintInHand, own: list[PastSprint], wider: list[PastSprint] | None = None) -> Distribution:
    return forecast_delivery(sprint, own, own if wider is None else wider, POOLED)


# --- what a sprint delivers -------------------------------------------------------------------


@given(sprints(), pasts, pasts)
def test_quantiles_rise_and_are_never_below_what_is_done(
    sprint: SprintInHand, own: list[PastSprint], wider: list[PastSprint]
) -> None:
    found = forecast(sprint, own, wider)
    quantiles = [found.quantile(level) for level in np.linspace(0, 1, 41)]
    assert quantiles == sorted(quantiles)
    assert quantiles[0] >= sprint.done - 1e-9
    assert all(np.isfinite(quantiles))


@given(sprints(), pasts, st.floats(0.01, 1000))
def test_another_unit_is_the_same_forecast(sprint: SprintInHand, own: list[PastSprint], factor: float) -> None:
    scaled = replace(
        sprint,
        committed=sprint.committed * factor,
        done=sprint.done * factor,
        in_progress=sprint.in_progress * factor,
        grain=sprint.grain * factor,
    )
    past = [PastSprint(one.planned * factor, one.delivered * factor) for one in own]
    for level in (0.1, 0.5, 0.9):
        expected = forecast(sprint, own).quantile(level) * factor
        assert forecast(scaled, past).quantile(level) == pytest.approx(expected, rel=1e-6, abs=1e-6 * factor)


@given(pasts, st.floats(0, 0.95), st.floats(0, 0.9), st.floats(0, 0.5))
def test_more_done_makes_all_of_it_likelier(own: list[PastSprint], elapsed: float, done: float, more: float) -> None:
    less = replace(SPRINT, elapsed=elapsed, done=20 * done)
    further = replace(less, done=20 * min(1.0, done + more))
    assert forecast(further, own).chance_of(20) >= forecast(less, own).chance_of(20) - 1e-6


@given(pasts)
def test_at_its_end_a_sprint_delivers_what_is_done(own: list[PastSprint]) -> None:
    found = forecast(replace(SPRINT, done=7, elapsed=1), own)
    assert (found.quantile(0.01), found.quantile(0.99)) == pytest.approx((7, 7))


def test_teams_that_deliver_more_of_their_plans_are_expected_to() -> None:
    good = forecast(SPRINT, [PastSprint(20, 20)] * 6)
    poor = forecast(SPRINT, [PastSprint(20, 5)] * 6)
    assert good.median() > 1.5 * poor.median()
    assert good.chance_of(20) > poor.chance_of(20)


def test_the_last_sprints_count_most() -> None:
    rising = forecast(SPRINT, [PastSprint(20, 4)] * 4 + [PastSprint(20, 20)] * 4)
    falling = forecast(SPRINT, [PastSprint(20, 20)] * 4 + [PastSprint(20, 4)] * 4)
    assert rising.median() > falling.median()
    assert record_of([PastSprint(10, 0), PastSprint(10, 10)]).delivered > 5  # type: ignore[union-attr]


def test_without_own_sprints_those_of_other_teams_serve_and_without_any_the_plan() -> None:
    assert forecast(SPRINT, [], PAST).median() == pytest.approx(16, abs=6)
    assert 0 < forecast(SPRINT, []).median() < 30


def test_coefficients_fit_the_figures_and_never_punish_what_is_done() -> None:
    never_below = [FIGURES.index(name) for name in ("done", "in progress", "anything begun")]
    for coefficients in POOLED.by_elapsed.values():
        assert coefficients.shape == (len(POOLED.levels), len(FIGURES))
        assert (coefficients[:, never_below] >= 0).all()
    assert list(MULTIPLES) == sorted(MULTIPLES)


# --- distributions ----------------------------------------------------------------------------


def test_a_distribution_of_known_quantiles() -> None:
    found = Distribution.of(np.array([0.25, 0.5, 0.75]), np.array([10.0, 20.0, 30.0]))
    assert (found.quantile(0.25), found.median(), found.quantile(0.9)) == pytest.approx((10, 20, 36))
    assert found.chance_of(20) == pytest.approx(0.5)
    assert (found.chance_of(0), found.chance_of(1000)) == (1, 0)
    assert found.interval(0.5)[1] - found.interval(0.5)[0] == pytest.approx(20)


def test_quantiles_that_cross_are_sorted_and_the_floor_holds() -> None:
    found = Distribution.of(np.array([0.25, 0.5, 0.75]), np.array([5.0, -3.0, 9.0]), floor=0)
    assert [found.quantile(level) for level in (0.25, 0.5, 0.75)] == [0, 5, 9]


def test_where_nothing_is_likely_the_shortest_interval_begins_at_nothing() -> None:
    found = Distribution.of(np.array([0.25, 0.5, 0.75]), np.array([0.0, 0.0, 8.0]))
    assert found.interval(0.5) == (0, 0)
    assert found.interval(0.75) == pytest.approx((0, 8))


def test_mixing_with_the_same_changes_little_and_a_whole_share_takes_over() -> None:
    found = Distribution.of(np.array([0.25, 0.5, 0.75]), np.array([10.0, 20.0, 30.0]))
    assert found.mixed(np.array([20.0]), np.ones(1), 0.1).median() == pytest.approx(20, abs=0.5)
    assert found.mixed(np.array([50.0]), np.ones(1), 0.999).quantile(0.5) == pytest.approx(50, abs=0.1)


# --- days ahead -------------------------------------------------------------------------------

WEEKS = {MONDAY + timedelta(days=day): 2.0 * (day % 7 < 5) for day in range(70)}


def test_beyond_what_is_known_weeks_are_as_on_average() -> None:
    ahead = extended(WEEKS, MONDAY)
    assert list(ahead[700:707]) == [2, 2, 2, 2, 2, 0, 0]
    assert len(ahead) > 5 * 365


def test_a_steady_team_is_done_when_arithmetic_says_so() -> None:
    ahead = extended(WEEKS, MONDAY)
    # Two tasks a working day, without noise: the 15th is done on the eighth working day, a Wednesday.
    ends = simulate([Stint(20, 20, 10)] * 12, np.ones(1), ahead, 15, 4, 500, seed=1)
    assert set(ends.days) == {9}
    assert ends.tasks is not None
    assert ends.tasks == pytest.approx(10)


def test_a_short_history_is_less_sure_and_so_is_one_that_varies() -> None:
    ahead = extended(WEEKS, MONDAY)

    def spread(stints: list[Stint]) -> float:
        days = simulate(stints, MULTIPLES, ahead, 200, None, 2000, seed=1).days
        return float(np.subtract(*np.percentile(days, [85, 15])))

    assert spread([Stint(20, 20, 10)]) > spread([Stint(20, 20, 10)] * 12)
    assert spread([Stint(10, 20, 10), Stint(30, 20, 10)] * 6) > spread([Stint(20, 20, 10)] * 12)


def test_twice_the_people_need_less_time() -> None:
    stints = [Stint(20, 20, 10)] * 5
    once = simulate(stints, MULTIPLES, extended(WEEKS, MONDAY), 100, None, 500, seed=1)
    twice = simulate(stints, MULTIPLES, 2 * extended(WEEKS, MONDAY), 100, None, 500, seed=1)
    assert np.median(twice.days) < np.median(once.days)


# --- what is asked for ------------------------------------------------------------------------

RUNNING = Running("SHOP-S02", "SHOP", MONDAY, MONDAY + timedelta(days=13), 10, 2, 1)
CLOSED = [Closed(f"SHOP-S{n:02}", "SHOP", MONDAY - timedelta(days=14 * n), 10, 8, 20, 10) for n in (4, 3, 2, 1)]


def test_without_a_closed_sprint_there_is_no_forecast() -> None:
    for call in (
        lambda: project_sprint(RUNNING, [], CLOSED, WEEKS, MONDAY, 100, 1),
        lambda: project_backlog("SHOP", 5, 5, None, [], WEEKS, MONDAY, 100, 1),
    ):
        with pytest.raises(NotEnoughData) as raised:
            call()
        assert raised.value.metadata == {"needed": "1", "have": "0"}


@given(st.integers(0, 10), st.integers(0, 13), st.integers(0, 2**31))
def test_a_sprints_figures_agree_with_each_other(done: int, day: int, seed: int) -> None:
    found = project_sprint(
        replace(RUNNING, completed_tasks=done), CLOSED, [], WEEKS, MONDAY + timedelta(days=day), 200, seed
    )
    assert list(found.tasks) == sorted(found.tasks, reverse=True)
    assert 0 <= found.tasks[0] <= found.remaining_tasks == 10 - done
    known = [found_day or date.max for found_day in found.dates]
    assert known == sorted(known)
    # All by the end with 85 % is the same said in three ways.
    for percent, tasks, end in zip((50, 85, 95), found.tasks, found.dates, strict=True):
        if found.probability > percent / 100:
            assert tasks == found.remaining_tasks
            assert end is not None
            assert end <= RUNNING.last_day


def test_half_of_the_days_gone_without_anything_done_makes_it_unlikely() -> None:
    fresh = project_sprint(replace(RUNNING, completed_tasks=0), CLOSED, [], WEEKS, MONDAY, 2000, 1)
    late = project_sprint(replace(RUNNING, completed_tasks=0), CLOSED, [], WEEKS, MONDAY + timedelta(days=11), 2000, 1)
    assert late.probability < fresh.probability
    assert (fresh.remaining_working_days, late.remaining_working_days) == (10, 1)


def test_a_team_that_is_away_finishes_nothing() -> None:
    nobody = dict.fromkeys(WEEKS, 0.0)
    found = project_sprint(RUNNING, CLOSED, [], nobody, MONDAY, 200, 1)
    assert (found.probability, found.tasks, found.dates) == (0, (0, 0, 0), (None, None, None))
    ahead = project_backlog("SHOP", 5, 5, MONDAY, CLOSED, nobody, MONDAY, 200, 1)
    assert (ahead.tasks, ahead.dates) == ((0, 0, 0), (None, None, None))


# --- calibration ------------------------------------------------------------------------------


def test_calibration_by_hand() -> None:
    found = calibrate(
        [
            Judged(0.9, True, (True, True, True)),
            Judged(0.7, False, (True, True, False)),
            Judged(0.1, False, (False, True, True)),
            Judged(None, False, (False, False, False)),
        ]
    )
    assert found.forecasts == 4
    assert found.brier_score == pytest.approx((0.01 + 0.49 + 0.01) / 3)
    assert found.observed == (0.5, 0.75, 0.5)
    assert [bucket.forecasts for bucket in found.buckets] == [1, 0, 0, 1, 1]
    assert found.buckets[4].mean_probability == pytest.approx(0.9)
    assert found.buckets[4].observed_rate == 1
    assert found.buckets[1].mean_probability is None
    assert not found.enough


def test_nothing_judged_says_nothing() -> None:
    found = calibrate([])
    assert (found.forecasts, found.brier_score, found.observed) == (0, None, (None, None, None))
