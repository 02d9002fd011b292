"""Velocity: directions, means and spreads over closed sprints."""

import statistics
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chronicle.domain.velocity import SprintVelocity, Trend, Unit, describe, fit_line, velocity_of

values = st.floats(min_value=0, max_value=1000)


@pytest.mark.parametrize(
    ("series", "slope", "trend"),
    [
        ([10, 12, 14], 2.0, Trend.RISING),
        ([14, 12, 10], -2.0, Trend.FALLING),
        ([7, 7, 7, 7], 0.0, Trend.STABLE),
        ([0, 0, 0], 0.0, Trend.STABLE),
        ([5, 9, 5, 9, 5], 0.0, Trend.STABLE),
        # slope 1.1, standard error 0.52, t(2) = 1.886
        ([8, 10, 9, 12], 1.1, Trend.RISING),
        # slope 2, standard error 2.31, t(1) = 3.078
        ([10, 4, 14], 2.0, Trend.STABLE),
    ],
)
def test_a_direction_is_more_than_the_scatter(series: list[float], slope: float, trend: Trend) -> None:
    line = fit_line(series)
    assert line is not None
    assert line.slope == pytest.approx(slope)
    assert line.trend is trend


@pytest.mark.parametrize("series", [[], [1.0], [1.0, 9.0]])
def test_fewer_than_three_sprints_have_no_direction(series: list[float]) -> None:
    assert fit_line(series) is None


@given(st.lists(values, min_size=3, max_size=60))
def test_the_slope_is_that_of_the_standard_library(series: list[float]) -> None:
    line = fit_line(series)
    assert line is not None
    assert line.slope == pytest.approx(statistics.linear_regression(range(len(series)), series).slope, abs=1e-6)


@given(st.lists(values, min_size=3, max_size=60))
def test_a_series_read_backwards_goes_the_other_way(series: list[float]) -> None:
    there, back = fit_line(series), fit_line(series[::-1])
    assert there is not None
    assert back is not None
    opposite = {Trend.RISING: Trend.FALLING, Trend.FALLING: Trend.RISING, Trend.STABLE: Trend.STABLE}
    assert back.trend is opposite[there.trend]


def _sprint(tasks: int, points: float, capacity: float = 0.0) -> SprintVelocity:
    day = date(2026, 1, 5)
    return SprintVelocity("P-S01", "", day, day, None, None, tasks, points, capacity, 0, None)


def test_velocity_is_mean_and_sample_standard_deviation() -> None:
    found = velocity_of([_sprint(4, 10, 20), _sprint(6, 14), _sprint(8, 21, 10)])
    assert (found.average_tasks, found.average_points) == (6, 15)
    assert found.spread_tasks == pytest.approx(2)
    assert found.spread_points == pytest.approx(31**0.5)
    assert (found.unit, found.trend) == (Unit.POINTS, Trend.RISING)
    assert found.slope == pytest.approx(5.5)
    assert found.points_per_person_day == pytest.approx(31 / 30)


def test_the_trend_is_of_tasks_where_points_are_missing() -> None:
    found = velocity_of([_sprint(4, 10), _sprint(3, 0), _sprint(2, 30)])
    assert (found.unit, found.slope, found.trend) == (Unit.TASKS, -1, Trend.FALLING)


def test_figures_that_too_few_sprints_tell_are_absent() -> None:
    nothing, one = velocity_of([]), velocity_of([_sprint(4, 10)])
    assert (nothing.average_tasks, nothing.spread_tasks, nothing.points_per_person_day) == (None, None, None)
    assert (one.average_tasks, one.spread_tasks, one.slope, one.trend) == (4, None, None, Trend.UNKNOWN)
    words = ("rising", "falling", "stable")
    assert not any(word in describe(velocity_of([_sprint(4, 10), _sprint(9, 20)])) for word in words)
    assert "rising" in describe(velocity_of([_sprint(4, 10), _sprint(5, 12), _sprint(6, 14)]))
