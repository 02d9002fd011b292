"""UpdateTaskProgress, impediments and burndown."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4
from zoneinfo import ZoneInfo

import grpc
import pytest
from dsm.backlog.v1 import task_pb2
from dsm.events.v1 import event_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from tests.harness import World, eventually, refused
from tests.service.sprint.sprints import FRIDAY, LAST_DAY, MONDAY, SATURDAY, Fixture, make, under_way

ASSIGNED = task_pb2.TASK_STATE_ASSIGNED_TO_SPRINT
RUNNING = task_pb2.TASK_STATE_IN_PROGRESS
BLOCKED = task_pb2.TASK_STATE_BLOCKED
COMPLETED = task_pb2.TASK_STATE_COMPLETED
OPEN = sprint_pb2.IMPEDIMENT_STATE_OPEN
RESOLVED = sprint_pb2.IMPEDIMENT_STATE_RESOLVED


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint under way with two tasks."""
    return await under_way(world)


async def _raise(at: Fixture, **fields: object) -> pb.RaiseImpedimentResponse:
    fields = {"task_id": at.task_ids[0], "text": "No access"} | fields
    return await at.sprints.RaiseImpediment(pb.RaiseImpedimentRequest(**fields))  # type: ignore[arg-type]


async def _resolve(at: Fixture, impediment_id: str, **fields: str) -> pb.ResolveImpedimentResponse:
    return await at.sprints.ResolveImpediment(pb.ResolveImpedimentRequest(impediment_id=impediment_id, **fields))


async def _last_event(at: Fixture, task_id: str) -> event_pb2.Event:
    rows = await at.world.query(
        "sprint",
        "SELECT payload FROM outbox WHERE aggregate_id = %(task_id)s ORDER BY position DESC LIMIT 1",
        {"task_id": task_id},
    )
    return event_pb2.Event.FromString(bytes(rows[0]["payload"]))


async def test_progress_moves_a_task_on_and_says_so(at: Fixture) -> None:
    task_id = at.task_ids[0]
    task = await at.report(task_id, 0)
    assert (task.state, task.version) == (ASSIGNED, 2)
    task = await at.report(task_id, 30, work_note="Began", plan="Go on", work_date=FRIDAY)
    assert (task.state, task.progress_percent, task.version, task.complete_date) == (RUNNING, 30, 3, "")
    task = await at.report(task_id, 100, work_date=FRIDAY, employee_id="SOMEBODY")
    assert (task.state, task.progress_percent, task.complete_date) == (COMPLETED, 100, FRIDAY)
    event = await _last_event(at, task_id)
    assert (event.aggregate_version, event.project_id) == (4, at.project_id)
    said = event.sprint_task_updated
    assert said.task == task
    assert (said.work_date, said.employee_id) == (FRIDAY, "SOMEBODY")
    assert list(said.changed_fields) == ["state", "progress_percent", "complete_date"]
    summary = (await at.sprint(task.sprint_id)).task_summary
    assert (summary.completed_tasks, summary.pending_tasks, summary.completed_points) == (1, 1, 5)


async def test_the_backlog_follows_progress(at: Fixture) -> None:
    await at.report(at.task_ids[0], 40)

    async def followed() -> bool:
        return (await at.task(at.task_ids[0])).progress_percent == 40

    await eventually(followed)
    assert (await at.task(at.task_ids[0])).state == RUNNING


async def test_the_same_report_counts_once(at: Fixture) -> None:
    request = pb.UpdateTaskProgressRequest(task_id=at.task_ids[0], progress_percent=30, request_id=str(uuid4()))
    answers = await asyncio.gather(*(at.sprints.UpdateTaskProgress(request) for _ in range(10)))
    assert {answer.task.version for answer in answers} == {2}
    assert len(await at.events("task.updated")) == 1
    request.progress_percent = 31
    failed = await refused(at.sprints.UpdateTaskProgress(request))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_no_report_is_lost_among_many_at_once(at: Fixture) -> None:
    count = 40
    await asyncio.gather(*(at.report(at.task_ids[0], 1 + n) for n in range(count)))
    sprint = await at.sprint(f"{at.project_id}-S01")
    task = next(task for task in sprint.tasks if task.task_id == at.task_ids[0])
    assert task.version == 1 + count
    entries = await at.world.query(
        "sprint", "SELECT 1 FROM progress_entry WHERE task_id = %(task_id)s", {"task_id": task.task_id}
    )
    assert len(entries) == count
    assert len(await at.events("task.updated")) == count


async def test_reports_at_once_share_a_statement_but_no_fault(at: Fixture) -> None:
    first, second = at.task_ids
    request_id = str(uuid4())
    known = pb.UpdateTaskProgressRequest(task_id=first, progress_percent=20, work_date=FRIDAY, request_id=request_id)
    told = await at.sprints.UpdateTaskProgress(known)
    bad = pb.UpdateTaskProgressRequest(task_id=first, progress_percent=30, work_date=FRIDAY, work_note="a\0b")
    good = [
        pb.UpdateTaskProgressRequest(task_id=second, progress_percent=40 + n, work_date=FRIDAY, request_id=str(uuid4()))
        for n in range(4)
    ]
    refusal = asyncio.create_task(refused(at.sprints.UpdateTaskProgress(bad)))
    again, *answers = await asyncio.gather(
        *(at.sprints.UpdateTaskProgress(request) for request in (known, *good)),
    )
    failed = await refusal
    assert failed.code == "INVALID_ARGUMENT"
    assert again == told
    assert sorted(answer.task.version for answer in answers) == [2, 3, 4, 5]


async def test_work_without_a_day_belongs_to_today_or_the_last_day(world: World, at: Fixture) -> None:
    await at.report(at.task_ids[0], 10)
    assert (await _last_event(at, at.task_ids[0])).sprint_task_updated.work_date == LAST_DAY
    # In this zone the day is another than in UTC for ten hours, and than on this machine for most.
    zone = "Pacific/Pago_Pago"
    there = await make(world, time_zone=zone)
    sprint = await there.started(start_date="", max_tasks=1)
    assert sprint.start_date == datetime.now(ZoneInfo(zone)).date().isoformat()
    await there.report(sprint.tasks[0].task_id, 10)
    assert (await _last_event(there, sprint.tasks[0].task_id)).sprint_task_updated.work_date == sprint.start_date


@pytest.mark.parametrize("day", ["2025-03-02", "2025-03-17"])
async def test_work_outside_the_sprint_is_refused(at: Fixture, day: str) -> None:
    failed = await refused(at.report(at.task_ids[0], 10, work_date=day))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "DATE_OUT_OF_RANGE")
    assert (failed.metadata["field"], failed.metadata["value"]) == ("work_date", day)
    await at.report(at.task_ids[0], 50)
    failed = await refused(_raise(at, raise_date=day))
    assert (failed.code, failed.reason, failed.metadata["field"]) == (
        "INVALID_ARGUMENT",
        "DATE_OUT_OF_RANGE",
        "raise_date",
    )


async def test_work_in_the_future_is_refused(world: World) -> None:
    at = await make(world)
    today = datetime.now(UTC).date()
    await at.start(start_date=today.isoformat())
    tomorrow = (today + timedelta(days=1)).isoformat()
    failed = await refused(at.report(at.task_ids[0], 10, work_date=tomorrow))
    assert (failed.reason, failed.metadata["field"]) == ("DATE_OUT_OF_RANGE", "work_date")
    later = await make(world)
    await later.start(start_date=tomorrow)
    assert (await refused(later.report(later.task_ids[0], 10))).reason == "DATE_OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("fields", "field"),
    [({"progress_percent": 101}, "progress_percent"), ({"progress_percent": -1}, "progress_percent"),
     ({"work_date": "2025-02-30"}, "work_date"), ({"task_id": "X"}, "task_id")],
)  # fmt: skip
async def test_bad_reports_name_the_field(at: Fixture, fields: dict[str, object], field: str) -> None:
    values = {"task_id": at.task_ids[0], "progress_percent": 10} | fields
    failed = await refused(at.sprints.UpdateTaskProgress(pb.UpdateTaskProgressRequest(**values)))  # type: ignore[arg-type]
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", field)


async def test_what_is_completed_stays_completed(at: Fixture) -> None:
    await at.report(at.task_ids[0], 100)
    failed = await refused(at.report(at.task_ids[0], 50))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "INVALID_TASK_TRANSITION")
    assert failed.metadata == {"task_id": at.task_ids[0], "from": "COMPLETED", "to": "IN_PROGRESS"}


async def test_a_task_in_no_open_sprint_is_not_found(world: World, at: Fixture) -> None:
    other = await make(world)
    for call in (at.report(other.task_ids[0], 10), _raise(at, task_id=other.task_ids[0])):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("NOT_FOUND", "TASK_NOT_IN_SPRINT")
        assert failed.metadata == {"task_id": other.task_ids[0]}


async def test_work_with_an_impediment_blocks_the_task(at: Fixture) -> None:
    request = pb.UpdateTaskProgressRequest(
        task_id=at.task_ids[0], progress_percent=20, impediment="No access", work_date=MONDAY, request_id=str(uuid4())
    )
    answer = await at.sprints.UpdateTaskProgress(request)
    assert (answer.task.state, answer.task.progress_percent) == (BLOCKED, 20)
    impediment = answer.impediment
    assert (impediment.text, impediment.state, impediment.raise_date) == ("No access", OPEN, MONDAY)
    assert impediment.raised_by == answer.task.assignee_id
    assert await at.sprints.UpdateTaskProgress(request) == answer
    assert (await at.report(at.task_ids[0], 30)).state == RUNNING


@pytest.mark.parametrize("percent", [0, 100])
async def test_only_work_under_way_is_blocked(at: Fixture, percent: int) -> None:
    failed = await refused(at.report(at.task_ids[0], percent, impediment="No access"))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "INVALID_TASK_TRANSITION")
    assert failed.metadata["to"] == "BLOCKED"
    assert (await at.report(at.task_ids[0], 10)).version == 2


async def test_an_impediment_blocks_until_the_last_is_resolved(at: Fixture) -> None:
    assert (await refused(_raise(at))).reason == "INVALID_TASK_TRANSITION"
    await at.report(at.task_ids[0], 10)
    request_id = str(uuid4())
    first = await _raise(at, owner_id="BOSS", raised_by="E1", raise_date=FRIDAY, request_id=request_id)
    assert await _raise(at, owner_id="BOSS", raised_by="E1", raise_date=FRIDAY, request_id=request_id) == first
    impediment = first.impediment
    assert (first.task.state, impediment.owner_id, impediment.raised_by) == (BLOCKED, "BOSS", "E1")
    assert (impediment.raise_date, impediment.sprint_id) == (FRIDAY, first.task.sprint_id)
    second = await _raise(at, text="No time")
    half = await _resolve(at, impediment.impediment_id, resolution="Granted")
    assert (half.impediment.state, half.impediment.resolution, half.task.state) == (RESOLVED, "Granted", BLOCKED)
    whole = await _resolve(at, second.impediment.impediment_id)
    assert whole.task.state == RUNNING
    failed = await refused(_resolve(at, impediment.impediment_id))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "IMPEDIMENT_RESOLVED")
    unknown = str(uuid4())
    failed = await refused(_resolve(at, unknown))
    assert (failed.code, failed.reason, failed.metadata) == (
        "NOT_FOUND",
        "IMPEDIMENT_NOT_FOUND",
        {"impediment_id": unknown},
    )


async def test_the_day_of_resolving_is_said_or_today_or_not_known(world: World, at: Fixture) -> None:
    await at.report(at.task_ids[0], 10)
    raised = [(await _raise(at, raise_date=FRIDAY)).impediment for _ in range(2)]
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    for day in ("2025-03-06", tomorrow):
        failed = await refused(_resolve(at, raised[0].impediment_id, resolve_date=day))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "DATE_OUT_OF_RANGE")
        assert (failed.metadata["field"], failed.metadata["value"]) == ("resolve_date", day)
    said = await _resolve(at, raised[0].impediment_id, resolve_date="2025-03-11")
    # The sprint's last day is long past: that it was today is as unlikely as any other day.
    silent = await _resolve(at, raised[1].impediment_id)
    assert (said.impediment.resolve_date, silent.impediment.resolve_date) == ("2025-03-11", "")
    close = pb.CloseSprintRequest(sprint_id=raised[0].sprint_id, close_date=LAST_DAY, dry_run=True)
    lessons = (await at.sprints.CloseSprint(close)).retrospective.what_went_well
    assert any(text.startswith("2 of 2 impediments resolved, after 2 working days") for text in lessons)
    there = await make(world)
    sprint = await there.started(start_date="", max_tasks=1)
    await there.report(sprint.tasks[0].task_id, 10)
    raised_now = await _raise(there, task_id=sprint.tasks[0].task_id)
    resolved = (await _resolve(there, raised_now.impediment.impediment_id)).impediment
    assert resolved.resolve_date == resolved.raise_date == sprint.start_date


async def test_impediments_resolved_at_once_free_the_task(at: Fixture) -> None:
    await at.report(at.task_ids[0], 10)
    raised = [(await _raise(at)).impediment.impediment_id for _ in range(6)]
    answers = await asyncio.gather(*(_resolve(at, impediment_id) for impediment_id in raised))
    assert max(answer.task.version for answer in answers) == 9
    assert [answer.task.state for answer in answers].count(RUNNING) == 1


async def test_an_impediment_outlives_its_sprint(at: Fixture) -> None:
    await at.report(at.task_ids[0], 10)
    raised = await _raise(at)
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=raised.task.sprint_id))
    resolved = await _resolve(at, raised.impediment.impediment_id)
    assert (resolved.impediment.state, resolved.HasField("task")) == (RESOLVED, False)


async def test_impediments_are_listed_last_raised_first_in_pages(at: Fixture) -> None:
    for task_id in at.task_ids:
        await at.report(task_id, 10)
    raised = [(await _raise(at, task_id=at.task_ids[n % 2], text=f"{n}")).impediment for n in range(5)]
    request = pb.ListImpedimentsRequest(project_id=at.project_id, page_size=3)
    first = await at.sprints.ListImpediments(request)
    request.page_token = first.next_page_token
    second = await at.sprints.ListImpediments(request)
    assert [*first.impediments, *second.impediments] == raised[::-1]
    request.page_token = "wrong"
    failed = await refused(at.sprints.ListImpediments(request))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    await _resolve(at, raised[0].impediment_id)
    for filters, texts in (
        ({"task_id": at.task_ids[1]}, ["3", "1"]),
        ({"sprint_id": raised[0].sprint_id, "state": RESOLVED}, ["0"]),
        ({"project_id": at.project_id, "state": OPEN}, ["4", "3", "2", "1"]),
    ):
        found = await at.sprints.ListImpediments(pb.ListImpedimentsRequest(**filters))
        assert [impediment.text for impediment in found.impediments] == texts


async def test_a_burndown_shows_what_was_left_each_day(at: Fixture) -> None:
    task = await at.report(at.task_ids[0], 100, work_date=SATURDAY)
    answer = await at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=task.sprint_id))
    assert (answer.start_points, answer.start_tasks, len(answer.days)) == (8, 2, 14)
    assert [day.remaining_points for day in answer.days[4:7]] == [8, 3, 3]
    assert [day.working_day for day in answer.days[3:7]] == [True, True, False, False]
    assert answer.days[0].ideal_points == pytest.approx(7.2)
    assert answer.days[-1].ideal_points == 0


async def test_days_to_come_have_no_figures(world: World) -> None:
    at = await make(world)
    sprint = await at.started(start_date=datetime.now(UTC).date().isoformat(), duration_weeks=1)
    days = (await at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=sprint.sprint_id))).days
    assert days[0].HasField("remaining_tasks")
    assert not any(day.HasField("remaining_points") for day in days[2:])


async def test_progress_and_closing_do_not_pass_each_other(at: Fixture) -> None:
    sprint_id = f"{at.project_id}-S01"
    reports = [at.report(at.task_ids[0], percent) for percent in range(1, 20)]
    closing = at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint_id))
    *answers, closed = await asyncio.gather(*reports, closing, return_exceptions=True)
    assert isinstance(closed, pb.CloseSprintResponse)
    reached = [answer.version for answer in answers if isinstance(answer, sprint_pb2.SprintTask)]
    refusals = [answer for answer in answers if isinstance(answer, grpc.aio.AioRpcError)]
    assert len(reached) + len(refusals) == 19
    ended = next(t for t in (await at.sprint(sprint_id)).tasks if t.task_id == at.task_ids[0])
    # Every report that was answered OK is in, and nothing came after the version that the backlog was given.
    assert ended.version == max(reached, default=1) + 1
