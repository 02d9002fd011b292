"""Orchestrations by schedule, on real sockets: set, followed over time zones, run, refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.project.v1 import project_pb2, project_service_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from services.orchestrator.domain.schedule import run_id
from services.orchestrator.pipeline import decision_of
from tests.harness import eventually, refused
from tests.service.orchestrator.orchestrations import Dsm


async def _set(dsm: Dsm, project_id: str, schedule: str = "0 6 * * 1-5", **more: Any) -> Any:
    request = pb.SetOrchestrationScheduleRequest(project_id=project_id, schedule=schedule, **more)
    return (await dsm.orchestrator.SetOrchestrationSchedule(request)).schedule


async def test_a_schedule_of_orchestrations_is_set_and_read(dsm: Dsm) -> None:
    await dsm.project("SCH-SET")
    get = pb.GetOrchestrationScheduleRequest(project_id="SCH-SET")
    never = (await dsm.orchestrator.GetOrchestrationSchedule(get)).schedule
    assert (never.enabled, never.schedule, never.HasField("update_time")) == (False, "", False)
    assert not (await dsm.status("SCH-SET")).HasField("orchestration_schedule")
    options = decision_pb2.OrchestrateOptions(max_tasks_per_sprint=3, create_cronjob=False)
    request_id = str(uuid4())
    stored = await _set(dsm, "SCH-SET", enabled=True, options=options, request_id=request_id)
    assert (stored.enabled, stored.schedule, stored.time_zone) == (True, "0 6 * * 1-5", "UTC")
    assert stored.options == options
    assert stored.next_run_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
    assert await _set(dsm, "SCH-SET", enabled=True, options=options, request_id=request_id) == stored
    assert (await dsm.orchestrator.GetOrchestrationSchedule(get)).schedule == stored
    assert (await dsm.status("SCH-SET")).orchestration_schedule == stored
    off = await _set(dsm, "SCH-SET", enabled=False)
    assert (off.enabled, off.HasField("next_run_time")) == (False, False)


async def test_a_schedule_of_orchestrations_follows_the_project_s_time_zone(dsm: Dsm) -> None:
    await dsm.project("SCH-ZONE")
    before = await _set(dsm, "SCH-ZONE", "0 6 * * *", enabled=True)
    await dsm.project("SCH-STAY")
    await _set(dsm, "SCH-STAY", "0 6 * * *", enabled=False)
    mask = FieldMask(paths=["time_zone"])
    for project_id in ("SCH-STAY", "SCH-ZONE"):
        project = project_pb2.Project(project_id=project_id, time_zone="Asia/Tokyo")
        await dsm.projects.UpdateProject(project_service_pb2.UpdateProjectRequest(project=project, update_mask=mask))

    async def moved() -> Any:
        schedule = (await dsm.status("SCH-ZONE")).orchestration_schedule
        return schedule if schedule.time_zone == "Asia/Tokyo" else None

    after = await eventually(moved)
    assert after.next_run_time.ToDatetime().hour == 21
    assert (after.schedule, after.options, after.enabled) == (before.schedule, before.options, True)
    off = (await dsm.status("SCH-STAY")).orchestration_schedule
    assert (off.time_zone, off.enabled, off.HasField("next_run_time")) == ("Asia/Tokyo", False, False)
    rows = await dsm.world.query(
        "orchestrator",
        "SELECT aggregate_version FROM outbox WHERE aggregate_id = 'SCH-ZONE'"
        " AND subject = 'dsm.orchestrator.v1.orchestration_schedule.changed' ORDER BY position",
    )
    assert [row["aggregate_version"] for row in rows] == [1, 2]


async def test_bad_schedules_of_orchestrations(dsm: Dsm) -> None:
    await dsm.project("SCH-BAD")
    for schedule, daily, field in (("daily", "", "schedule"), ("0 6 * * *", "0 14 * *", "options.schedule")):
        options = decision_pb2.OrchestrateOptions(schedule=daily)
        failed = await refused(_set(dsm, "SCH-BAD", schedule, enabled=True, options=options))
        assert (failed.reason, failed.metadata["field"]) == ("SCHEDULE_INVALID", field)
    failed = await refused(_set(dsm, "SCH-NOBODY", enabled=True))
    assert failed.reason == "PROJECT_NOT_FOUND"
    failed = await refused(
        dsm.orchestrator.GetOrchestrationSchedule(pb.GetOrchestrationScheduleRequest(project_id="SCH-NOBODY"))
    )
    assert failed.reason == "PROJECT_NOT_FOUND"
    request = project_service_pb2.SetProjectStatusRequest(
        project_id="SCH-BAD", status=project_pb2.PROJECT_STATUS_ARCHIVED
    )
    await dsm.projects.SetProjectStatus(request)
    assert (await refused(_set(dsm, "SCH-BAD", enabled=True))).reason == "PROJECT_ARCHIVED"


async def test_a_project_is_orchestrated_when_it_is_due(dsm: Dsm) -> None:
    await dsm.project("SCH-ORC")
    await _set(dsm, "SCH-ORC", enabled=True, options=decision_pb2.OrchestrateOptions(max_tasks_per_sprint=3))
    sql = "UPDATE orchestration_schedule SET next_run_time = now() - interval '5 s' WHERE project_id = 'SCH-ORC'"
    await dsm.world.query("orchestrator", sql)

    async def ran() -> Any:
        schedule = (await dsm.status("SCH-ORC")).orchestration_schedule
        return schedule if schedule.last_decision_id else None

    schedule = await eventually(ran)
    assert schedule.next_run_time.ToDatetime(tzinfo=UTC) > datetime.now(UTC)
    assert "SCH-ORC-S01" in schedule.last_run_result
    audit = await dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="SCH-ORC"))
    [decision] = audit.decisions
    assert decision.decision_id == schedule.last_decision_id
    assert decision.options.max_tasks_per_sprint == 3
    assert decision.sprint_id == "SCH-ORC-S01"


async def test_a_run_that_is_repeated_decides_nothing_anew(dsm: Dsm) -> None:
    await dsm.project("SCH-AGAIN")
    planned = (datetime.now(UTC) - timedelta(minutes=1)).replace(second=0, microsecond=0)
    await _set(dsm, "SCH-AGAIN", f"{planned:%M %H} * * *", enabled=True)
    sql = (
        "UPDATE orchestration_schedule SET next_run_time = %(planned)s, retry_time = now(), last_run_result = ''"
        " WHERE project_id = 'SCH-AGAIN'"
    )

    async def ran() -> bool:
        return bool((await dsm.status("SCH-AGAIN")).orchestration_schedule.last_run_result)

    for _ in range(2):
        # The second time as after a crash between the run and its end.
        await dsm.world.query("orchestrator", sql, {"planned": planned})
        await eventually(ran)
    audit = await dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="SCH-AGAIN"))
    assert len(audit.decisions) == 1


async def test_a_run_whose_process_died_before_it_decided_is_held_by_another(dsm: Dsm) -> None:
    await dsm.project("SCH-DIED")
    planned = (datetime.now(UTC) - timedelta(minutes=1)).replace(second=0, microsecond=0)
    await _set(dsm, "SCH-DIED", f"{planned:%M %H} * * *", enabled=True)
    sql = """
        WITH dead AS (INSERT INTO orchestration_lease (project_id, decision_id, holder, lease_time)
                      VALUES ('SCH-DIED', %(decision_id)s, gen_random_uuid(), now() + interval '1 second'))
        UPDATE orchestration_schedule SET next_run_time = %(planned)s, retry_time = now()
        WHERE project_id = 'SCH-DIED'
    """
    decision_id = decision_of(run_id("SCH-DIED", planned))
    await dsm.world.query("orchestrator", sql, {"decision_id": decision_id, "planned": planned})

    async def ran() -> Any:
        schedule = (await dsm.status("SCH-DIED")).orchestration_schedule
        return schedule if schedule.last_run_result else None

    assert (await eventually(ran)).last_run_result.startswith("Started SCH-DIED-S01")
    audit = await dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="SCH-DIED"))
    assert [decision.decision_id for decision in audit.decisions] == [str(decision_id)]


async def test_a_refused_orchestration_says_why(dsm: Dsm) -> None:
    await dsm.project("SCH-INACTIVE")
    await _set(dsm, "SCH-INACTIVE", enabled=True)
    request = project_service_pb2.SetProjectStatusRequest(
        project_id="SCH-INACTIVE", status=project_pb2.PROJECT_STATUS_INACTIVE
    )
    await dsm.projects.SetProjectStatus(request)
    sql = "UPDATE orchestration_schedule SET next_run_time = now() - interval '5 s' WHERE project_id = 'SCH-INACTIVE'"
    await dsm.world.query("orchestrator", sql)

    async def ran() -> bool:
        return "INACTIVE" in (await dsm.status("SCH-INACTIVE")).orchestration_schedule.last_run_result

    await eventually(ran)
