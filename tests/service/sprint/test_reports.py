"""Progress that comes as events, RunScrum, which makes such, and projects that are archived."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from dsm.backlog.v1 import task_pb2
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.project.v1 import project_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import daily_scrum_service_pb2 as daily
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from dsm.sprint.v1.daily_scrum_service_pb2_grpc import DailyScrumServiceStub

from tests.harness import World, eventually, refused
from tests.service.sprint.sprints import FRIDAY, LAST_DAY, MONDAY, Fixture, make, under_way

RUNNING = task_pb2.TASK_STATE_IN_PROGRESS
BLOCKED = task_pb2.TASK_STATE_BLOCKED
COMPLETED = task_pb2.TASK_STATE_COMPLETED
SUBJECT = "dsm.in.sprint.v1.task.progressed"
NOON = datetime(2025, 3, 5, 12, tzinfo=UTC)


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint under way with two tasks."""
    return await under_way(world)


def _event(task_id: str, percent: int, minute: int = 0, **fields: object) -> event_pb2.Event:
    """A report some minutes after noon on Wednesday, 5 March 2025."""
    event = event_pb2.Event(event_id=str(uuid4()), aggregate_type="task", aggregate_id=task_id)
    event.event_time.FromDatetime(NOON + timedelta(minutes=minute))
    said = sprint_events_pb2.TaskProgressed(task_id=task_id, new_total_progress=percent, **fields)  # type: ignore[arg-type]
    event.task_progressed.CopyFrom(said)
    return event


async def _publish(world: World, *events: event_pb2.Event | bytes) -> None:
    """Send events as any producer does; DSM has made the stream."""
    async with world.jetstream() as js:
        for event in events:
            await js.publish(SUBJECT, event if isinstance(event, bytes) else event.SerializeToString())


async def _verdict(at: Fixture, event: event_pb2.Event) -> str:
    """What became of a report, once it is known."""
    sql = "SELECT verdict FROM reported_progress WHERE event_id = %(event_id)s"
    rows = await eventually(lambda: at.world.query("sprint", sql, {"event_id": event.event_id}))
    return str(rows[0]["verdict"])


async def _task(at: Fixture, task_id: str) -> sprint_pb2.SprintTask:
    sprint = await at.sprint(f"{at.project_id}-S01")
    return next(task for task in sprint.tasks if task.task_id == task_id)


async def test_a_report_counts_as_if_it_had_been_called_in(at: Fixture) -> None:
    task_id = at.task_ids[0]
    event = _event(task_id, 40, yesterday_work="Began", today_work="Go on", employee_id="BOT")
    await _publish(at.world, event)
    assert await _verdict(at, event) == "APPLIED"
    task = await _task(at, task_id)
    assert (task.state, task.progress_percent, task.version) == (RUNNING, 40, 2)

    async def followed() -> bool:
        return (await at.task(task_id)).progress_percent == 40

    await eventually(followed)
    request = pb.RunDailyScrumRequest(sprint_id=task.sprint_id, report_date=FRIDAY)
    report = (await at.sprints.RunDailyScrum(request)).report
    [said] = [part.tasks[0] for part in report.reports if part.employee_id == "BOT"]
    assert (said.yesterday_work, said.today_work) == ("Began", "Go on")


async def test_the_documented_example_reports_progress(at: Fixture) -> None:
    example = Path(__file__).parents[3] / "docs" / "examples" / "report_progress.py"
    command = (sys.executable, str(example), at.world.stack.nats.url, at.task_ids[0], "60", "Wired up the sensor")
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0

    async def worked() -> bool:
        return (await _task(at, at.task_ids[0])).progress_percent == 60

    await eventually(worked)


async def test_the_same_report_counts_once(at: Fixture) -> None:
    event = _event(at.task_ids[0], 40)
    last = _event(at.task_ids[1], 10)
    await _publish(at.world, *[event] * 10, last)
    assert await _verdict(at, last) == "APPLIED"
    assert (await _task(at, at.task_ids[0])).version == 2


async def test_an_older_report_is_ignored_also_after_a_call(at: Fixture) -> None:
    task_id = at.task_ids[0]
    late, early = _event(task_id, 60, minute=5), _event(task_id, 30, minute=4)
    await _publish(at.world, late, early)
    assert await _verdict(at, early) == "OLDER"
    assert (await _task(at, task_id)).progress_percent == 60
    await at.report(task_id, 70)
    after = _event(task_id, 65, minute=6)
    await _publish(at.world, after)
    assert await _verdict(at, after) == "OLDER"
    # One without a time of its own, or from a clock that is ahead, was made now.
    for percent, time in ((80, None), (90, datetime.now(UTC) + timedelta(days=3)), (95, None)):
        event = _event(task_id, percent)
        event.ClearField("event_time")
        if time:
            event.event_time.FromDatetime(time)
        await _publish(at.world, event)
        assert await _verdict(at, event) == "APPLIED"
    assert (await _task(at, task_id)).progress_percent == 95


async def test_reports_in_any_order_end_in_the_latest(at: Fixture) -> None:
    minutes = [7, 2, 9, 4, 0, 8, 3, 6, 1, 5]
    events = [_event(task_id, 10 + minute, minute) for minute in minutes for task_id in at.task_ids]
    await _publish(at.world, *events)
    for event in events:
        await _verdict(at, event)
    assert [(await _task(at, task_id)).progress_percent for task_id in at.task_ids] == [19, 19]


async def test_after_the_end_a_report_is_recorded_and_nothing_else(at: Fixture) -> None:
    task_id = at.task_ids[0]
    done = _event(task_id, 100)
    more = _event(task_id, 50, minute=1)
    stranger = _event(f"{at.project_id}-TASK999", 10)
    other_sprint = _event(at.task_ids[1], 10, sprint_id=f"{at.project_id}-S09")
    await _publish(at.world, done, more, stranger, other_sprint)
    assert [await _verdict(at, event) for event in (done, more, stranger, other_sprint)] == [
        "APPLIED",
        "COMPLETED",
        "NOT_IN_SPRINT",
        "NOT_IN_SPRINT",
    ]
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{at.project_id}-S01"))
    before = await at.sprint(f"{at.project_id}-S01")
    late = _event(at.task_ids[1], 50)
    await _publish(at.world, late)
    assert await _verdict(at, late) == "NOT_IN_SPRINT"
    assert await at.sprint(before.sprint_id) == before
    # A late report of a sprint that is over is older than the task's new sprint, too.
    await at.start(start_date="2025-03-17", max_tasks=1)
    late = _event(at.task_ids[1], 60, sprint_id=before.sprint_id)
    await _publish(at.world, late)
    assert await _verdict(at, late) == "NOT_IN_SPRINT"


async def test_an_impediment_is_raised_once(at: Fixture) -> None:
    task_id = at.task_ids[0]
    first = _event(task_id, 20, impediments="No access", employee_id="E1")
    again = _event(task_id, 30, minute=1, impediments="No access")
    free = _event(at.task_ids[1], 30, impediments="None.")
    await _publish(at.world, first, again, free)
    for event in (first, again, free):
        assert await _verdict(at, event) == "APPLIED"
    [impediment] = (
        await at.sprints.ListImpediments(pb.ListImpedimentsRequest(sprint_id=f"{at.project_id}-S01"))
    ).impediments
    assert (impediment.text, impediment.raised_by, impediment.raise_date) == ("No access", "E1", "2025-03-05")
    assert [(await _task(at, task_id)).state for task_id in at.task_ids] == [BLOCKED, RUNNING]
    assert len(await at.world.query(
        "sprint",
        "SELECT 1 FROM outbox WHERE subject = 'dsm.sprint.v1.impediment.raised' AND aggregate_id = %(id)s",
        {"id": impediment.impediment_id},
    )) == 1  # fmt: skip


async def test_the_day_is_that_of_the_project(world: World) -> None:
    at = await make(world, points=(5, 3, 2), time_zone="Pacific/Auckland")
    await at.start(max_tasks=3)
    # Noon in UTC is the next day in New Zealand.
    first = _event(at.task_ids[0], 100)
    given = _event(at.task_ids[1], 100, work_date=MONDAY)
    after_the_end = _event(at.task_ids[2], 100, minute=60 * 24 * 100)
    await _publish(world, first, given, after_the_end)
    for event in (first, given, after_the_end):
        assert await _verdict(at, event) == "APPLIED"
    days = [(await _task(at, task_id)).complete_date for task_id in at.task_ids]
    assert days == ["2025-03-06", MONDAY, LAST_DAY]


async def test_what_breaks_a_rule_is_a_dead_letter_and_holds_nobody_up(at: Fixture) -> None:
    task_id = at.task_ids[0]
    bad = [
        _event("nonsense", 10),
        _event(task_id, 101),
        _event(task_id, -1),
        _event(task_id, 10, work_date="2025-02-30"),
        _event(task_id, 10, minute=5, work_date="2025-03-17"),
        _event(task_id, 10, yesterday_work="x" * 4001),
    ]
    good = _event(task_id, 30, minute=1)
    await _publish(at.world, *bad[:3], b"\xff\xff", good, *bad[3:])
    assert await _verdict(at, good) == "APPLIED"

    async def buried() -> bool:
        rows = await at.world.query(
            "sprint", "SELECT payload FROM dead_letter WHERE consumer = 'sprint-dsm_sprint_in' AND attempts = 1"
        )
        payloads = {bytes(row["payload"]) for row in rows}
        return {event.SerializeToString() for event in bad} | {b"\xff\xff"} <= payloads

    await eventually(buried)
    assert (await _task(at, task_id)).version == 2


async def test_a_scrum_of_old_reports_by_events(at: Fixture) -> None:
    stub = DailyScrumServiceStub(await at.world.channel("sprint"))
    sprint_id = f"{at.project_id}-S01"
    request_id = str(uuid4())
    answer = await stub.RunScrum(daily.RunScrumRequest(sprint_id=sprint_id, seed=7, request_id=request_id))
    assert answer.event_count == 2
    assert await stub.RunScrum(daily.RunScrumRequest(sprint_id=sprint_id, seed=7, request_id=request_id)) == answer
    failed = await refused(stub.RunScrum(daily.RunScrumRequest(sprint_id=sprint_id, seed=8, request_id=request_id)))
    assert failed.reason == "REQUEST_ID_REUSED"

    async def worked() -> list[sprint_pb2.SprintTask]:
        tasks = list((await at.sprint(sprint_id)).tasks)
        return tasks if all(task.progress_percent for task in tasks) else []

    tasks = await eventually(worked)
    assert {task.version for task in tasks} == {2}
    rows = await at.world.query(
        "sprint",
        "SELECT count(*) AS events FROM outbox WHERE subject = %(subject)s AND project_id = %(project_id)s",
        {"subject": SUBJECT, "project_id": at.project_id},
    )
    assert rows == [{"events": 2}]
    assert (await refused(stub.RunScrum(daily.RunScrumRequest(sprint_id="NO-S01")))).reason == "SPRINT_NOT_FOUND"
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint_id))
    failed = await refused(stub.RunScrum(daily.RunScrumRequest(sprint_id=sprint_id)))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "SPRINT_NOT_IN_PROGRESS")


async def test_a_scrum_of_old_is_the_same_for_the_same_seed(world: World) -> None:
    stub = DailyScrumServiceStub(await world.channel("sprint"))
    ends = []
    for seed in (7, 7, 8):
        at = await make(world, points=(13, 13))
        await at.start(max_tasks=2)
        sprint_id = f"{at.project_id}-S01"
        await stub.RunScrum(daily.RunScrumRequest(sprint_id=sprint_id, seed=seed))

        async def worked(at: Fixture = at, sprint_id: str = sprint_id) -> list[int]:
            made = [task.progress_percent for task in (await at.sprint(sprint_id)).tasks]
            return made if all(made) else []

        ends.append(await eventually(worked))
    assert ends[0] == ends[1] != ends[2]


async def test_an_archived_project_is_read_only(at: Fixture) -> None:
    sprint_id, task_id = f"{at.project_id}-S01", at.task_ids[0]
    await at.report(task_id, 10)
    raised = await at.sprints.RaiseImpediment(pb.RaiseImpedimentRequest(task_id=task_id, text="Stuck"))
    await _set_status(at, project_pb2.PROJECT_STATUS_ARCHIVED)
    known = "SELECT 1 FROM project_state WHERE project_id = %(project_id)s AND status = 'ARCHIVED'"
    await eventually(lambda: at.world.query("sprint", known, {"project_id": at.project_id}))
    stub = DailyScrumServiceStub(await at.world.channel("sprint"))
    sprints = at.sprints
    for call in (
        at.report(task_id, 50),
        at.report(task_id, 50, impediment="More"),
        sprints.RaiseImpediment(pb.RaiseImpedimentRequest(task_id=task_id, text="More")),
        sprints.ResolveImpediment(pb.ResolveImpedimentRequest(impediment_id=raised.impediment.impediment_id)),
        sprints.RunDailyScrum(pb.RunDailyScrumRequest(sprint_id=sprint_id, report_date=FRIDAY)),
        sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint_id)),
        sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint_id, dry_run=True)),
        sprints.AddTaskToSprint(pb.AddTaskToSprintRequest(sprint_id=sprint_id, task_id=f"{at.project_id}-TASK999")),
        sprints.RemoveTaskFromSprint(pb.RemoveTaskFromSprintRequest(sprint_id=sprint_id, task_id=task_id)),
        sprints.ReassignTask(pb.ReassignTaskRequest(sprint_id=sprint_id, task_id=task_id)),
        sprints.CancelSprintTask(pb.CancelSprintTaskRequest(sprint_id=sprint_id, task_id=task_id)),
        stub.RunScrum(daily.RunScrumRequest(sprint_id=sprint_id)),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "PROJECT_ARCHIVED")
        assert failed.metadata == {"project_id": at.project_id}
    event = _event(at.task_ids[1], 50)
    await _publish(at.world, event)
    assert await _verdict(at, event) == "ARCHIVED"
    # Reading goes on, and work does once the project is back.
    assert (await at.sprint(sprint_id)).state == sprint_pb2.SPRINT_STATE_IN_PROGRESS
    await _set_status(at, project_pb2.PROJECT_STATUS_ACTIVE)
    active = "SELECT 1 FROM project_state WHERE project_id = %(project_id)s AND status = 'ACTIVE'"
    await eventually(lambda: at.world.query("sprint", active, {"project_id": at.project_id}))
    assert (await at.report(task_id, 60)).progress_percent == 60


async def _set_status(at: Fixture, status: project_pb2.ProjectStatus.ValueType) -> None:
    request = project.SetProjectStatusRequest(project_id=at.project_id, status=status)
    await at.projects.SetProjectStatus(request)


async def test_many_reports_and_calls_at_once_lose_nothing(at: Fixture) -> None:
    task_id, each = at.task_ids[0], 30
    now = datetime.now(UTC) - timedelta(hours=1)
    events = []
    for number in range(each):
        event = _event(at.task_ids[1], 1 + number)
        event.event_time.FromDatetime(now + timedelta(seconds=number))
        events.append(event)
    await asyncio.gather(_publish(at.world, *events), *(at.report(task_id, 1 + n) for n in range(each)))
    assert await _verdict(at, events[-1]) == "APPLIED"
    called, reported = [await _task(at, one) for one in at.task_ids[:2]]
    assert called.version == 1 + each
    # A report that is delivered again after a newer one was applied is passed over, as the contract says.
    assert reported.progress_percent == each
    assert reported.version <= 1 + each
