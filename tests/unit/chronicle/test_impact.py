"""The impact of decisions: means, shares and their intervals."""

import math
import statistics
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chronicle.domain.impact import (
    MINIMUM_GROUP_SIZE,
    Impact,
    Outcomes,
    Sample,
    describe,
    difference_interval,
    improvement_percent,
    mean_interval,
    share_interval,
    student_t,
)

samples = st.lists(st.floats(min_value=0, max_value=1), min_size=2, max_size=30)


def _sample(values: list[float]) -> Sample:
    return Sample(len(values), statistics.fmean(values), statistics.variance(values) if len(values) > 1 else None)


def test_the_intervals_are_those_of_the_books() -> None:
    # NIST/SEMATECH e-Handbook 1.3.5.2, flow meters: N = 195, mean 9.261460, s = 0.022789 gives 9.258242 to 9.264679.
    found = mean_interval(Sample(195, 9.261460, 0.022789**2))
    assert found is not None
    assert [found.low, found.high] == pytest.approx([9.258242, 9.264679], abs=3e-5)
    # Wilson at 0 of 10 and 5 of 10 with z = 1.96.
    nothing = share_interval(0, 10)
    assert nothing is not None
    assert [nothing.low, nothing.high] == pytest.approx([0, 0.2775], abs=1e-4)
    half = share_interval(5, 10)
    assert half is not None
    assert [half.low, half.high] == pytest.approx([0.2366, 0.7634], abs=1e-4)
    # Welch with equal variances and sizes has the degrees of Student's: 2n - 2.
    values = [1.0, 2.0, 3.0, 4.0]
    difference = difference_interval(_sample(values), _sample([v + 1 for v in values]))
    reach = student_t(6) * math.sqrt(2 * statistics.variance(values) / 4)
    assert difference is not None
    assert [difference.low, difference.high] == pytest.approx([-1 - reach, -1 + reach])


def test_too_few_measurements_have_no_interval() -> None:
    one, two = _sample([0.5]), _sample([0.5, 0.7])
    assert mean_interval(Sample()) is mean_interval(one) is None
    assert difference_interval(one, two) is difference_interval(two, Sample()) is None
    assert share_interval(0, 0) is None
    assert improvement_percent(two, Sample()) is improvement_percent(Sample(), two) is None
    assert improvement_percent(two, _sample([0.0, 0.0])) is None
    assert improvement_percent(_sample([0.9, 0.95]), _sample([0.75, 0.8])) == pytest.approx(19.35, abs=0.01)


@given(samples, samples)
def test_intervals_hold_their_estimate(one: list[float], two: list[float]) -> None:
    first, second = _sample(one), _sample(two)
    mean, difference = mean_interval(first, 0, 1), difference_interval(first, second)
    assert mean is not None
    assert difference is not None
    assert 0 <= mean.low <= (first.mean or 0) + 1e-9
    assert (first.mean or 0) - 1e-9 <= mean.high <= 1
    assert difference.low - 1e-9 <= (first.mean or 0) - (second.mean or 0) <= difference.high + 1e-9


@given(st.integers(1, 500), st.data())
def test_a_share_lies_in_its_interval(count: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, count))
    found = share_interval(successes, count)
    assert found is not None
    assert 0 <= found.low <= successes / count <= found.high <= 1


def test_t_falls_toward_the_normal_distribution() -> None:
    values = [student_t(degrees) for degrees in range(1, 2000)]
    assert values == sorted(values, reverse=True)
    assert (values[0], values[-1]) == (12.706, 1.96)


def _impact(enhanced: list[float], rule_based: list[float]) -> Impact:
    groups = [Outcomes(len(v), 0, _sample(v) if v else Sample()) for v in (enhanced, rule_based)]
    return Impact(date(2026, 1, 1), date(2026, 1, 31), groups[0], groups[1], 0, ())


def test_a_difference_is_claimed_only_beyond_the_scatter() -> None:
    few = MINIMUM_GROUP_SIZE - 1
    assert describe(_impact([0.9] * few, [0.5] * 20)).startswith("Not enough data")
    assert not _impact([0.9] * few, [0.5] * 20).enough
    assert "no difference" in describe(_impact([0.2, 0.9, 0.4, 0.8, 0.6], [0.3, 0.8, 0.5, 0.7, 0.6]))
    assert "a difference beyond" in describe(_impact([0.9, 0.95, 0.92, 0.97, 0.9], [0.5, 0.45, 0.52, 0.47, 0.5]))
