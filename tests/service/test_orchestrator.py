"""The orchestrator on real sockets: decides, acts through the sprint service, remembers, and says what it lacks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
from dsm.backlog.v1 import backlog_service_pb2, task_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.project.v1 import employee_pb2, project_pb2, project_service_pb2
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_pb2, sprint_service_pb2
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from services.local.stack import Stack
from tests.harness import World, eventually, make_world, refused

CLOSE, START, SCHEDULE = (
    decision_pb2.ACTION_KIND_CLOSE_SPRINT,
    decision_pb2.ACTION_KIND_START_SPRINT,
    decision_pb2.ACTION_KIND_SCHEDULE_DAILY_SCRUM,
)
DONE, SKIPPED, FAILED, PENDING = (
    decision_pb2.ACTION_STATE_DONE,
    decision_pb2.ACTION_STATE_SKIPPED,
    decision_pb2.ACTION_STATE_FAILED,
    decision_pb2.ACTION_STATE_PENDING,
)
ANALYZE_ONLY = decision_pb2.ORCHESTRATE_ACTION_ANALYZE_ONLY
TODAY = datetime.now(UTC).date()
NEIGHBOURS = ("project", "backlog", "sprint", "chronicle", "embedding")


@dataclass(frozen=True)
class Dsm:
    """The services that a test talks to."""

    world: World
    projects: Any
    backlogs: Any
    sprints: Any
    orchestrator: Any

    async def project(self, project_id: str, *, tasks: int = 8, people: int = 4, points: float = 2) -> str:
        """A project with a team and a backlog."""
        project = project_pb2.Project(project_id=project_id, name=project_id)
        await self.projects.CreateProject(project_service_pb2.CreateProjectRequest(project=project))
        if people:
            await self.people(project_id, people)
        if tasks:
            await self.tasks(project_id, tasks, points)
        return project_id

    async def people(self, project_id: str, count: int) -> None:
        """People who have been on the team for two years."""
        names = [f"{project_id}-E{number}" for number in range(1, count + 1)]
        for name in names:
            employee = employee_pb2.Employee(employee_id=name, name=name)
            await self.projects.CreateEmployee(project_service_pb2.CreateEmployeeRequest(employee=employee))
        since = (TODAY - timedelta(days=730)).isoformat()
        request = project_service_pb2.AssignTeamMembersRequest(project_id=project_id)
        for name in names:
            request.assignments.add(employee_id=name, allocation_percent=100, start_date=since)
        await self.projects.AssignTeamMembers(request)

    async def tasks(self, project_id: str, count: int, points: float = 2) -> None:
        """Unassigned tasks."""
        tasks = [task_pb2.Task(project_id=project_id, title=f"Task {number}", points=points) for number in range(count)]
        request = backlog_service_pb2.BatchCreateTasksRequest(project_id=project_id, tasks=tasks)
        await self.backlogs.BatchCreateTasks(request)

    async def orchestrate(self, project_id: str, **given: Any) -> decision_pb2.DecisionRecord:
        """Orchestrate with some options."""
        action, request_id = given.pop("action", 0), given.pop("request_id", "")
        options = decision_pb2.OrchestrateOptions(**given)
        request = pb.OrchestrateRequest(project_id=project_id, action=action, options=options, request_id=request_id)
        answer: pb.OrchestrateResponse = await self.orchestrator.Orchestrate(request)
        return answer.decision

    async def complete(self, sprint: sprint_pb2.Sprint, count: int) -> None:
        """Complete some of a sprint's tasks."""
        for task in sprint.tasks[:count]:
            request = sprint_service_pb2.UpdateTaskProgressRequest(task_id=task.task_id, progress_percent=100)
            await self.sprints.UpdateTaskProgress(request)

    async def sprint(self, sprint_id: str) -> sprint_pb2.Sprint:
        """A sprint with its tasks."""
        answer = await self.sprints.GetSprint(sprint_service_pb2.GetSprintRequest(sprint_id=sprint_id))
        found: sprint_pb2.Sprint = answer.sprint
        return found

    async def status(self, project_id: str) -> pb.OrchestrationStatus:
        """Where a project stands."""
        request = pb.GetOrchestrationStatusRequest(project_id=project_id)
        answer: pb.GetOrchestrationStatusResponse = await self.orchestrator.GetOrchestrationStatus(request)
        return answer.status

    async def episodes(self, project_id: str, **more: Any) -> Any:
        """A project's episodes, newest first."""
        answer = await self.orchestrator.ListEpisodes(pb.ListEpisodesRequest(project_id=project_id, **more))
        return answer.episodes


async def dsm_of(world: World, *absent: str) -> Dsm:
    """All services but some."""
    await world.start(*(name for name in NEIGHBOURS if name not in absent))
    channel = await world.channel("orchestrator")
    return Dsm(
        world,
        ProjectServiceStub(await world.channel("project")),
        BacklogServiceStub(await world.channel("backlog")) if "backlog" not in absent else None,
        SprintServiceStub(await world.channel("sprint")) if "sprint" not in absent else None,
        OrchestratorServiceStub(channel),
    )


@pytest_asyncio.fixture(scope="module")
async def dsm(world: World) -> Dsm:
    return await dsm_of(world)


@pytest_asyncio.fixture
async def own_world(stack: Stack) -> AsyncIterator[World]:
    """A world of the test's own, in which services may be missing; the databases are shared."""
    async with AsyncExitStack() as exits:
        yield await make_world(stack, exits, DSM_CALL_TIMEOUT_SECONDS="2", DSM_EMBED_TIMEOUT_SECONDS="1")


def states(record: decision_pb2.DecisionRecord) -> dict[int, int]:
    return {action.kind: action.state for action in record.actions}


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
