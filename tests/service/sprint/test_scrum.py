"""RunDailyScrum."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from dsm.chronicle.v1 import note_pb2
from dsm.project.v1 import calendar_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import sprint_service_pb2 as pb

from tests.harness import World, refused
from tests.service.sprint.sprints import FRIDAY, MONDAY, SATURDAY, Fixture, make

TUESDAY = "2025-03-04"


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint under way with four tasks for two people."""
    fixture = await make(world, points=(5, 5, 5, 5), assignees=(0, 1, 0, 1))
    await fixture.start(max_tasks=4)
    return fixture


async def _scrum(at: Fixture, day: str = TUESDAY, **fields: object) -> pb.RunDailyScrumResponse:
    fields = {"sprint_id": f"{at.project_id}-S01", "report_date": day} | fields
    return await at.sprints.RunDailyScrum(pb.RunDailyScrumRequest(**fields))  # type: ignore[arg-type]


async def _away(at: Fixture, person: int, day: str) -> None:
    pto = calendar_pb2.Pto(employee_id=at.people[person], start_date=day, end_date=day)
    await at.projects.AddPto(project.AddPtoRequest(pto=pto))


def _person(answer: pb.RunDailyScrumResponse, employee_id: str) -> note_pb2.PersonReport:
    return next(person for person in answer.report.reports if person.employee_id == employee_id)


async def test_a_report_tells_what_was_done_what_comes_and_what_blocks(at: Fixture) -> None:
    await at.report(at.task_ids[0], 40, work_date=MONDAY, work_note="Wrote the parser", plan="Test it")
    await at.report(at.task_ids[1], 20, work_date=MONDAY, impediment="No access")
    await at.report(at.task_ids[2], 100, work_date=MONDAY)
    answer = await _scrum(at)
    report = answer.report
    assert (answer.updated_tasks_count, answer.repeated) == (3, False)
    assert (report.report_id, report.report_date, report.simulated) == (answer.report_id, TUESDAY, False)
    assert (report.sprint_id, report.project_id) == (f"{at.project_id}-S01", at.project_id)
    first, second = _person(answer, at.people[0]).tasks
    assert (first.task_id, first.yesterday_work, first.today_work) == (at.task_ids[0], "Wrote the parser", "Test it")
    assert (first.title, first.progress_percent) == ("Task 1", 40)
    assert (second.task_id, second.progress_percent) == (at.task_ids[2], 100)
    (blocked,) = _person(answer, at.people[1]).tasks
    assert (blocked.impediments, blocked.progress_percent) == ("No access", 20)
    metrics = report.summary_metrics
    assert (metrics.total_team_members, metrics.total_tasks, metrics.completed_tasks) == (2, 4, 1)
    assert (metrics.pending_tasks, metrics.blocked_tasks, metrics.completed_points) == (3, 1, 5)
    assert await _events(at) == [answer.report_id]


async def test_work_is_reported_once(at: Fixture) -> None:
    await at.report(at.task_ids[0], 40, work_date=MONDAY, work_note="Began")
    assert (await _scrum(at, TUESDAY)).updated_tasks_count == 1
    # Entered late, for a day that was reported already.
    await at.report(at.task_ids[1], 10, work_date=MONDAY, work_note="Late")
    later = await _scrum(at, FRIDAY)
    assert later.updated_tasks_count == 1
    (idle,) = _person(later, at.people[0]).tasks
    assert (idle.task_id, idle.yesterday_work) == (at.task_ids[0], "")
    assert _person(later, at.people[1]).tasks[0].yesterday_work == "Late"


async def test_work_after_the_day_waits_for_a_later_report(at: Fixture) -> None:
    await at.report(at.task_ids[0], 40, work_date=FRIDAY)
    assert (await _scrum(at, TUESDAY)).updated_tasks_count == 0
    assert (await _scrum(at, FRIDAY)).updated_tasks_count == 1


async def test_a_day_has_one_report(at: Fixture) -> None:
    first = await _scrum(at)
    await at.report(at.task_ids[0], 40, work_date=MONDAY)
    again = await _scrum(at)
    assert again.repeated
    assert (again.report_id, again.report) == (first.report_id, first.report)
    assert await _events(at) == [first.report_id]


async def test_of_many_at_once_one_is_held(at: Fixture) -> None:
    answers = await asyncio.gather(*(_scrum(at, simulate=True) for _ in range(8)))
    assert len({answer.report_id for answer in answers}) == 1
    assert [answer.repeated for answer in answers].count(False) == 1


async def test_the_same_request_from_many_gives_the_first_answer_to_all(at: Fixture) -> None:
    request_id = str(uuid4())
    answers = await asyncio.gather(*(_scrum(at, request_id=request_id) for _ in range(20)))
    assert {answer.repeated for answer in answers} == {False}


async def test_the_same_request_gives_the_same_answer(at: Fixture) -> None:
    request_id = str(uuid4())
    first, again = [await _scrum(at, request_id=request_id) for _ in range(2)]
    assert first == again
    failed = await refused(_scrum(at, FRIDAY, request_id=request_id))
    assert failed.reason == "REQUEST_ID_REUSED"


async def test_the_first_report_given_again_is_the_answer_to_its_request_from_then_on(at: Fixture) -> None:
    first, request_id = await _scrum(at), str(uuid4())
    told, again = [await _scrum(at, request_id=request_id) for _ in range(2)]
    assert (told.repeated, told.report_id) == (True, first.report_id)
    assert again == told
    failed = await refused(_scrum(at, FRIDAY, request_id=request_id))
    assert failed.reason == "REQUEST_ID_REUSED"


async def test_who_is_away_reports_nothing_until_back(at: Fixture) -> None:
    await at.report(at.task_ids[0], 40, work_date=MONDAY, work_note="Before the day off")
    await _away(at, 0, TUESDAY)
    answer = await _scrum(at)
    person = _person(answer, at.people[0])
    assert (person.away, len(person.tasks), answer.updated_tasks_count) == (True, 0, 0)
    assert not _person(answer, at.people[1]).away
    back = await _scrum(at, "2025-03-05")
    assert _person(back, at.people[0]).tasks[0].yesterday_work == "Before the day off"


async def test_a_simulated_day_moves_the_tasks_of_those_at_work(at: Fixture) -> None:
    await _away(at, 0, TUESDAY)
    answer = await _scrum(at, simulate=True, seed=7)
    assert answer.report.simulated
    assert answer.updated_tasks_count >= 1
    assert not _person(answer, at.people[0]).tasks
    worked = _person(answer, at.people[1]).tasks
    assert worked
    sprint = await at.sprint(f"{at.project_id}-S01")
    moved = {task.task_id: task.progress_percent for task in sprint.tasks if task.progress_percent}
    assert moved == {task.task_id: task.progress_percent for task in worked}
    assert sorted(await at.events("task.updated")) == sorted(moved)


async def test_the_project_says_whether_days_are_simulated(world: World) -> None:
    at = await make(world, simulate_daily_scrums=True)
    await at.start()
    assert (await _scrum(at)).report.simulated
    assert not (await _scrum(at, "2025-03-05", simulate=False)).report.simulated


@pytest.mark.parametrize("day", ["2025-03-02", "2025-03-17", ""])
async def test_a_day_outside_the_sprint_is_refused(at: Fixture, day: str) -> None:
    failed = await refused(_scrum(at, day))
    assert (failed.code, failed.reason, failed.metadata["field"]) == (
        "INVALID_ARGUMENT",
        "DATE_OUT_OF_RANGE",
        "report_date",
    )


async def test_reports_go_forward_and_not_into_the_future(world: World, at: Fixture) -> None:
    await _scrum(at, FRIDAY)
    assert (await refused(_scrum(at, TUESDAY))).reason == "DATE_OUT_OF_RANGE"
    later = await make(world)
    today = datetime.now(UTC).date()
    await later.start(start_date=today.isoformat())
    assert (await refused(_scrum(later, (today + timedelta(days=1)).isoformat()))).reason == "DATE_OUT_OF_RANGE"


async def test_nobody_meets_on_a_day_off(at: Fixture) -> None:
    failed = await refused(_scrum(at, SATURDAY))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "NOT_A_WORKING_DAY")
    assert failed.metadata == {"date": SATURDAY, "why": "weekend"}
    day = project.AddHolidayRequest(project_id=at.project_id, date=TUESDAY, name="Founders' day")
    await at.projects.AddHoliday(day)
    failed = await refused(_scrum(at, TUESDAY))
    assert failed.metadata == {"date": TUESDAY, "why": "Founders' day"}


async def test_a_closed_sprint_meets_no_more(at: Fixture) -> None:
    first = await _scrum(at)
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{at.project_id}-S01"))
    failed = await refused(_scrum(at, FRIDAY))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "SPRINT_NOT_IN_PROGRESS")
    assert (await _scrum(at)).report_id == first.report_id


async def _events(at: Fixture) -> list[str]:
    rows = await at.world.query(
        "sprint",
        """
        SELECT aggregate_id FROM outbox o JOIN daily_scrum d ON d.report_id::text = o.aggregate_id
        WHERE subject = 'dsm.sprint.v1.scrum.reported' AND sprint_id = %(sprint_id)s
        """,
        {"sprint_id": f"{at.project_id}-S01"},
    )
    return [row["aggregate_id"] for row in rows]
