"""Daily scrums by schedule, on real sockets: wished for, kept, missed, made up for, ended."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.events.v1 import event_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1 import schedule_pb2
from dsm.project.v1 import project_pb2, project_service_pb2
from dsm.sprint.v1 import sprint_service_pb2
from google.protobuf.field_mask_pb2 import FieldMask
from google.type import dayofweek_pb2

from services.kit.data.database import Database
from services.kit.settings import load
from services.orchestrator.main import SETTINGS, build
from services.orchestrator.store.schedules import claim
from tests.harness import World, eventually, refused
from tests.service.orchestrator.orchestrations import CLOSE, DONE, SCHEDULE, SKIPPED, START, TODAY, Dsm, states

EVERY_DAY = [dayofweek_pb2.DayOfWeek.Value(name) for name in dayofweek_pb2.DayOfWeek.keys()[1:]]


async def _works_every_day(dsm: Dsm, project_id: str, days: list[Any] | None = None) -> None:
    """Let a project have no days off, whatever today is; or just these days."""
    project = project_pb2.Project(project_id=project_id, working_days=EVERY_DAY if days is None else days)
    mask = FieldMask(paths=["working_days"])
    await dsm.projects.UpdateProject(project_service_pb2.UpdateProjectRequest(project=project, update_mask=mask))


async def _jobs(dsm: Dsm, project_id: str) -> list[schedule_pb2.CronJob]:
    answer = await dsm.orchestrator.ListCronJobs(pb.ListCronJobsRequest(project_id=project_id))
    return list(answer.cron_jobs)


async def _delete(dsm: Dsm, project_id: str, name: str, **more: Any) -> pb.DeleteCronJobResponse:
    request = pb.DeleteCronJobRequest(project_id=project_id, cron_job_name=name, **more)
    answer: pb.DeleteCronJobResponse = await dsm.orchestrator.DeleteCronJob(request)
    return answer


async def _start(dsm: Dsm, project_id: str, **more: Any) -> str:
    """Start a sprint past the orchestrator."""
    answer = await dsm.sprints.StartSprint(sprint_service_pb2.StartSprintRequest(project_id=project_id, **more))
    sprint_id: str = answer.sprint.sprint_id
    return sprint_id


async def _close(dsm: Dsm, sprint_id: str) -> None:
    await dsm.sprints.CloseSprint(sprint_service_pb2.CloseSprintRequest(sprint_id=sprint_id))


async def _due(dsm: Dsm, sprint_id: str, ago: timedelta) -> datetime:
    """Let a cron job's next run be one that was planned some time ago."""
    planned = datetime.now(UTC) - ago
    sql = "UPDATE cron_job SET next_run_time = %(planned)s WHERE sprint_id = %(sprint_id)s"
    await dsm.world.query("orchestrator", sql, {"planned": planned, "sprint_id": sprint_id})
    return planned


async def _result(dsm: Dsm, project_id: str) -> str:
    [job] = await _jobs(dsm, project_id)
    return job.last_run_result


async def _reports(dsm: Dsm, sprint_id: str) -> list[str]:
    """The days of a sprint that have a report."""
    rows = await dsm.world.query(
        "sprint", "SELECT report_date FROM daily_scrum WHERE sprint_id = %(s)s ORDER BY 1", {"s": sprint_id}
    )
    return [row["report_date"].isoformat() for row in rows]


# --- the wish ---------------------------------------------------------------------------------


async def test_an_orchestration_schedules_the_daily_scrum(dsm: Dsm) -> None:
    await dsm.project("SCH-WISH")
    record = await dsm.orchestrate("SCH-WISH", schedule="30 9 * * MON-FRI")
    assert states(record) == {CLOSE: SKIPPED, START: DONE, SCHEDULE: DONE}
    action = record.actions[2]
    assert (action.sprint_id, action.cron_job_name) == ("SCH-WISH-S01", "run-dailyscrum-sch-wish-s01")
    [job] = await _jobs(dsm, "SCH-WISH")
    assert (job.name, job.sprint_id, job.schedule, job.time_zone) == (
        action.cron_job_name,
        "SCH-WISH-S01",
        "30 9 * * MON-FRI",
        "UTC",
    )
    assert (job.runner, job.namespace) == (schedule_pb2.CRON_JOB_RUNNER_SERVICE, "")
    assert (job.state, job.state_reason) == (schedule_pb2.CRON_JOB_STATE_ACTIVE, "")
    planned = job.next_run_time.ToDatetime(tzinfo=UTC)
    assert (planned.hour, planned.minute, planned.weekday() < 5) == (9, 30, True)
    assert planned > datetime.now(UTC)
    assert not job.HasField("last_run_time")
    status = await dsm.status("SCH-WISH")
    assert list(status.cron_jobs) == [job]
    assert (status.schedule.wanted, status.schedule.schedule) == (True, "30 9 * * MON-FRI")
    # Without a schedule of its own, the next orchestration keeps the present one.
    again = await dsm.orchestrate("SCH-WISH")
    assert states(again)[SCHEDULE] == DONE
    assert (await dsm.status("SCH-WISH")).schedule == status.schedule
    # Another schedule changes the job.
    await dsm.orchestrate("SCH-WISH", schedule="0 17 * * *")
    [changed] = await _jobs(dsm, "SCH-WISH")
    assert (changed.name, changed.schedule, changed.next_run_time.ToDatetime().hour) == (job.name, "0 17 * * *", 17)
    rows = await dsm.world.query(
        "orchestrator",
        "SELECT aggregate_version FROM outbox WHERE aggregate_id = 'SCH-WISH'"
        " AND subject = 'dsm.orchestrator.v1.daily_scrum_schedule.changed' ORDER BY position",
    )
    assert [row["aggregate_version"] for row in rows] == [1, 2]


async def test_who_does_not_want_it_has_none(dsm: Dsm) -> None:
    await dsm.project("SCH-NONE")
    record = await dsm.orchestrate("SCH-NONE", create_cronjob=False)
    assert states(record)[SCHEDULE] == SKIPPED
    assert not await _jobs(dsm, "SCH-NONE")
    assert not (await dsm.status("SCH-NONE")).HasField("schedule")
    failed = await refused(dsm.orchestrate("SCH-NONE", schedule="every day"))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "SCHEDULE_INVALID")
    assert failed.metadata["field"] == "options.schedule"


async def test_the_wish_outlives_the_sprints(dsm: Dsm) -> None:
    await dsm.project("SCH-NEXT", tasks=6)
    await dsm.orchestrate("SCH-NEXT", max_tasks_per_sprint=2, schedule="0 10 * * *")
    await _close(dsm, "SCH-NEXT-S01")

    async def none() -> bool:
        return not await _jobs(dsm, "SCH-NEXT")

    await eventually(none)
    assert (await dsm.status("SCH-NEXT")).schedule.wanted
    # A sprint that the orchestrator did not start has one too.
    sprint_id = await _start(dsm, "SCH-NEXT", max_tasks=2)

    async def one() -> bool:
        return [job.sprint_id for job in await _jobs(dsm, "SCH-NEXT")] == [sprint_id]

    await eventually(one)
    [job] = await _jobs(dsm, "SCH-NEXT")
    assert job.schedule == "0 10 * * *"


async def test_deleting_the_cron_job_ends_the_wish(dsm: Dsm) -> None:
    await dsm.project("SCH-END", tasks=6)
    await dsm.orchestrate("SCH-END", max_tasks_per_sprint=2)
    [job] = await _jobs(dsm, "SCH-END")
    request_id = str(uuid4())
    answer = await _delete(dsm, "SCH-END", job.name, request_id=request_id)
    assert answer.cron_job == job
    assert (answer.schedule.wanted, answer.schedule.schedule) == (False, "0 14 * * 1-5")
    assert not await _jobs(dsm, "SCH-END")
    assert await _delete(dsm, "SCH-END", job.name, request_id=request_id) == answer
    failed = await refused(_delete(dsm, "SCH-END", job.name))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "CRON_JOB_NOT_FOUND")
    assert failed.metadata == {"project_id": "SCH-END", "cron_job_name": job.name}
    failed = await refused(_delete(dsm, "SCH-END", "other", request_id=request_id))
    assert failed.reason == "REQUEST_ID_REUSED"
    # Neither the next sprint nor the next orchestration brings it back, unless it is asked for.
    await _close(dsm, "SCH-END-S01")
    record = await dsm.orchestrate("SCH-END", max_tasks_per_sprint=2)
    assert states(record) == {CLOSE: SKIPPED, START: DONE, SCHEDULE: SKIPPED}
    assert not await _jobs(dsm, "SCH-END")
    record = await dsm.orchestrate("SCH-END", create_cronjob=True)
    assert states(record)[SCHEDULE] == DONE
    assert [job.sprint_id for job in await _jobs(dsm, "SCH-END")] == [record.actions[2].sprint_id]


async def test_a_job_is_its_project_s(dsm: Dsm) -> None:
    await dsm.project("SCH-MINE")
    await dsm.orchestrate("SCH-MINE")
    failed = await refused(_delete(dsm, "SCH-OTHER", "run-dailyscrum-sch-mine-s01"))
    assert failed.reason == "CRON_JOB_NOT_FOUND"
    assert await _jobs(dsm, "SCH-MINE")


async def test_pages_of_cron_jobs(dsm: Dsm) -> None:
    names = [f"SCH-PAGE{number}" for number in range(3)]
    for name in names:
        await dsm.project(name, tasks=2)
        await dsm.orchestrate(name)
    found, token = [], ""
    while True:
        answer = await dsm.orchestrator.ListCronJobs(pb.ListCronJobsRequest(page_size=1, page_token=token))
        found += answer.cron_jobs
        token = answer.next_page_token
        if not token:
            break
    keys = [(job.project_id, job.sprint_id) for job in found]
    assert keys == sorted(set(keys))
    assert {job.project_id for job in found} >= set(names)
    other = await dsm.orchestrator.ListCronJobs(pb.ListCronJobsRequest(page_size=1))
    request = pb.ListCronJobsRequest(project_id="SCH-PAGE0", page_token=other.next_page_token)
    failed = await refused(dsm.orchestrator.ListCronJobs(request))
    assert failed.reason == "PAGE_TOKEN_INVALID"


async def test_an_event_that_comes_late_opens_no_sprint_again(dsm: Dsm) -> None:
    await dsm.project("SCH-LATE", tasks=2)
    await dsm.orchestrate("SCH-LATE")
    await _close(dsm, "SCH-LATE-S01")

    async def none() -> bool:
        return not await _jobs(dsm, "SCH-LATE")

    await eventually(none)
    row = await dsm.world.query(
        "sprint",
        "SELECT payload FROM outbox WHERE aggregate_id = 'SCH-LATE-S01' AND subject = 'dsm.sprint.v1.sprint.started'",
    )
    service = build(load(SETTINGS, dsm.world.environ("orchestrator"), "orchestrator"))
    event = event_pb2.Event.FromString(bytes(row[0]["payload"]))
    event.event_id = str(uuid4())
    await service.database.open()
    await service.consumers[0].apply_payload(event.SerializeToString())
    await service.database.close()
    assert not await _jobs(dsm, "SCH-LATE")


# --- runs -------------------------------------------------------------------------------------


async def test_a_daily_scrum_is_held_when_it_is_due(dsm: Dsm) -> None:
    await dsm.project("SCH-RUN")
    await _works_every_day(dsm, "SCH-RUN")
    await dsm.orchestrate("SCH-RUN", schedule="0 14 * * *", start_date=(TODAY - timedelta(days=3)).isoformat())
    planned = await _due(dsm, "SCH-RUN-S01", timedelta(seconds=5))

    async def held() -> bool:
        return bool(await _result(dsm, "SCH-RUN"))

    await eventually(held)
    [job] = await _jobs(dsm, "SCH-RUN")
    assert abs(job.last_run_time.ToDatetime(tzinfo=UTC) - planned) < timedelta(days=1)
    assert job.next_run_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
    [day] = await _reports(dsm, "SCH-RUN-S01")
    assert day == job.last_run_time.ToDatetime(tzinfo=UTC).date().isoformat()
    stub = ChronicleServiceStub(await dsm.world.channel("chronicle"))

    async def in_the_chronicle() -> bool:
        request = chronicle_service_pb2.ListDailyScrumsRequest(project_id="SCH-RUN")
        return bool((await stub.ListDailyScrums(request)).days)

    await eventually(in_the_chronicle)
    # The same again finds the day's report, and the time of it is as planned.
    await _due(dsm, "SCH-RUN-S01", timedelta(seconds=5))

    async def again() -> bool:
        return await _result(dsm, "SCH-RUN") == "The day had its report already."

    await eventually(again)
    assert len(await _reports(dsm, "SCH-RUN-S01")) == 1


async def test_of_missed_runs_the_last_is_made_up_for(dsm: Dsm) -> None:
    await dsm.project("SCH-MISSED")
    await _works_every_day(dsm, "SCH-MISSED")
    now = datetime.now(UTC)
    schedule = f"{(now - timedelta(hours=3)):%M %H} * * *"
    start = (TODAY - timedelta(days=6)).isoformat()
    await dsm.orchestrate("SCH-MISSED", schedule=schedule, start_date=start, sprint_duration_weeks=2)
    await _due(dsm, "SCH-MISSED-S01", timedelta(days=4))

    async def held() -> bool:
        return (await _result(dsm, "SCH-MISSED")).startswith("Reported")

    await eventually(held)
    # Four were missed; only the last is held, for its own day.
    assert await _reports(dsm, "SCH-MISSED-S01") == [(now - timedelta(hours=3)).date().isoformat()]


async def test_a_day_off_is_an_ordinary_end(dsm: Dsm) -> None:
    await dsm.project("SCH-OFF")
    await dsm.orchestrate("SCH-OFF", schedule="0 14 * * *", start_date=(TODAY - timedelta(days=3)).isoformat())
    # Everybody's day is one that neither today nor yesterday is.
    off = EVERY_DAY[(TODAY.weekday() + 3) % 7]
    await _works_every_day(dsm, "SCH-OFF", [off])
    await _due(dsm, "SCH-OFF-S01", timedelta(seconds=5))

    async def over() -> bool:
        return "Nobody works" in await _result(dsm, "SCH-OFF")

    await eventually(over)
    [job] = await _jobs(dsm, "SCH-OFF")
    assert job.state == schedule_pb2.CRON_JOB_STATE_ACTIVE
    assert job.next_run_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
    assert not await _reports(dsm, "SCH-OFF-S01")


async def test_what_is_too_late_is_missed(dsm: Dsm) -> None:
    await dsm.project("SCH-TOOLATE")
    start = (TODAY - timedelta(days=40)).isoformat()
    await dsm.orchestrate(
        "SCH-TOOLATE", schedule="0 14 * * *", start_date=start, as_of_date=start, sprint_duration_weeks=2
    )
    [job] = await _jobs(dsm, "SCH-TOOLATE")
    assert not job.HasField("next_run_time"), "the sprint's days are over"
    await _due(dsm, "SCH-TOOLATE-S01", timedelta(days=30))

    async def missed() -> bool:
        return "Missed" in await _result(dsm, "SCH-TOOLATE")

    await eventually(missed)
    assert not await _reports(dsm, "SCH-TOOLATE-S01")
    [job] = await _jobs(dsm, "SCH-TOOLATE")
    assert not job.HasField("last_run_time")


async def test_a_run_waits_for_the_sprint_service(dsm: Dsm, own_world: World) -> None:
    await dsm.project("SCH-AWAY")
    await _works_every_day(dsm, "SCH-AWAY")
    await dsm.orchestrate("SCH-AWAY", schedule="0 14 * * *", start_date=(TODAY - timedelta(days=3)).isoformat())
    # The only one that runs what is due has no sprint service.
    await dsm.world.stop("orchestrator")
    try:
        await own_world.start("orchestrator")
        await _due(dsm, "SCH-AWAY-S01", timedelta(seconds=5))

        async def tried() -> bool:
            sql = "SELECT last_run_result FROM cron_job WHERE sprint_id = 'SCH-AWAY-S01'"
            [row] = await dsm.world.query("orchestrator", sql)
            return str(row["last_run_result"]).startswith("Tried again")

        await eventually(tried)
        await own_world.stop("orchestrator")
    finally:
        await dsm.world.start("orchestrator")
    await dsm.world.query("orchestrator", "UPDATE cron_job SET retry_time = now() WHERE sprint_id = 'SCH-AWAY-S01'")

    async def held() -> bool:
        return (await _result(dsm, "SCH-AWAY")).startswith("Reported")

    await eventually(held)


async def test_two_replicas_hold_a_scrum_once(dsm: Dsm, own_world: World) -> None:
    await own_world.start("project", "backlog", "sprint", "chronicle", "embedding", "orchestrator")
    names = [f"SCH-TWO{number}" for number in range(6)]
    for name in names:
        await dsm.project(name, tasks=2)
        await _works_every_day(dsm, name)
        await dsm.orchestrate(name, schedule="0 14 * * *", start_date=(TODAY - timedelta(days=3)).isoformat())
    await asyncio.gather(*(_due(dsm, f"{name}-S01", timedelta(seconds=5)) for name in names))

    async def held() -> bool:
        return all([await _result(dsm, name) for name in names])

    await eventually(held)
    assert {await _result(dsm, name) == "The day had its report already." for name in names} == {False}
    assert [len(await _reports(dsm, f"{name}-S01")) for name in names] == [1] * len(names)


class _Undo(Exception):
    """Ends a transaction without an effect."""


async def test_a_run_is_claimed_by_one_process_at_a_time(dsm: Dsm) -> None:
    for number in range(3):
        await dsm.project(f"SCH-CLAIM{number}", tasks=2)
        await dsm.orchestrate(f"SCH-CLAIM{number}", schedule="* * * * *", sprint_duration_weeks=2)
    database = Database("orchestrator", dsm.world.stack.postgres.url("dsm_orchestrator"))
    await database.open()
    due = datetime.now(UTC) + timedelta(days=1)
    claims = []
    with suppress(_Undo):
        async with database.write(keyed=False) as one, database.write(keyed=False) as other:
            claims = [await claim(tx, due, 60, 1) for tx in (one, other, one)]
            raise _Undo
    await database.close()
    assert len({job.sprint_id for [job] in claims}) == 3
