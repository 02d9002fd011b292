"""Work reported by event, from outside."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sprint.domain import outside
from services.sprint.domain.outside import OutsideReport, Verdict
from services.sprint.domain.sprint import DateOutOfRange, SprintState, TaskState
from tests.unit.sprint.sprints import MONDAY, NOW, make_task

LATER = NOW + timedelta(hours=1)


def report(minute: int = 0, **changes: object) -> OutsideReport:
    """A report by event of half the work, made some minutes after noon."""
    made = OutsideReport("1", "P-TASK001", "", 50, "", "Did", "Will", "", None, NOW + timedelta(minutes=minute))
    return replace(made, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("said", "changes", "state", "archived", "verdict"),
    [
        (report(), {}, SprintState.IN_PROGRESS, False, Verdict.APPLIED),
        (report(sprint_id="P-S01"), {}, SprintState.IN_PROGRESS, False, Verdict.APPLIED),
        (report(sprint_id="P-S09"), {}, SprintState.IN_PROGRESS, False, Verdict.NOT_IN_SPRINT),
        (report(), {}, SprintState.CLOSING, False, Verdict.NOT_IN_SPRINT),
        (report(), {}, SprintState.IN_PROGRESS, True, Verdict.ARCHIVED),
        (report(), {"report_time": NOW}, SprintState.IN_PROGRESS, False, Verdict.APPLIED),
        (report(-1), {"report_time": NOW}, SprintState.IN_PROGRESS, False, Verdict.OLDER),
        (report(1), {"state": TaskState.COMPLETED}, SprintState.IN_PROGRESS, False, Verdict.COMPLETED),
    ],
)
def test_what_becomes_of_a_report(
    said: OutsideReport, changes: dict[str, object], state: SprintState, archived: bool, verdict: Verdict
) -> None:
    assert outside.judge(said, make_task(1, **changes), state, archived=archived) is verdict


@given(st.permutations(range(6)))
def test_in_whatever_order_reports_come_the_latest_stands(order: list[int]) -> None:
    task = make_task()
    for minute in order:
        said = report(minute, progress_percent=10 + minute)
        if outside.judge(said, task, SprintState.IN_PROGRESS, archived=False) is Verdict.APPLIED:
            task, _ = outside.take(said, task, MONDAY, LATER)
    assert task.progress_percent == 15


def test_a_day_is_that_of_the_report_where_the_project_is() -> None:
    days = (MONDAY, MONDAY + timedelta(days=20))
    assert outside.day_of(report(), *days, "UTC", LATER) == date(2026, 1, 20)
    assert outside.day_of(report(), *days, "Pacific/Auckland", LATER) == date(2026, 1, 21)
    assert outside.day_of(report(), MONDAY, MONDAY, "UTC", LATER) == MONDAY
    assert outside.day_of(report(work_date=MONDAY), *days, "UTC", LATER) == MONDAY
    with pytest.raises(DateOutOfRange):
        outside.day_of(report(work_date=date(2026, 1, 21)), *days, "UTC", LATER)


def test_an_impediment_blocks_what_is_begun() -> None:
    blocked, entry = outside.take(report(impediment="Stuck"), make_task(), MONDAY, NOW)
    assert (blocked.state, entry.employee_id, entry.to_percent) == (TaskState.BLOCKED, "E1", 50)
    done, _ = outside.take(report(impediment="Stuck", progress_percent=100), make_task(), MONDAY, NOW)
    assert done.state is TaskState.COMPLETED


@pytest.mark.parametrize("text", ["", "None", "none.", " No impediments "])
def test_that_nothing_blocks_is_no_impediment(text: str) -> None:
    assert outside.impediment_in(text) == ""
    assert outside.impediment_in("None of the servers answers") != ""
