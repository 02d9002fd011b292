"""The outlook: risks of an open sprint by what became of the last ones."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.orchestrator.domain.outlook import predict
from services.orchestrator.domain.situation import ClosedSprint, Velocity
from tests.unit.orchestrator.situations import TODAY, open_sprint


def closed(*rates: float | None) -> Velocity:
    days = (date(2026, 1, 5), date(2026, 1, 18))
    return Velocity(tuple(ClosedSprint(f"P-S{n:02}", *days, 5, 5.0, rate) for n, rate in enumerate(rates)))


def test_risk_is_absent_without_enough_data() -> None:
    assert predict(None, None, TODAY) is None
    assert predict(closed(0.9, 0.9, None), open_sprint(), TODAY) is None


def test_risk_follows_failures_lag_and_blocked_tasks() -> None:
    alone = predict(closed(0.9, 0.5, 0.5), None, TODAY)
    assert alone is not None
    assert alone.sprint_failure == alone.overall == pytest.approx(3 / 5)
    # Day 7 of 14, half of the tasks done: no lag; then none done and one of four blocked.
    level = predict(closed(0.9, 0.5, 0.5), open_sprint(completed=2), TODAY)
    late = predict(closed(0.9, 0.5, 0.5), replace(open_sprint(completed=0), blocked_tasks=1), TODAY)
    assert level is not None
    assert late is not None
    assert level.overall == pytest.approx(0.3)
    assert late.overall == pytest.approx(0.3 + 0.3 * 0.5 + 0.2 * 0.25)


@given(st.lists(st.floats(0, 1), min_size=3, max_size=20), st.integers(1, 50), st.data())
def test_risk_is_a_share(rates: list[float], total: int, data: st.DataObject) -> None:
    completed = data.draw(st.integers(0, total))
    sprint = replace(open_sprint(total, completed), blocked_tasks=data.draw(st.integers(0, total - completed)))
    risk = predict(closed(*rates), sprint, TODAY)
    assert risk is not None
    assert 0 <= risk.overall <= 1
    assert 0 < risk.sprint_failure < 1
