"""The chronicle's rules and formulas."""

import statistics
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chronicle.domain.notes import (
    ActionItem,
    ActionItemChange,
    ActionItemState,
    PlannedTask,
    PlanningNote,
    RetrospectiveTask,
    ScrumPerson,
    ScrumReport,
    ScrumTask,
    check_planning,
    check_report,
    completion_rate,
    statistics_of,
    update_action_item,
)
from services.chronicle.domain.velocity import SprintVelocity, Trend, Unit, describe, fit_line, velocity_of
from services.kit.errors import InvalidArgument

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
ITEM = ActionItem("a", "Write tests", ActionItemState.OPEN, "E001", "", NOW)
values = st.floats(min_value=0, max_value=1000)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (ActionItemChange(), ITEM),
        (ActionItemChange(ActionItemState.OPEN, "E001", "Write tests"), ITEM),
        (
            ActionItemChange(ActionItemState.DONE),
            replace(ITEM, state=ActionItemState.DONE, update_time=LATER, version=2),
        ),
        (ActionItemChange(owner_id=""), replace(ITEM, owner_id="", version=2)),
        (ActionItemChange(description="Write more tests"), replace(ITEM, description="Write more tests", version=2)),
    ],
)
def test_an_action_item_changes_as_far_as_asked(change: ActionItemChange, expected: ActionItem) -> None:
    assert update_action_item(ITEM, change, LATER) == expected


def _planning(start: date, end: date, *task_ids: str) -> PlanningNote:
    tasks = tuple(PlannedTask(task_id, "", "", None) for task_id in task_ids)
    return PlanningNote("n", "P-S01", "P", "", "", start, end, 2, 0, NOW, tasks)


@pytest.mark.parametrize(
    ("start", "end", "task_ids", "field"),
    [
        (date(2026, 1, 5), date(2026, 1, 4), (), "planning_note.end_date"),
        (date(2026, 1, 5), date(2026, 1, 18), ("T1", "T2", "T1"), "planning_note.planned_tasks[2].task_id"),
    ],
)
def test_a_planning_note_that_contradicts_itself_is_refused(
    start: date, end: date, task_ids: tuple[str, ...], field: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        check_planning(_planning(start, end, *task_ids))
    assert refused.value.metadata["field"] == field


def test_a_person_and_a_task_of_a_person_are_in_a_report_once() -> None:
    task = ScrumTask("T1", "", "", "", "", 0, None)
    figures = (0, 0, 0, 0, 0, 0.0, 0.0)
    for people, field in [
        ((ScrumPerson("E1", False, ()), ScrumPerson("E1", False, ())), "report.reports[1].employee_id"),
        ((ScrumPerson("E1", False, (task, task)),), "report.reports[0].tasks[1].task_id"),
    ]:
        report = ScrumReport("r", "P", "P-S01", date(2026, 1, 5), "", False, *figures, NOW, people)
        with pytest.raises(InvalidArgument) as refused:
            check_report(report)
        assert refused.value.metadata["field"] == field


@pytest.mark.parametrize(("completed", "released", "rate"), [(0, 0, None), (3, 0, 1.0), (3, 1, 0.75), (0, 2, 0.0)])
def test_the_completion_rate_leaves_out_what_was_neither(completed: int, released: int, rate: float | None) -> None:
    assert completion_rate(completed, released) == rate


def test_the_tasks_of_a_sprint_tell_how_it_ended() -> None:
    ends = [("COMPLETED", 3.0), ("COMPLETED", None), ("IN_PROGRESS", 2.0), ("CANCELLED", 5.0)]
    tasks = [RetrospectiveTask(str(n), "", status, "", 0, points) for n, (status, points) in enumerate(ends)]
    found = statistics_of(tasks)
    assert found is not None
    assert (found.completed_tasks, found.completed_points) == (2, 3.0)
    assert (found.released_tasks, found.released_points, found.removed_tasks) == (1, 2.0, 1)
    assert found.planned_tasks is None
    assert found.completion_rate == pytest.approx(2 / 3)
    assert statistics_of([]) is None


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
