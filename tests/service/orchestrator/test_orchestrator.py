"""The orchestrator on real sockets: decides, acts through the sprint service, remembers, and says what it lacks."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.project.v1 import project_pb2, project_service_pb2
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2

from tests.harness import World, eventually, refused
from tests.service.orchestrator.orchestrations import (
    ANALYZE_ONLY,
    CLOSE,
    DONE,
    FAILED,
    SCHEDULE,
    SKIPPED,
    START,
    TODAY,
    Dsm,
    dsm_of,
    states,
)

# --- Orchestrate ------------------------------------------------------------------------------


async def test_a_sprint_is_decided_on_and_started(dsm: Dsm) -> None:
    await dsm.project("ORC-START", tasks=8, people=5)
    answer = await dsm.orchestrator.Orchestrate(pb.OrchestrateRequest(project_id="ORC-START"))
    record = answer.decision
    assert (record.analysis.backlog_tasks, record.analysis.unassigned_tasks, record.analysis.team_size) == (8, 8, 5)
    assert record.analysis.active_sprints == 0
    assert record.analysis.unassigned_points == 16
    assert record.analysis.capacity_person_days > 0
    assert record.rule_based_decision.tasks_to_assign == 8
    assert record.rule_based_decision.sprint_duration_weeks == 2
    assert record.final_decision == record.rule_based_decision
    assert record.decision_source == decision_pb2.DECISION_SOURCE_RULE_BASED_ONLY
    assert not record.adjustments
    assert not record.confidence_scores.HasField("overall_decision_confidence")
    assert states(record) == {CLOSE: SKIPPED, START: DONE, SCHEDULE: DONE}
    sprint = await dsm.sprint("ORC-START-S01")
    assert record.sprint_id == sprint.sprint_id
    assert len(sprint.tasks) == record.actions[1].task_count
    assert sprint.duration_weeks == 2
    assert not record.intelligence_metadata.degraded_parts
    metrics = answer.performance_metrics
    steps = ["analyze", "decide_by_rules", "retrieve_episodes", "decide", "store", "act"]
    assert [step.step for step in metrics.steps] == steps
    assert metrics.decision.ToMicroseconds() <= metrics.total.ToMicroseconds()


async def test_an_open_sprint_is_left_alone(dsm: Dsm) -> None:
    await dsm.project("ORC-OPEN")
    first = await dsm.orchestrate("ORC-OPEN")
    second = await dsm.orchestrate("ORC-OPEN")
    assert states(second) == {CLOSE: SKIPPED, START: SKIPPED, SCHEDULE: DONE}
    assert second.analysis.active_sprint_id == first.sprint_id
    assert not second.analysis.active_sprint_finished
    assert not second.final_decision.create_new_sprint


async def test_a_finished_sprint_is_closed_and_the_next_one_started(dsm: Dsm) -> None:
    await dsm.project("ORC-NEXT", tasks=6)
    first = await dsm.orchestrate("ORC-NEXT", max_tasks_per_sprint=3)
    sprint = await dsm.sprint(first.sprint_id)
    await dsm.complete(sprint, len(sprint.tasks))
    second = await dsm.orchestrate("ORC-NEXT", max_tasks_per_sprint=2, sprint_duration_weeks=1)
    assert second.analysis.active_sprint_finished
    assert states(second) == {CLOSE: DONE, START: DONE, SCHEDULE: DONE}
    assert second.actions[0].sprint_id == first.sprint_id
    assert second.actions[0].retrospective_id
    assert second.sprint_id == "ORC-NEXT-S02"
    closed = await dsm.sprint(first.sprint_id)
    assert closed.state == sprint_pb2.SPRINT_STATE_COMPLETED


async def test_a_sprint_whose_days_are_over_is_finished_as_of_a_past_day(dsm: Dsm) -> None:
    await dsm.project("ORC-PAST", tasks=6)
    start, after = TODAY - timedelta(days=40), TODAY - timedelta(days=20)
    begun = await dsm.orchestrate(
        "ORC-PAST", as_of_date=start.isoformat(), sprint_duration_weeks=2, max_tasks_per_sprint=4
    )
    assert begun.final_decision.start_date == start.isoformat()
    during = await dsm.orchestrate("ORC-PAST", as_of_date=(start + timedelta(days=13)).isoformat())
    assert not during.analysis.active_sprint_finished
    ended = await dsm.orchestrate("ORC-PAST", as_of_date=after.isoformat(), create_sprint_if_needed=False)
    assert ended.analysis.as_of_date == after.isoformat()
    assert states(ended) == {CLOSE: DONE, START: SKIPPED, SCHEDULE: SKIPPED}
    # Two were left in the backlog, and four come back.
    assert ended.final_decision.tasks_to_assign == 6
    assert (await dsm.sprint(begun.sprint_id)).state == sprint_pb2.SPRINT_STATE_CLOSED_WITH_PENDING_TASKS


@pytest.mark.parametrize("given", [{"dry_run": True}, {"action": ANALYZE_ONLY}])
async def test_to_analyze_is_not_to_act(dsm: Dsm, given: dict[str, Any]) -> None:
    project_id = await dsm.project(f"ORC-DRY{len(given)}-{'A' if 'action' in given else 'D'}")
    record = await dsm.orchestrate(project_id, **given)
    assert record.final_decision.create_new_sprint
    assert set(states(record).values()) == {SKIPPED}
    failed = await refused(
        dsm.sprints.GetActiveSprint(sprint_service_pb2.GetActiveSprintRequest(project_id=project_id))
    )
    assert failed.reason == "NO_ACTIVE_SPRINT"
    assert (await dsm.episodes(project_id))[0].retrievable is False


async def test_a_refused_action_fails_and_says_why(dsm: Dsm) -> None:
    await dsm.project("ORC-REFUSED")
    far = (TODAY - timedelta(days=3650)).isoformat()
    record = await dsm.orchestrate("ORC-REFUSED", start_date=far)
    # Nobody was on the team ten years ago.
    assert states(record)[START] == FAILED
    start = record.actions[1]
    assert start.error_reason
    assert start.reason
    assert not record.sprint_id
    assert (await dsm.episodes("ORC-REFUSED"))[0].quality_score < 0.7


async def test_a_request_id_gets_the_same_answer(dsm: Dsm) -> None:
    await dsm.project("ORC-TWICE", tasks=12)
    request = pb.OrchestrateRequest(project_id="ORC-TWICE", request_id=str(uuid4()))
    request.options.max_tasks_per_sprint = 3
    first, *others = await asyncio.gather(*(dsm.orchestrator.Orchestrate(request) for _ in range(8)))
    assert all(other == first for other in others)
    assert await dsm.orchestrator.Orchestrate(request) == first
    assert len(await dsm.episodes("ORC-TWICE")) == 1
    request.options.max_tasks_per_sprint = 4
    failed = await refused(dsm.orchestrator.Orchestrate(request))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_an_answer_that_cannot_be_kept_is_given_when_it_can(dsm: Dsm) -> None:
    await dsm.project("ORC-FULL")
    request = pb.OrchestrateRequest(project_id="ORC-FULL", request_id=str(uuid4()))
    full = """
        CREATE OR REPLACE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON request_record EXECUTE FUNCTION full_disk()
    """
    await dsm.world.query("orchestrator", full)
    try:
        assert (await refused(dsm.orchestrator.Orchestrate(request))).code == "UNAVAILABLE"
    finally:
        await dsm.world.query("orchestrator", "DROP TRIGGER full_disk ON request_record")
    [decided] = await dsm.episodes("ORC-FULL")
    first = await dsm.orchestrator.Orchestrate(request)
    assert first.decision.decision_id == decided.decision_id
    assert first.decision.sprint_id == "ORC-FULL-S01"
    assert await dsm.orchestrator.Orchestrate(request) == first


async def test_one_call_at_a_time_works_on_a_project(dsm: Dsm) -> None:
    await dsm.project("ORC-BUSY")
    taken = "INSERT INTO orchestration_lease VALUES ('ORC-BUSY', gen_random_uuid(), gen_random_uuid(), now() + {})"
    await dsm.world.query("orchestrator", taken.format("interval '1 minute'"))
    failed = await refused(dsm.orchestrate("ORC-BUSY"))
    assert (failed.code, failed.reason) == ("ABORTED", "ORCHESTRATION_IN_PROGRESS")
    assert failed.metadata["project_id"] == "ORC-BUSY"
    assert (await dsm.status("ORC-BUSY")).orchestration_in_progress
    # A holder that died is no hindrance for longer than its lease.
    await dsm.world.query(
        "orchestrator", "UPDATE orchestration_lease SET lease_time = now() WHERE project_id = 'ORC-BUSY'"
    )
    assert states(await dsm.orchestrate("ORC-BUSY"))[START] == DONE
    assert not (await dsm.status("ORC-BUSY")).orchestration_in_progress


async def test_many_calls_at_once_start_one_sprint(dsm: Dsm) -> None:
    await dsm.project("ORC-CROWD", tasks=20)
    calls = await asyncio.gather(*(dsm.orchestrate("ORC-CROWD") for _ in range(10)), return_exceptions=True)
    answered = [record for record in calls if isinstance(record, decision_pb2.DecisionRecord)]
    assert sum(states(record)[START] == DONE for record in answered) == 1
    audit = await dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="ORC-CROWD"))
    assert len(audit.decisions) == len(answered)


@pytest.mark.parametrize(
    ("given", "reason", "field"),
    [
        ({"schedule": "at noon"}, "SCHEDULE_INVALID", "options.schedule"),
        ({"as_of_date": (TODAY + timedelta(days=3)).isoformat()}, "DATE_OUT_OF_RANGE", "options.as_of_date"),
        ({"start_date": "9999-12-31"}, "DATE_OUT_OF_RANGE", "options.start_date"),
        ({"start_date": "2026-02-30"}, "VALIDATION_FAILED", "options.start_date"),
        ({"sprint_duration_weeks": 7}, "VALIDATION_FAILED", "options.sprint_duration_weeks"),
    ],
)
async def test_bad_options_are_refused(dsm: Dsm, given: dict[str, Any], reason: str, field: str) -> None:
    known = await dsm.world.query("project", "SELECT project_id FROM project WHERE project_id = 'ORC-BAD'")
    if not known:
        await dsm.project("ORC-BAD", tasks=1, people=1)
    failed = await refused(dsm.orchestrate("ORC-BAD", **given))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", reason, field)
    assert not await dsm.episodes("ORC-BAD")


async def test_unknown_and_inactive_projects_are_refused(dsm: Dsm) -> None:
    failed = await refused(dsm.orchestrate("ORC-NOBODY"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    await dsm.project("ORC-ASLEEP", tasks=0, people=0)
    status = project_pb2.PROJECT_STATUS_INACTIVE
    request = project_service_pb2.SetProjectStatusRequest(project_id="ORC-ASLEEP", status=status)
    await dsm.projects.SetProjectStatus(request)
    failed = await refused(dsm.orchestrate("ORC-ASLEEP"))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "PROJECT_NOT_ACTIVE")
    assert failed.metadata == {"project_id": "ORC-ASLEEP", "status": "INACTIVE"}


async def test_what_a_dead_process_left_pending_is_done_once(dsm: Dsm) -> None:
    await dsm.project("ORC-CRASH")
    first = await dsm.orchestrate("ORC-CRASH")
    assert states(first)[START] == DONE
    # As a process would leave it that dies after StartSprint was answered and before it could store that.
    await dsm.world.query(
        "orchestrator",
        """UPDATE decision SET pending = true, retry_time = now(), sprint_id = '',
               record = jsonb_set(record, '{actions,1,state}', '"PENDING"')
           WHERE project_id = 'ORC-CRASH'""",
    )

    async def settled() -> decision_pb2.DecisionRecord | None:
        audit = await dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="ORC-CRASH"))
        found: decision_pb2.DecisionRecord = audit.decisions[0]
        return found if states(found)[START] == DONE else None

    again = await eventually(settled)
    assert again.sprint_id == first.sprint_id
    assert again.actions[1].request_id == first.actions[1].request_id
    assert len(again.actions) == 3


# --- what is missing is said ------------------------------------------------------------------


async def test_without_embedding_and_chronicle_a_decision_is_made_and_says_so(own_world: World) -> None:
    dsm = await dsm_of(own_world, "embedding", "chronicle")
    await dsm.project("ORC-ALONE")
    record = await dsm.orchestrate("ORC-ALONE")
    assert set(record.intelligence_metadata.degraded_parts) == {"chronicle unavailable", "embedding unavailable"}
    assert record.intelligence_metadata.episodes_considered == 0
    assert not record.analysis.HasField("historical_context")
    assert states(record)[START] == DONE
    assert (await dsm.status("ORC-ALONE")).degraded_parts == ["chronicle unavailable"]
    failed = await refused(dsm.orchestrator.SearchEpisodes(pb.SearchEpisodesRequest(query="a small backlog")))
    assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
    assert failed.metadata["service"] == "embedding"
    assert (await dsm.episodes("ORC-ALONE"))[0].decision_id == record.decision_id


@pytest.mark.parametrize("absent", ["backlog", "sprint"])
async def test_without_backlog_or_sprint_nothing_is_decided(own_world: World, absent: str) -> None:
    dsm = await dsm_of(own_world, absent)
    project_id = await dsm.project(f"ORC-NO-{absent.upper()}", tasks=0, people=1)
    failed = await refused(dsm.orchestrate(project_id))
    assert (failed.code, failed.reason, failed.metadata["service"]) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE", absent)
    assert not await dsm.episodes(project_id)
    status = await dsm.status(project_id)
    assert list(status.degraded_parts) == [f"{absent} unavailable"]
    assert status.HasField("backlog_status") == (absent != "backlog")
    assert status.sprint_status == ("" if absent == "sprint" else "NO_ACTIVE_SPRINT")


# --- status -----------------------------------------------------------------------------------


async def test_the_status_tells_what_is_known_and_nothing_else(dsm: Dsm) -> None:
    await dsm.project("ORC-STATUS", tasks=5)
    before = await dsm.status("ORC-STATUS")
    assert (before.sprint_status, before.last_decision_id) == ("NO_ACTIVE_SPRINT", "")
    assert before.backlog_status.unassigned == before.backlog_status.total_tasks == 5
    for absent in ("last_analysis_time", "current_sprint", "historical_trends", "predictive_insights", "schedule"):
        assert not before.HasField(absent)
    record = await dsm.orchestrate("ORC-STATUS", max_tasks_per_sprint=2)
    after = await dsm.status("ORC-STATUS")
    assert after.last_decision_id == record.decision_id
    assert after.last_analysis_time == record.decision_time
    assert after.sprint_status == "IN_PROGRESS"
    assert (after.current_sprint.sprint_id, after.current_sprint.total_tasks) == (record.sprint_id, 2)
    assert [job.sprint_id for job in after.cron_jobs] == [record.sprint_id]
    assert after.decision_mode.mode == decision_pb2.DECISION_MODE_INTELLIGENCE_ENHANCED
    failed = await refused(dsm.status("ORC-NOBODY"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


async def test_trends_come_from_closed_sprints(dsm: Dsm) -> None:
    await dsm.project("ORC-TREND", tasks=4)
    start = TODAY - timedelta(days=60)
    record = await dsm.orchestrate("ORC-TREND", as_of_date=start.isoformat(), sprint_duration_weeks=2)
    await dsm.complete(await dsm.sprint(record.sprint_id), 3)
    await dsm.orchestrate(
        "ORC-TREND", as_of_date=(start + timedelta(days=14)).isoformat(), create_sprint_if_needed=False
    )

    async def trends() -> Any:
        status = await dsm.status("ORC-TREND")
        return status.historical_trends if status.HasField("historical_trends") else None

    found = await eventually(trends)
    assert found.avg_sprint_duration_days == 14
    assert found.completion_rate == pytest.approx(0.75)
    assert not (await dsm.status("ORC-TREND")).HasField("predictive_insights")


# --- decision mode ----------------------------------------------------------------------------


async def test_a_project_says_how_it_is_decided_for(dsm: Dsm) -> None:
    await dsm.project("ORC-MODE")
    default = await dsm.orchestrator.GetDecisionMode(pb.GetDecisionModeRequest(project_id="ORC-MODE"))
    assert default.config.mode == decision_pb2.DECISION_MODE_INTELLIGENCE_ENHANCED
    assert default.config.confidence_threshold == 0.75
    assert default.config.enable_points_adjustment
    assert not default.HasField("update_time")
    config = decision_pb2.DecisionModeConfig(
        mode=decision_pb2.DECISION_MODE_RULE_BASED_ONLY, enable_task_count_adjustment=False
    )
    request = pb.SetDecisionModeRequest(project_id="ORC-MODE", config=config, request_id=str(uuid4()))
    first = await dsm.orchestrator.SetDecisionMode(request)
    assert await dsm.orchestrator.SetDecisionMode(request) == first
    stored = await dsm.orchestrator.GetDecisionMode(pb.GetDecisionModeRequest(project_id="ORC-MODE"))
    assert (stored.config, stored.update_time) == (first.config, first.update_time)
    assert not stored.config.enable_task_count_adjustment
    assert stored.config.enable_sprint_duration_adjustment
    record = await dsm.orchestrate("ORC-MODE", dry_run=True)
    assert record.mode == decision_pb2.DECISION_MODE_RULE_BASED_ONLY
    assert record.intelligence_metadata.embedding_model == ""
    request.config.mode = decision_pb2.DECISION_MODE_HYBRID
    failed = await refused(dsm.orchestrator.SetDecisionMode(request))
    assert failed.reason == "REQUEST_ID_REUSED"


async def test_modes_need_a_project_that_is_not_archived(dsm: Dsm) -> None:
    config = decision_pb2.DecisionModeConfig(mode=decision_pb2.DECISION_MODE_HYBRID)
    for call in (
        dsm.orchestrator.GetDecisionMode(pb.GetDecisionModeRequest(project_id="ORC-NOBODY")),
        dsm.orchestrator.SetDecisionMode(pb.SetDecisionModeRequest(project_id="ORC-NOBODY", config=config)),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    await dsm.project("ORC-OLD", tasks=0, people=0)
    status = project_pb2.PROJECT_STATUS_ARCHIVED
    request = project_service_pb2.SetProjectStatusRequest(project_id="ORC-OLD", status=status)
    await dsm.projects.SetProjectStatus(request)
    failed = await refused(
        dsm.orchestrator.SetDecisionMode(pb.SetDecisionModeRequest(project_id="ORC-OLD", config=config))
    )
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "PROJECT_ARCHIVED")
    failed = await refused(dsm.orchestrator.SetDecisionMode(pb.SetDecisionModeRequest(project_id="ORC-OLD")))
    assert failed.reason == "VALIDATION_FAILED"


# --- audit ------------------------------------------------------------------------------------


async def test_the_audit_holds_every_decision_oldest_first(dsm: Dsm) -> None:
    await dsm.project("ORC-AUDIT")
    made = [await dsm.orchestrate("ORC-AUDIT", dry_run=number < 2) for number in range(3)]
    request = pb.ListDecisionAuditRequest(project_id="ORC-AUDIT", page_size=2)
    first = await dsm.orchestrator.ListDecisionAudit(request)
    request.page_token = first.next_page_token
    second = await dsm.orchestrator.ListDecisionAudit(request)
    assert [*first.decisions, *second.decisions] == made
    assert not second.next_page_token
    request.project_id = "ORC-OTHER"
    assert (await refused(dsm.orchestrator.ListDecisionAudit(request))).reason == "PAGE_TOKEN_INVALID"


async def test_the_audit_is_filtered(dsm: Dsm) -> None:
    await dsm.project("ORC-FILTER")
    dry = await dsm.orchestrate("ORC-FILTER", dry_run=True)
    wet = await dsm.orchestrate("ORC-FILTER")
    tomorrow = (datetime.now(UTC).date() + timedelta(days=1)).isoformat()
    for given, expected in (
        ({"decision_id": dry.decision_id}, [dry]),
        ({"sprint_id": wet.sprint_id}, [wet]),
        ({"decision_source": decision_pb2.DECISION_SOURCE_RULE_BASED_ONLY}, [dry, wet]),
        ({"decision_source": decision_pb2.DECISION_SOURCE_INTELLIGENCE_ENHANCED}, []),
        ({"start_date": "2020-01-01", "end_date": tomorrow}, [dry, wet]),
        ({"start_date": tomorrow}, []),
        ({"end_date": "2020-01-01"}, []),
    ):
        request = pb.ListDecisionAuditRequest(project_id="ORC-FILTER", **given)
        answer = await dsm.orchestrator.ListDecisionAudit(request)
        assert list(answer.decisions) == expected, given
    failed = await refused(dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="ORC-NOBODY")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
