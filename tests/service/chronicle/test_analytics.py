"""What is summed up over what callers recorded: health, patterns, velocity."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from dsm.chronicle.v1 import analytics_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.note_pb2 import ActionItemState, FreeNote, SprintStatistics
from dsm.orchestrator.v1.insight_pb2 import Trend

from tests.bench.analytics import History, calls, write_history
from tests.harness import World, refused
from tests.service.chronicle.histories import check_sums, closed_sprint, planned_sprint, reported_day
from tests.service.chronicle.notes import new_project, planning_note, retrospective_of

if TYPE_CHECKING:
    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub
    from google.protobuf.message import Message

# --- the sums -------------------------------------------------------------------------------------


async def test_nothing_recorded_is_no_health(stub: ChronicleServiceAsyncStub) -> None:
    found = (await stub.GetMetricsSummary(pb.GetMetricsSummaryRequest())).metrics_summary
    assert (found.total_projects, found.total_sprints) == (0, 0)
    assert found.overall_system_health == analytics_pb2.SYSTEM_HEALTH_UNSPECIFIED
    assert not found.HasField("completion_rate")
    assert not found.HasField("last_note_time")
    assert len(found.health_reasons) == 1


async def test_the_summary_counts_what_was_recorded(stub: ChronicleServiceAsyncStub, world: World) -> None:
    one, two = new_project(), new_project()
    await stub.RecordSprintPlanning(planned_sprint(one))
    await stub.RecordDailyScrum(reported_day(one, "2026-01-06", ("T1", 50)))
    again = reported_day(one, "2026-01-07", ("T1", 100))
    again.request_id = str(uuid4())
    await stub.RecordDailyScrum(again)
    await stub.RecordDailyScrum(again)
    closed = (await stub.RecordRetrospective(closed_sprint(one, items=("Talk", "Test")))).retrospective
    await stub.RecordRetrospective(closed_sprint(one, 2, completed=6, released=4))
    await stub.RecordNote(pb.RecordNoteRequest(note=FreeNote(project_id=two, text="Hello")))
    done = pb.UpdateActionItemRequest(action_item_id=closed.action_items[0].action_item_id)
    done.state = ActionItemState.ACTION_ITEM_STATE_DONE
    await stub.UpdateActionItem(done)
    await stub.UpdateActionItem(done)
    found = (await stub.GetMetricsSummary(pb.GetMetricsSummaryRequest())).metrics_summary
    assert (found.total_projects, found.total_sprints, found.total_daily_scrum_reports) == (2, 2, 2)
    assert (found.total_retrospectives, found.total_action_items, found.open_action_items) == (2, 2, 1)
    assert found.completion_rate == pytest.approx(0.7)
    # One of two sprints has reports, and 70 % completed is less than good.
    assert found.overall_system_health == analytics_pb2.SYSTEM_HEALTH_POOR
    assert len(found.health_reasons) == 3
    assert found.HasField("last_note_time")
    await check_sums(world)


# --- patterns -------------------------------------------------------------------------------------


async def test_patterns_count_each_task_and_item_once(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for day, tasks in (
        ("2026-01-06", (("T1", 30), ("T2", 100), ("T3", 0))),
        ("2026-01-07", (("T1", 60), ("T2", 100))),
        ("2026-01-09", (("T1", 100), ("T3", 20))),
    ):
        await stub.RecordDailyScrum(reported_day(project, day, *tasks))
    for number, item in enumerate(
        ("Split P-TASK001: 8 points", "split P-TASK7: 13 points.", "Split P-TASK002: 5 points!"), 1
    ):
        items = (item, "Talk") if number == 1 else (item,)
        await stub.RecordRetrospective(closed_sprint(project, number, completed=number, released=2, items=items))
    found = (await stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=project))).patterns
    assert (found.daily_scrum_count, found.retrospective_count, found.closed_sprints) == (3, 3, 3)
    assert found.total_tasks_completed_in_daily_scrums == 2
    # T2 took one day, T1 from the 6th to the 9th four.
    assert (found.median_cycle_time.ToTimedelta().days, found.p85_cycle_time.ToTimedelta().days) == (1, 4)
    common = [(item.description, item.count, item.open_count) for item in found.common_retrospective_action_items]
    assert common == [("Split P-TASK002: 5 points!", 3, 3), ("Talk", 1, 1)]
    assert found.typical_completion_rate == pytest.approx(0.5)
    assert found.average_completion_rate == pytest.approx((1 / 3 + 1 / 2 + 3 / 5) / 3)
    assert found.average_sprint_duration_days == 14


async def test_patterns_that_are_not_known_are_absent(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    await stub.RecordSprintPlanning(planned_sprint(project))
    found = (await stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=project))).patterns
    known = {field.name for field, _ in found.ListFields()}
    assert known == {"project_id", "patterns_analysis_summary", "last_note_time"}


# --- velocity ------------------------------------------------------------------------------------


async def test_velocity_is_told_by_closed_sprints(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for number, points in enumerate((10, 14, 21), start=1):
        start = f"2026-0{number}-05"
        await stub.RecordSprintPlanning(
            pb.RecordSprintPlanningRequest(planning_note=planning_note(project, number, start, "2026-12-31"))
        )
        note = retrospective_of(project, number, start)
        note.statistics.CopyFrom(
            SprintStatistics(completed_tasks=number, completed_points=points, released_tasks=1, team_size=3)
        )
        if number > 1:
            note.statistics.planned_tasks, note.statistics.planned_points = 5, 25
            note.statistics.capacity_person_days = 20
        await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))

    velocity = (await stub.GetVelocity(pb.GetVelocityRequest(project_id=project))).velocity
    rows = [
        (s.sprint_id[-3:], s.planned_tasks, s.planned_points, s.completed_tasks, s.completed_points, s.start_date)
        for s in velocity.velocity_trend_data
    ]
    # Of the first, only the planning note knows what was planned.
    assert rows == [
        ("S01", 2, 3, 1, 10, "2026-01-05"),
        ("S02", 5, 25, 2, 14, "2026-02-05"),
        ("S03", 5, 25, 3, 21, "2026-03-05"),
    ]
    assert velocity.velocity_trend_data[1].completion_rate == pytest.approx(2 / 3)
    assert velocity.velocity_trend_data[0].capacity_person_days == 18.5
    assert (velocity.average_velocity, velocity.average_velocity_points) == (2, 15)
    assert velocity.spread_tasks == pytest.approx(1)
    assert velocity.spread_points == pytest.approx(31**0.5)
    assert velocity.trend == Trend.TREND_RISING
    assert velocity.slope == pytest.approx(5.5)
    assert velocity.points_per_person_day == pytest.approx(45 / 58.5)

    newest = (await stub.GetVelocity(pb.GetVelocityRequest(project_id=project, max_sprints=2))).velocity
    assert [sprint.sprint_id[-3:] for sprint in newest.velocity_trend_data] == ["S02", "S03"]
    assert newest.trend == Trend.TREND_UNSPECIFIED
    assert not newest.HasField("slope")


async def test_a_project_without_closed_sprints_has_no_velocity(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    failed = await refused(stub.GetVelocity(pb.GetVelocityRequest(project_id=project)))
    assert (failed.code, failed.reason, failed.metadata) == (
        "NOT_FOUND",
        "PROJECT_NOT_FOUND",
        {"project_id": project},
    )
    await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=planning_note(project)))
    velocity = (await stub.GetVelocity(pb.GetVelocityRequest(project_id=project))).velocity
    assert not velocity.velocity_trend_data
    assert not velocity.HasField("average_velocity")


# --- any input ------------------------------------------------------------------------------------


async def test_a_project_that_nobody_knows_is_not_found(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for call in (
        stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=project)),
        stub.GetImpediments(pb.GetImpedimentsRequest(project_id=project)),
        stub.FindSimilarProjects(pb.FindSimilarProjectsRequest(reference_project_id=project)),
        stub.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=project)),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
        assert failed.metadata == {"project_id": project}


@pytest.mark.parametrize(
    ("method", "request_", "field"),
    [
        ("GetProjectPatterns", pb.GetProjectPatternsRequest(), "project_id"),
        ("GetImpediments", pb.GetImpedimentsRequest(project_id="p"), "project_id"),
        ("GetImpediments", pb.GetImpedimentsRequest(project_id="P", start_date="yesterday"), "start_date"),
        ("GetImpediments", pb.GetImpedimentsRequest(project_id="P", end_date="2026-02-30"), "end_date"),
        (
            "GetImpediments",
            pb.GetImpedimentsRequest(project_id="P", start_date="2026-02-02", end_date="2026-02-01"),
            "end_date",
        ),
        ("FindSimilarProjects", pb.FindSimilarProjectsRequest(reference_project_id=""), "reference_project_id"),
        (
            "FindSimilarProjects",
            pb.FindSimilarProjectsRequest(reference_project_id="P", similarity_threshold=1.1),
            "similarity_threshold",
        ),
        ("FindSimilarProjects", pb.FindSimilarProjectsRequest(reference_project_id="P", max_results=51), "max_results"),
        ("GetDecisionImpact", pb.GetDecisionImpactRequest(project_id="P", start_date="2026-13-01"), "start_date"),
        (
            "GetDecisionImpact",
            pb.GetDecisionImpactRequest(project_id="P", start_date="2026-02-02", end_date="2026-02-01"),
            "end_date",
        ),
    ],
)
async def test_bad_input_names_its_field(
    stub: ChronicleServiceAsyncStub, method: str, request_: Message, field: str
) -> None:
    failed = await refused(getattr(stub, method)(request_))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", field)


async def test_the_ends_of_the_calendar_are_days_too(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    await stub.RecordSprintPlanning(planned_sprint(project))
    for first, last in (("0001-01-01", "9999-12-31"), ("", "0001-01-01"), ("9999-12-31", "9999-12-31")):
        impact = pb.GetDecisionImpactRequest(project_id=project, start_date=first, end_date=last)
        assert (await stub.GetDecisionImpact(impact)).impact.total_decisions_analyzed == 0
        impediments = pb.GetImpedimentsRequest(project_id=project, start_date=first, end_date=last)
        assert (await stub.GetImpediments(impediments)).impediments.total_impediments == 0


# --- a long history -----------------------------------------------------------------------------


async def test_the_benchmarks_history_is_answered_from(stub: ChronicleServiceAsyncStub, world: World) -> None:
    history = History(projects=20, sprints=6)
    write_history(world.stack.postgres.url("dsm_chronicle"), history)
    answers = {name: await call(0) for name, call in calls(stub, history).items()}
    assert len(answers["GetVelocity"].velocity.velocity_trend_data) == history.sprints
    assert answers["GetMetricsSummary"].metrics_summary.total_projects >= history.projects
    patterns = answers["GetProjectPatterns"].patterns
    assert patterns.daily_scrum_count == history.sprints * history.reports
    assert patterns.total_tasks_completed_in_daily_scrums > 0
    assert answers["GetImpediments"].impediments.total_impediments == 3 * history.sprints
    assert answers["FindSimilarProjects"].projects_compared >= history.projects - 1
    impact = answers["GetDecisionImpact"].impact
    assert impact.total_decisions_analyzed == history.sprints
    assert impact.intelligence_enhanced.resource_utilization_avg > 0
