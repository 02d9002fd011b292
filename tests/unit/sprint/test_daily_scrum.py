"""Daily scrums: what a report says, and days that are simulated."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.sprint.domain import progress, scrum
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import DateOutOfRange, TaskState, summarize
from tests.unit.sprint.sprints import MONDAY, NOW, make_impediment, make_sprint, make_task

PRESENT = {"E1": Decimal(1), "E2": Decimal(0), "E3": Decimal("0.5")}


def entry(number: int, who: str = "E1", percent: int = 50, note: str = "", plan: str = "") -> Entry:
    """Work reported on a task."""
    return Entry(f"P-TASK{number:03}", who, MONDAY, 0, percent, note, plan, NOW)


def test_a_report_says_what_each_person_said_of_each_task() -> None:
    tasks = [make_task(1, state=TaskState.BLOCKED, progress_percent=50), make_task(2, state=TaskState.COMPLETED)]
    said = [entry(1, "E1", 30, "Began", "Go on"), entry(1, "E1", 50), entry(2, "E3", 100, "Done")]
    report = scrum.compile_report(tasks, said, [make_impediment()], PRESENT)
    people = {person.employee_id: person for person in report.people}
    assert list(people) == ["E1", "E2", "E3"]
    (first,) = people["E1"].tasks
    assert first.yesterday_work == "Began\nProgress from 0 % to 50 %."
    assert (first.today_work, first.impediments) == ("Go on", "No access to the test system")
    assert people["E2"].away
    assert not people["E2"].tasks
    assert report.updated_tasks == 2
    assert (report.team_size, report.counts.completed_tasks, report.counts.blocked_tasks) == (3, 1, 1)


def test_a_day_that_nobody_worked_says_so() -> None:
    quiet = scrum.compile_report([make_task(1)], [], [], PRESENT).summary
    assert "No work was reported" in quiet
    assert "Away: E2." in quiet
    off = scrum.compile_report([make_task(1)], [], [], dict.fromkeys(PRESENT, Decimal(0))).summary
    assert "Nobody is at work on this day." in off


def test_work_begun_and_not_reported_is_listed_with_empty_words() -> None:
    report = scrum.compile_report([make_task(1, state=TaskState.IN_PROGRESS), make_task(2)], [], [], PRESENT)
    (only,) = report.people[0].tasks
    assert (only.task_id, only.yesterday_work, report.updated_tasks) == ("P-TASK001", "", 0)


def test_a_simulated_day_is_the_same_for_the_same_seed() -> None:
    tasks = [make_task(n, assignee_id=f"E{n % 3 + 1}") for n in range(1, 10)]
    once, again = (scrum.simulate_day(make_sprint(), tasks, PRESENT, "P-S01:5") for _ in range(2))
    assert once == again
    assert scrum.simulate_day(make_sprint(), tasks, PRESENT, 7) != once


@given(st.integers())
def test_only_those_at_work_make_progress_and_only_on_open_tasks(seed: int) -> None:
    tasks = [
        make_task(1, assignee_id="E1", state=TaskState.BLOCKED),
        make_task(2, assignee_id="E1", state=TaskState.COMPLETED, progress_percent=100),
        make_task(3, assignee_id="E1", state=TaskState.IN_PROGRESS, progress_percent=99),
        make_task(4, assignee_id="E2"),
        make_task(5, assignee_id="E3", points=None),
        make_task(6, assignee_id=""),
    ]
    done = scrum.simulate_day(make_sprint(), tasks, PRESENT, seed)
    assert {s.task.task_id for s in done} <= {"P-TASK003", "P-TASK005"}
    assert all(s.task.progress_percent < s.percent <= 100 for s in done)


def test_simulated_days_finish_a_sprint_in_about_its_length() -> None:
    tasks = [make_task(n, assignee_id=f"E{n % 2 + 1}") for n in range(1, 9)]
    present = {"E1": Decimal(1), "E2": Decimal(1)}
    for day in range(20):
        for made in scrum.simulate_day(make_sprint(), tasks, present, day):
            after = progress.report_progress(made.task, made.percent, MONDAY, NOW)
            tasks = [after if task.task_id == after.task_id else task for task in tasks]
        if day == 4:
            assert 0 < summarize(tasks).completed_tasks < 8
    assert summarize(tasks).completed_tasks == 8


def test_reports_go_forward_in_the_sprint() -> None:
    sprint, today = make_sprint(), date(2026, 1, 9)
    assert scrum.day_of_report(None, sprint, today, date(2026, 1, 8)) == today
    for day in (date(2026, 1, 4), date(2026, 1, 10), date(2026, 1, 7)):
        with pytest.raises(DateOutOfRange):
            scrum.day_of_report(day, sprint, today, date(2026, 1, 8))
