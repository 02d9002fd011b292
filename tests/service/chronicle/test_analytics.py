"""The chronicle's analytics on real sockets, over what callers recorded and events told."""

from __future__ import annotations

import csv
from datetime import date, timedelta
from importlib import import_module
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import grpc
import psycopg
import pytest
import pytest_asyncio
from dsm.backlog.v1.task_pb2 import Task
from dsm.chronicle.v1 import analytics_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.chronicle.v1.note_pb2 import (
    ActionItem,
    ActionItemState,
    DailyScrumReport,
    FreeNote,
    PersonReport,
    PlanningNote,
    Retrospective,
    RetrospectiveTask,
    SprintStatistics,
    TaskReport,
)
from dsm.events.v1.backlog_events_pb2 import TaskCreated, TaskDeleted, TaskUpdated
from dsm.events.v1.project_events_pb2 import EmployeeErased
from dsm.events.v1.sprint_events_pb2 import ImpedimentRaised, ImpedimentResolved
from dsm.orchestrator.v1.decision_pb2 import Decision, DecisionMode, DecisionRecord, DecisionSource
from dsm.sprint.v1.sprint_pb2 import Impediment
from google.protobuf.timestamp_pb2 import Timestamp

from services.chronicle.domain.topics import SAMPLE_SIZE, sample_key
from services.kit.clock import utc_now
from services.kit.events import new_event, stream_of, subject_of
from services.kit.stream import Stream
from tests.bench.analytics import History, calls, write_history
from tests.harness import DATA, World, eventually, refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub
    from google.protobuf.message import Message

_numbers = count(1)
_BACKFILL = import_module("migrations.chronicle.0002_analytics").BACKFILL


@pytest_asyncio.fixture(scope="module")
async def stub(world: World) -> ChronicleServiceAsyncStub:
    return ChronicleServiceStub(await world.channel("chronicle"))


@pytest_asyncio.fixture(scope="module")
async def stream(world: World) -> AsyncIterator[Stream]:
    made = Stream("analytics-test", world.stack.nats.url)
    made.start()
    await made.wait_connected()
    for name in ("DSM_SPRINT", "DSM_BACKLOG", "DSM_PROJECT"):
        await made.ensure(name)
    yield made
    await made.close()


def _project() -> str:
    return f"AN{next(_numbers):03}"


async def _tell(stream: Stream, *payloads: Message, version: int = 1, project_id: str = "") -> None:
    for payload in payloads:
        event = new_event(
            payload, source="test", aggregate=("thing", "1"), version=version, now=utc_now(), project_id=project_id
        )
        subject = subject_of(event)
        await stream.context.publish(subject, event.SerializeToString(), stream=stream_of(subject))


def _planning(project_id: str, number: int = 1) -> pb.RecordSprintPlanningRequest:
    note = PlanningNote(
        sprint_id=f"{project_id}-S{number:02}",
        project_id=project_id,
        start_date="2026-01-05",
        end_date="2026-01-18",
        duration_weeks=2,
    )
    return pb.RecordSprintPlanningRequest(planning_note=note)


def _report(project_id: str, day: str, *tasks: tuple[str, int], who: str = "E001") -> pb.RecordDailyScrumRequest:
    told = [
        TaskReport(task_id=task_id, yesterday_work=f"Did {task_id}", today_work="More", progress_percent=percent)
        for task_id, percent in tasks
    ]
    report = DailyScrumReport(
        project_id=project_id,
        sprint_id=f"{project_id}-S01",
        report_date=day,
        reports=[PersonReport(employee_id=who, tasks=told)],
    )
    return pb.RecordDailyScrumRequest(report=report)


def _retrospective(
    project_id: str,
    number: int = 1,
    *,
    completed: int = 8,
    released: int = 2,
    items: tuple[str, ...] = (),
    capacity: float = 20,
    finishers: int = 0,
    team: int = 4,
) -> pb.RecordRetrospectiveRequest:
    start = date(2026, 1, 5) + timedelta(weeks=2 * (number - 1))
    figures = SprintStatistics(
        planned_tasks=completed + released,
        completed_tasks=completed,
        released_tasks=released,
        capacity_person_days=capacity,
        impediments_raised=1,
        team_size=team,
    )
    note = Retrospective(
        sprint_id=f"{project_id}-S{number:02}",
        project_id=project_id,
        start_date=start.isoformat(),
        end_date=(start + timedelta(days=13)).isoformat(),
        duration_weeks=2,
        action_items=[ActionItem(description=text) for text in items],
        tasks_summary=[
            RetrospectiveTask(task_id=f"T{n}", status="COMPLETED", employee_id=f"E{n}") for n in range(finishers)
        ],
        statistics=figures,
    )
    return pb.RecordRetrospectiveRequest(retrospective=note)


def _days_ago(days: int) -> Timestamp:
    moment = Timestamp()
    moment.FromDatetime(utc_now() - timedelta(days=days))
    return moment


# --- C5 and the sums ----------------------------------------------------------------------------


async def test_nothing_recorded_is_no_health(stub: ChronicleServiceAsyncStub) -> None:
    found = (await stub.GetMetricsSummary(pb.GetMetricsSummaryRequest())).metrics_summary
    assert (found.total_projects, found.total_sprints) == (0, 0)
    assert found.overall_system_health == analytics_pb2.SYSTEM_HEALTH_UNSPECIFIED
    assert not found.HasField("completion_rate")
    assert not found.HasField("last_note_time")
    assert len(found.health_reasons) == 1


async def test_the_summary_counts_what_was_recorded(stub: ChronicleServiceAsyncStub, world: World) -> None:
    one, two = _project(), _project()
    await stub.RecordSprintPlanning(_planning(one))
    await stub.RecordDailyScrum(_report(one, "2026-01-06", ("T1", 50)))
    again = _report(one, "2026-01-07", ("T1", 100))
    again.request_id = str(uuid4())
    await stub.RecordDailyScrum(again)
    await stub.RecordDailyScrum(again)
    closed = (await stub.RecordRetrospective(_retrospective(one, items=("Talk", "Test")))).retrospective
    await stub.RecordRetrospective(_retrospective(one, 2, completed=6, released=4))
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
    await _check_sums(world)


async def _check_sums(world: World) -> None:
    """What was summed up step by step is what the tables say."""
    url = world.stack.postgres.url("dsm_chronicle")
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def rows(table: str) -> list[Any]:
            return await (await connection.execute(f"SELECT * FROM {table} ORDER BY 1")).fetchall()

        kept = [await rows("project_figures"), await rows("known_sprint")]
        await connection.execute("DELETE FROM project_figures")
        await connection.execute("DELETE FROM known_sprint")
        await connection.execute(_BACKFILL)
        assert kept == [await rows("project_figures"), await rows("known_sprint")]
        await connection.rollback()


# --- C6 -----------------------------------------------------------------------------------------


async def test_patterns_count_each_task_and_item_once(stub: ChronicleServiceAsyncStub) -> None:
    project = _project()
    for day, tasks in (
        ("2026-01-06", (("T1", 30), ("T2", 100), ("T3", 0))),
        ("2026-01-07", (("T1", 60), ("T2", 100))),
        ("2026-01-09", (("T1", 100), ("T3", 20))),
    ):
        await stub.RecordDailyScrum(_report(project, day, *tasks))
    for number, item in enumerate(
        ("Split P-TASK001: 8 points", "split P-TASK7: 13 points.", "Split P-TASK002: 5 points!"), 1
    ):
        items = (item, "Talk") if number == 1 else (item,)
        await stub.RecordRetrospective(_retrospective(project, number, completed=number, released=2, items=items))
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
    project = _project()
    await stub.RecordSprintPlanning(_planning(project))
    found = (await stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=project))).patterns
    known = {field.name for field, _ in found.ListFields()}
    assert known == {"project_id", "patterns_analysis_summary", "last_note_time"}


# --- bad input ----------------------------------------------------------------------------------


async def test_a_project_that_nobody_knows_is_not_found(stub: ChronicleServiceAsyncStub) -> None:
    project = _project()
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
    project = _project()
    await stub.RecordSprintPlanning(_planning(project))
    for first, last in (("0001-01-01", "9999-12-31"), ("", "0001-01-01"), ("9999-12-31", "9999-12-31")):
        impact = pb.GetDecisionImpactRequest(project_id=project, start_date=first, end_date=last)
        assert (await stub.GetDecisionImpact(impact)).impact.total_decisions_analyzed == 0
        impediments = pb.GetImpedimentsRequest(project_id=project, start_date=first, end_date=last)
        assert (await stub.GetImpediments(impediments)).impediments.total_impediments == 0


# --- C10 ----------------------------------------------------------------------------------------


async def _decide(stub: ChronicleServiceAsyncStub, project: str, number: int, *, enhanced: bool, days: int = 5) -> str:
    mode = DecisionMode.DECISION_MODE_HYBRID
    sources = (DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY, DecisionSource.DECISION_SOURCE_INTELLIGENCE_ENHANCED)
    record = DecisionRecord(
        decision_id=str(uuid4()),
        project_id=project,
        mode=mode,
        decision_source=sources[enhanced],
        decision_time=_days_ago(days),
        rule_based_decision=Decision(),
        final_decision=Decision(),
        sprint_id=f"{project}-S{number:02}" if number else "",
    )
    await stub.RecordDecision(pb.RecordDecisionRequest(decision=record))
    return record.decision_id


async def test_enhanced_decisions_are_compared_with_rule_based_ones(stub: ChronicleServiceAsyncStub) -> None:
    project = _project()
    enhanced, rule_based = (9, 9, 10, 8, 9), (7, 8, 8, 7, 8)
    for number, completed in enumerate((*enhanced, *rule_based), 1):
        await _decide(stub, project, number, enhanced=number <= 5)
        await stub.RecordRetrospective(
            _retrospective(project, number, completed=completed, released=10 - completed, finishers=2, capacity=10)
        )
    open_id = await _decide(stub, project, 11, enhanced=True, days=1)
    await _decide(stub, project, 0, enhanced=True)
    await _decide(stub, project, 12, enhanced=True, days=40)
    found = (await stub.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=project))).impact
    today = utc_now().date()
    assert (found.time_period.start_date, found.time_period.end_date) == (
        (today - timedelta(days=30)).isoformat(),
        today.isoformat(),
    )
    assert (found.total_decisions_analyzed, found.decisions_without_outcome, len(found.details)) == (10, 1, 11)
    assert (found.intelligence_enhanced_decisions, found.rule_based_decisions) == (5, 5)
    assert found.intelligence_completion_rate_avg == pytest.approx(0.9)
    assert found.rule_based_completion_rate_avg == pytest.approx(0.76)
    assert found.completion_rate_improvement_percent == pytest.approx(100 * 0.14 / 0.76)
    assert found.task_efficiency_improvement_percent == pytest.approx(100 * 0.14 / 0.76)
    assert found.resource_utilization_improvement_percent == 0
    assert 0 < found.completion_rate_difference_interval.low < 0.14 < found.completion_rate_difference_interval.high
    assert (found.not_enough_data, found.minimum_group_size) == (False, 5)
    assert (found.intelligence_enhanced.successes, found.rule_based.successes) == (5, 3)
    assert found.rule_based.success_rate_interval.low < 0.6 < found.rule_based.success_rate_interval.high
    assert found.intelligence_enhanced.completion_rate_interval.high <= 1
    last = found.details[-1]
    assert (last.audit_id, last.HasField("success"), last.HasField("completion_rate")) == (open_id, False, False)
    assert found.details[0].task_efficiency == pytest.approx(0.9)
    assert found.details[0].resource_utilization == 0.5
    whole = pb.GetDecisionImpactRequest(project_id=project, start_date="2020-01-01")
    assert (await stub.GetDecisionImpact(whole)).impact.decisions_without_outcome == 2


async def test_too_few_decisions_prove_nothing_and_say_so(stub: ChronicleServiceAsyncStub) -> None:
    project = _project()
    for number in (1, 2):
        await _decide(stub, project, number, enhanced=number == 1)
        await stub.RecordRetrospective(_retrospective(project, number, capacity=0, team=0))
    found = (await stub.GetDecisionImpact(pb.GetDecisionImpactRequest(project_id=project))).impact
    assert (found.total_decisions_analyzed, found.not_enough_data) == (2, True)
    assert found.completion_rate_improvement_percent == 0
    assert not found.HasField("task_efficiency_improvement_percent")
    assert not found.HasField("resource_utilization_improvement_percent")
    assert not found.HasField("completion_rate_difference_interval")
    assert not found.rule_based.HasField("task_efficiency_avg")


# --- people who are forgotten -------------------------------------------------------------------


async def test_an_erased_persons_own_words_are_blanked(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    project = _project()
    await stub.RecordDailyScrum(_report(project, "2026-01-06", ("T1", 30), who="GONE1"))
    await stub.RecordDailyScrum(_report(project, "2026-01-07", ("T1", 60), who="STAYS"))
    await _tell(stream, EmployeeErased(employee_id="GONE1"))

    async def words(who: str) -> list[tuple[str, str, int]]:
        sql = """SELECT yesterday_work, today_work, progress_percent FROM scrum_task
                 WHERE employee_id = %(who)s ORDER BY report_date"""
        return [tuple(row.values()) for row in await world.query("chronicle", sql, {"who": who})]

    async def blanked() -> bool:
        return await words("GONE1") == [("", "", 30)]

    await eventually(blanked)
    assert await words("STAYS") == [("Did T1", "More", 60)]
    # A report that was still on its way.
    late = (await stub.RecordDailyScrum(_report(project, "2026-01-08", ("T1", 90), who="GONE1"))).report
    assert late.reports[0].tasks[0].yesterday_work == ""
    assert await words("GONE1") == [("", "", 30), ("", "", 90)]


# --- C8 -----------------------------------------------------------------------------------------


def _impediment(project: str, text: str, *, sprint: int = 1, days_ago: int = 0) -> Impediment:
    return Impediment(
        impediment_id=str(uuid4()),
        project_id=project,
        sprint_id=f"{project}-S{sprint:02}",
        text=text,
        raise_time=_days_ago(days_ago),
        raise_date="2026-03-02",
    )


async def test_impediments_that_mean_the_same_are_one_group(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    project = _project()
    raised = [
        _impediment(project, "Certificate of the gateway has expired", days_ago=9),
        _impediment(project, "certificate of the gateway has expired.", sprint=2, days_ago=4),
        _impediment(project, "TLS cert on the gateway is out of date", sprint=3),
        _impediment(project, "The gateway returns errors under load", days_ago=2),
        _impediment(project, "Too many meetings this week"),
        _impediment(project, " \u3000"),
    ]
    await _tell(stream, *(ImpedimentRaised(impediment=each) for each in raised), project_id=project)
    solved = Impediment(resolve_time=_days_ago(7), resolution="Renewed")
    solved.MergeFrom(raised[0])
    solved.resolve_date = "2026-03-07"
    # Recorded after its sprint: nobody knows the day, and the time of the record says nothing of how long it took.
    dateless = Impediment(resolve_time=_days_ago(0))
    dateless.MergeFrom(raised[2])
    resolved = [ImpedimentResolved(impediment=each) for each in (solved, dateless)]
    await _tell(stream, *resolved, project_id=project)
    request = pb.GetImpedimentsRequest(project_id=project)

    async def found() -> analytics_pb2.ImpedimentAnalysis | None:
        try:
            analysis = (await stub.GetImpediments(request)).impediments
        except grpc.aio.AioRpcError:  # no event has come in so far
            return None
        return analysis if (analysis.total_impediments, analysis.open_impediments) == (6, 4) else None

    # Nobody embeds: equal text is one group, and the answer says that this is all it knows.
    by_text = await eventually(found)
    assert by_text.grouping == analytics_pb2.IMPEDIMENT_GROUPING_BY_TEXT
    assert (by_text.embedding_model, by_text.not_embedded_impediments) == ("", 6)
    assert [group.frequency for group in by_text.groups] == [2, 1, 1, 1, 1]

    await world.start("embedding")

    async def embedded() -> analytics_pb2.ImpedimentAnalysis | None:
        analysis = (await stub.GetImpediments(request)).impediments
        return analysis if analysis.not_embedded_impediments == 1 else None

    by_meaning = await eventually(embedded, 60)
    assert by_meaning.grouping == analytics_pb2.IMPEDIMENT_GROUPING_BY_MEANING
    assert by_meaning.embedding_model
    assert [group.frequency for group in by_meaning.groups] == [3, 1, 1, 1]
    first = by_meaning.groups[0]
    assert (first.open_count, first.closed_count, list(first.sprint_ids)) == (
        1,
        2,
        [f"{project}-S01", f"{project}-S02", f"{project}-S03"],
    )
    assert list(first.impediment_ids) == [each.impediment_id for each in (raised[2], raised[1], raised[0])]
    assert first.mean_resolve_time.ToTimedelta() == timedelta(days=5)
    one = pb.GetImpedimentsRequest(project_id=project, sprint_id=f"{project}-S03")
    assert (await stub.GetImpediments(one)).impediments.total_impediments == 1
    since = (utc_now() - timedelta(days=3)).date().isoformat()
    recent = pb.GetImpedimentsRequest(project_id=project, start_date=since)
    assert (await stub.GetImpediments(recent)).impediments.total_impediments == 4


async def test_another_model_embeds_everything_again(world: World) -> None:
    await world.start("embedding", "chronicle")

    async def models() -> set[str]:
        sql = """SELECT embedding_model FROM backlog_title UNION SELECT embedding_model FROM impediment
                 UNION SELECT embedding_model FROM project_topic"""
        return {row["embedding_model"] for row in await world.query("chronicle", sql)} - {""}

    async def settled() -> set[str]:
        sql = """SELECT 1 FROM backlog_title WHERE requires_embedding
                 UNION ALL SELECT 1 FROM impediment WHERE requires_embedding"""
        return await models() if not await world.query("chronicle", sql) else set()

    [model] = await eventually(settled, 60)
    await world.stop("chronicle")
    for table in ("backlog_title", "impediment", "project_topic"):
        await world.query("chronicle", f"UPDATE {table} SET embedding_model = 'past' WHERE embedding_model <> ''")
    await world.start("chronicle")

    async def renewed() -> bool:
        return await models() == {model}

    await eventually(renewed, 60)


# --- C9 -----------------------------------------------------------------------------------------


def _titles(name: str, first: int, last: int) -> list[str]:
    # The limit is the process's, and the importers under test lean on the usual one.
    usual = csv.field_size_limit(1 << 24)
    try:
        with (DATA / "backlog" / f"{name}.csv").open(newline="") as file:
            return [row["title"] for row in csv.DictReader(file)][first:last]
    finally:
        csv.field_size_limit(usual)


async def _fill(stream: Stream, project: str, titles: list[str]) -> None:
    tasks = [
        Task(task_id=f"{project}-TASK{n:03}", project_id=project, title=title) for n, title in enumerate(titles, 1)
    ]
    await _tell(stream, *(TaskCreated(task=task) for task in tasks), project_id=project)


@pytest.mark.skipif(not DATA.exists(), reason="the real backlogs are not here")
async def test_projects_about_the_like_are_found_by_their_titles(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    await world.start("embedding")
    one, twin, bus, studio = (_project() for _ in range(4))
    size = 120
    await _fill(stream, one, _titles("XD", 0, 2 * size)[::2])
    await _fill(stream, twin, _titles("XD", 0, 2 * size)[1::2])
    await _fill(stream, bus, _titles("MULE", 0, size))
    await _fill(stream, studio, _titles("TISTUD", 0, size))

    async def embedded() -> bool:
        sql = "SELECT count(*) AS n FROM project_topic WHERE project_id = ANY(%(ids)s) AND titles = %(size)s"
        [row] = await world.query("chronicle", sql, {"ids": [one, twin, bus, studio], "size": size})
        return bool(row["n"] == 4)

    await eventually(embedded, 120)
    request = pb.FindSimilarProjectsRequest(reference_project_id=one, similarity_threshold=0, max_results=50)
    answer = await stub.FindSimilarProjects(request)
    assert answer.embedding_model
    ours = [each for each in answer.similar_projects if each.project_id in (twin, bus, studio)]
    assert [each.project_id for each in ours] == [twin, bus, studio]
    # Nothing happened in any of them: the text is all there is to compare, and the part says so.
    for each in ours:
        [part] = each.score_parts
        assert (part.name, part.weight, part.score) == ("backlog_text", 1, each.similarity_score)
        assert not each.HasField("completion_rate")
    above = await stub.FindSimilarProjects(pb.FindSimilarProjectsRequest(reference_project_id=one))
    assert [each.project_id for each in above.similar_projects] == [twin]
    assert above.projects_compared == answer.projects_compared >= 3


async def test_projects_where_the_like_happened_are_found_by_their_figures(stub: ChronicleServiceAsyncStub) -> None:
    one, twin, other = (_project() for _ in range(3))
    for project, completed, released, team in ((one, 8, 2, 4), (twin, 8, 2, 4), (other, 1, 60, 30)):
        for number in (1, 2):
            await stub.RecordRetrospective(
                _retrospective(project, number, completed=completed, released=released, team=team)
            )
    request = pb.FindSimilarProjectsRequest(reference_project_id=one, similarity_threshold=0, max_results=50)
    answer = await stub.FindSimilarProjects(request)
    by_id = {each.project_id: each for each in answer.similar_projects}
    assert one not in by_id
    assert by_id[twin].similarity_score == pytest.approx(1)
    assert by_id[twin].completion_rate == pytest.approx(0.8)
    assert by_id[other].similarity_score < 0.6
    for each in by_id.values():
        assert each.similarity_score == pytest.approx(sum(part.weight * part.score for part in each.score_parts))
    assert not any(found.sprints or found.common_retrospective_action_items for found in answer.similar_projects)
    request.max_sprints = 2
    for found in (await stub.FindSimilarProjects(request)).similar_projects:
        known = await stub.GetVelocity(pb.GetVelocityRequest(project_id=found.project_id, max_sprints=2))
        assert list(found.sprints) == list(known.velocity.velocity_trend_data)
        patterns = (await stub.GetProjectPatterns(pb.GetProjectPatternsRequest(project_id=found.project_id))).patterns
        items = found.common_retrospective_action_items
        assert list(items) == list(patterns.common_retrospective_action_items)
    default = await stub.FindSimilarProjects(pb.FindSimilarProjectsRequest(reference_project_id=one, max_results=1))
    assert len(default.similar_projects) == 1
    assert default.similar_projects[0].similarity_score >= 0.7


async def test_the_sample_of_titles_is_bounded_and_follows_the_backlog(world: World, stream: Stream) -> None:
    project, number = _project(), SAMPLE_SIZE + 60
    await world.stop("embedding")
    tasks = [Task(task_id=f"{project}-TASK{n:03}", project_id=project, title=f"Title {n}") for n in range(number)]
    # In pieces and the wrong way round: the sample is the same in whatever order tasks come.
    await _tell(stream, *(TaskCreated(task=task) for task in tasks[::-1]), project_id=project)
    wanted = sorted((task.task_id for task in tasks), key=sample_key)[:SAMPLE_SIZE]

    async def sampled() -> dict[str, str]:
        sql = "SELECT task_id, title FROM backlog_title WHERE project_id = %(p)s"
        return {row["task_id"]: row["title"] for row in await world.query("chronicle", sql, {"p": project})}

    async def full() -> bool:
        return sorted(await sampled()) == sorted(wanted)

    await eventually(full)
    renamed = Task(task_id=wanted[0], project_id=project, title="New title")
    await _tell(stream, TaskUpdated(task=renamed, changed_fields=["title"]), version=3, project_id=project)
    stale = Task(task_id=wanted[0], project_id=project, title="Stale title")
    await _tell(stream, TaskUpdated(task=stale, changed_fields=["title"]), version=2, project_id=project)
    await _tell(stream, TaskDeleted(task_id=wanted[1], project_id=project), project_id=project)

    async def followed() -> bool:
        found = await sampled()
        return found.get(wanted[0]) == "New title" and wanted[1] not in found

    await eventually(followed)
    await _check_sums(world)


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
