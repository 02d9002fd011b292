"""The pure parts of the commands: options, bars, and who does what on a day of the demo."""

import random
from datetime import date, timedelta

import pytest
from dsm.backlog.v1.task_pb2 import TASK_STATE_COMPLETED, TASK_STATE_IN_PROGRESS, TaskState
from dsm.chronicle.v1.analytics_pb2 import SprintVelocity
from dsm.sprint.v1.sprint_pb2 import BurndownDay
from hypothesis import given
from hypothesis import strategies as st

from services.cli import charts
from services.cli.demo import cast, days
from services.cli.demo.days import Task
from services.cli.errors import CliError
from services.cli.importing import parse_mapping, parse_status_map
from services.cli.lookup import name, word

PEOPLE = ("ANA", "BEN", "CHIARA")


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "mapping"),
    [
        ([], {}),
        (["title=Name"], {"title": "Name"}),
        ([" title = Name ", "points=Story Points"], {"title": "Name", "points": "Story Points"}),
        (["title=a=b"], {"title": "a=b"}),
    ],
)
def test_a_mapping_is_field_and_column(given: list[str], mapping: dict[str, str]) -> None:
    assert parse_mapping(given) == mapping


@pytest.mark.parametrize("given", [["title"], ["=Name"], ["title="], ["title=A", "title=B"]])
def test_another_mapping_is_refused(given: list[str]) -> None:
    with pytest.raises(CliError):
        parse_mapping(given)


@pytest.mark.parametrize(
    ("given", "states"),
    [
        ([], {}),
        (["In Review=IN_PROGRESS"], {"In Review": TASK_STATE_IN_PROGRESS}),
        (
            ["In Review=in_progress", "a=b=COMPLETED"],
            {"In Review": TASK_STATE_IN_PROGRESS, "a=b": TASK_STATE_COMPLETED},
        ),
    ],
)
def test_a_status_map_is_status_and_state(given: list[str], states: dict[str, int]) -> None:
    assert parse_status_map(given) == states


@pytest.mark.parametrize("given", [["Done"], ["=COMPLETED"], ["Done="], ["Done=FINISHED"], ["Stuck=BLOCKED"]])
def test_another_status_map_is_refused(given: list[str]) -> None:
    with pytest.raises(CliError):
        parse_status_map(given)


# --- words and figures --------------------------------------------------------------------------


def test_an_enum_reads_as_words() -> None:
    assert word(TaskState, TASK_STATE_IN_PROGRESS) == "in progress"


def test_a_value_of_a_newer_dsm_is_shown_as_it_is() -> None:
    assert word(TaskState, 99) == "99"


def test_whose_name_was_erased_is_called_by_id() -> None:
    assert name({"E1": "Ana", "E2": ""}, "E1") == "Ana"
    assert name({"E1": "Ana", "E2": ""}, "E2") == "E2"
    assert name({}, "") == "nobody"


@given(st.floats(0, 1e6), st.floats(0, 1e6), st.none() | st.floats(0, 1e6))
def test_a_bar_keeps_its_width(value: float, full: float, mark: float | None) -> None:
    assert len(charts.bar(value, full, mark=mark, width=20)) == 20


def test_a_bar_is_filled_by_its_share() -> None:
    assert charts.bar(5, 10, width=10).plain == "█████·····"
    assert charts.bar(20, 10, width=10).plain == "██████████"
    assert charts.bar(5, 10, mark=8, width=10).plain == "█████···│·"


def test_a_burndown_shows_working_days_alone() -> None:
    burndown = [
        BurndownDay(date="2026-01-02", working_day=True, remaining_points=8, remaining_tasks=4, ideal_points=5),
        BurndownDay(date="2026-01-03", working_day=False, remaining_points=8, remaining_tasks=4, ideal_points=5),
        BurndownDay(date="2026-01-05", working_day=True, ideal_points=0),
    ]
    drawn = charts.burndown(burndown, 10, 5).plain
    assert "01-02" in drawn
    assert "01-03" not in drawn


def test_velocity_without_points_counts_tasks() -> None:
    (drawn,) = charts.velocity([SprintVelocity(sprint_id="P-S01", planned_tasks=4, completed_tasks=3)])
    assert drawn[0] == "P-S01"
    assert drawn[2] == "3 of 4 tasks"


# --- the calendar of the demo -------------------------------------------------------------------


@given(st.dates(date(2020, 1, 1), date(2040, 12, 31)))
def test_the_first_monday_leaves_room_for_three_sprints_and_the_next(today: date) -> None:
    monday = days.first_monday(today)
    assert monday.weekday() == 0
    assert monday + timedelta(days=28) <= today
    assert today - monday < timedelta(days=42)


def test_the_company_day_evades_public_holidays() -> None:
    monday = date(2026, 11, 2)
    chosen = cast.company_day(monday, ())
    assert chosen.weekday() < 5
    assert cast.company_day(monday, {str(chosen)}) != chosen


def test_time_off_lies_in_the_sprint_and_belongs_to_the_team() -> None:
    monday = date(2026, 11, 2)
    team = {cast.employee("DEMO", person).employee_id for person in cast.TEAM}
    time_off = cast.time_off("DEMO", monday)
    assert {pto.employee_id for pto in time_off} < team
    assert all(str(monday) <= pto.start_date <= pto.end_date < str(monday + timedelta(days=14)) for pto in time_off)
    assert any(pto.starts_at_midday for pto in time_off)


def test_ids_of_people_fit_whatever_the_project_is_called() -> None:
    longest = "P" * cast.LONGEST_PROJECT_ID
    assert all(len(cast.employee_id(longest, person.key)) <= 32 for person in cast.TEAM)


# --- who does what on a day ---------------------------------------------------------------------

tasks_of_a_sprint = st.lists(
    st.tuples(
        st.sampled_from([*PEOPLE, ""]),
        st.none() | st.floats(0, 40),
        st.integers(0, 100),
        st.booleans(),
    ),
    max_size=12,
).map(
    lambda drawn: [
        Task(f"P-TASK{number:03}", f"Task {number}", assignee, points, progress, blocked)
        for number, (assignee, points, progress, blocked) in enumerate(drawn, 1)
    ]
)
at_work = st.dictionaries(st.sampled_from(PEOPLE), st.sampled_from([0.5, 0.8, 1.0]))


@given(tasks_of_a_sprint, at_work, st.floats(0, 20), st.integers())
def test_people_at_work_advance_their_own_tasks(
    tasks: list[Task], present: dict[str, float], speed: float, seed: int
) -> None:
    by_id = {task.task_id: task for task in tasks}
    reports = days.work(tasks, present, speed, random.Random(seed))
    assert len({report.task_id for report in reports}) == len(reports)
    for report in reports:
        task = by_id[report.task_id]
        assert report.employee_id == task.assignee_id
        assert report.employee_id in present
        assert not task.blocked
        assert task.progress_percent < report.progress_percent <= 100


@given(tasks_of_a_sprint, at_work, st.floats(0, 20), st.integers())
def test_nobody_does_more_than_a_good_day_allows(
    tasks: list[Task], present: dict[str, float], speed: float, seed: int
) -> None:
    by_id = {task.task_id: task for task in tasks}
    done = dict.fromkeys(present, 0.0)
    for report in days.work(tasks, present, speed, random.Random(seed)):
        task = by_id[report.task_id]
        done[report.employee_id] += task.size * (report.progress_percent - task.progress_percent) / 100
    for employee_id, share in present.items():
        assert done[employee_id] <= share * speed * 1.4 + 1e-3


def test_the_same_seed_is_the_same_day() -> None:
    tasks = [Task("P-TASK001", "A", "ANA", 5, 0), Task("P-TASK002", "B", "BEN", 8, 20)]
    present = {"ANA": 1.0, "BEN": 0.5}
    first, again, other = (days.work(tasks, present, 2, random.Random(seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_what_was_begun_is_finished_first() -> None:
    tasks = [Task("P-TASK001", "New", "ANA", 5, 0), Task("P-TASK002", "Begun", "ANA", 5, 50)]
    reports = days.work(tasks, {"ANA": 1.0}, 1, random.Random(1))
    assert [report.task_id for report in reports] == ["P-TASK002"]


def test_a_team_at_its_pace_just_finishes() -> None:
    tasks = [Task("P-TASK001", "A", "ANA", 6, 0), Task("P-TASK002", "B", "BEN", 4, 50)]
    assert days.pace(tasks, 4) == 2
    assert days.pace(tasks, 0) == 0


def test_trouble_meets_a_task_of_the_day_that_is_not_done() -> None:
    tasks = [Task("P-TASK001", "A", "ANA", 1, 0), Task("P-TASK002", "B", "BEN", 50, 0)]
    reports = days.work(tasks, {"ANA": 1.0, "BEN": 1.0}, 5, random.Random(1))
    held_up = days.held_up(tasks, reports, random.Random(1))
    assert held_up is not None
    assert held_up.task_id == "P-TASK002"
    assert days.held_up(tasks, [], random.Random(1)) is None


def test_troubles_come_in_order_and_the_last_one_stays() -> None:
    assert [trouble.comes for trouble in days.TROUBLES] == sorted(trouble.comes for trouble in days.TROUBLES)
    assert all(trouble.resolution for trouble in days.TROUBLES[:-1])
    assert days.TROUBLES[-1].goes == 1.0
