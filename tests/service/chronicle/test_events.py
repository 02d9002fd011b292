"""What the chronicle takes in by events, as the sprint service and the orchestrator send them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.note_pb2 import (
    ActionItem,
    DailyScrumReport,
    PersonReport,
    PlannedTask,
    PlanningNote,
    Retrospective,
    SprintStatistics,
    TaskReport,
)
from dsm.events.v1.event_pb2 import Event
from dsm.events.v1.orchestrator_events_pb2 import DecisionMade
from dsm.events.v1.project_events_pb2 import EmployeeErased
from dsm.events.v1.sprint_events_pb2 import (
    ImpedimentRaised,
    ImpedimentResolved,
    ScrumReported,
    SprintClosed,
    SprintStarted,
)
from dsm.orchestrator.v1.decision_pb2 import Decision, DecisionMode, DecisionRecord, DecisionSource
from dsm.sprint.v1.sprint_pb2 import Impediment, Sprint

from services.kit.clock import utc_now
from services.kit.envelope import new_event, stream_of, subject_of
from services.kit.events.stream import Stream
from tests.harness import World, eventually
from tests.service.chronicle.histories import reported_day, tell
from tests.service.chronicle.notes import new_id, new_project

if TYPE_CHECKING:
    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub
    from google.protobuf.message import Message


def _event(payload: Message, project_id: str, version: int = 1) -> Event:
    aggregate = ("sprint", f"{project_id}-S01")
    return new_event(
        payload, source="sprint", aggregate=aggregate, version=version, now=utc_now(), project_id=project_id
    )


async def _publish(stream: Stream, *events: Event) -> None:
    for event in events:
        ack = await stream.context.publish(subject_of(event), event.SerializeToString())
        assert ack.stream == stream_of(subject_of(event))


def _started(project_id: str, number: int = 1) -> SprintStarted:
    sprint_id = f"{project_id}-S{number:02}"
    note = PlanningNote(
        note_id=new_id(),
        sprint_id=sprint_id,
        project_id=project_id,
        sprint_name="Sprint",
        start_date="2026-01-05",
        end_date="2026-01-18",
        duration_weeks=2,
        planned_tasks=[PlannedTask(task_id=f"{project_id}-TASK{n:03}", points=2) for n in range(1, 4)],
    )
    return SprintStarted(sprint=Sprint(sprint_id=sprint_id, project_id=project_id), planning_note=note)


def _reported(project_id: str, day: str = "2026-01-06") -> ScrumReported:
    person = PersonReport(employee_id="E001", tasks=[TaskReport(task_id="T1", progress_percent=50)])
    report = DailyScrumReport(
        report_id=new_id(), project_id=project_id, sprint_id=f"{project_id}-S01", report_date=day, reports=[person]
    )
    return ScrumReported(report=report)


def _closed(project_id: str) -> SprintClosed:
    sprint_id = f"{project_id}-S01"
    note = Retrospective(
        retrospective_id=new_id(),
        sprint_id=sprint_id,
        project_id=project_id,
        sprint_name="Sprint",
        start_date="2026-01-05",
        end_date="2026-01-18",
        duration_weeks=2,
        action_items=[ActionItem(action_item_id=new_id(), description="Get access early")],
    )
    figures = SprintStatistics(planned_tasks=3, planned_points=6, completed_tasks=2, completed_points=4)
    figures.released_tasks = 1
    sprint = Sprint(sprint_id=sprint_id, project_id=project_id, statistics=figures)
    return SprintClosed(sprint=sprint, retrospective=note)


def _impediment(project_id: str) -> Impediment:
    return Impediment(
        impediment_id=new_id(),
        project_id=project_id,
        sprint_id=f"{project_id}-S01",
        task_id=f"{project_id}-TASK001",
        raised_by="E001",
        text="No access",
        raise_date="2026-01-06",
    )


async def test_a_sprint_leaves_its_notes(stub: ChronicleServiceAsyncStub, world: World, stream: Stream) -> None:
    project = new_project()
    started, reported, closed = _started(project), _reported(project), _closed(project)
    await _publish(stream, *(_event(payload, project) for payload in (started, reported, closed)))

    async def notes() -> pb.ListRetrospectivesResponse | None:
        listed = await stub.ListRetrospectives(pb.ListRetrospectivesRequest(project_id=project))
        return listed if listed.retrospectives else None

    [retrospective] = (await eventually(notes)).retrospectives
    assert retrospective.retrospective_id == closed.retrospective.retrospective_id
    assert retrospective.action_items[0].action_item_id == closed.retrospective.action_items[0].action_item_id
    assert retrospective.statistics.completed_points == 4

    [planning] = (await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(project_id=project))).planning_notes
    assert planning.note_id == started.planning_note.note_id
    assert planning.planned_tasks == started.planning_note.planned_tasks
    [day] = (await stub.ListDailyScrums(pb.ListDailyScrumsRequest(project_id=project))).days
    assert day.reports[0].report_id == reported.report.report_id
    assert day.reports[0].reports == reported.report.reports

    [velocity] = (await stub.GetVelocity(pb.GetVelocityRequest(project_id=project))).velocity.velocity_trend_data
    assert (velocity.planned_tasks, velocity.completed_tasks, velocity.completed_points) == (3, 2, 4)
    told = await world.query(
        "chronicle",
        "SELECT aggregate_id FROM outbox WHERE aggregate_id = ANY(%(ids)s)",
        {"ids": [planning.note_id, day.reports[0].report_id, retrospective.retrospective_id]},
    )
    assert len(told) == 3


async def test_what_is_delivered_again_has_no_effect(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    project = new_project()
    started, closed = _started(project), _closed(project)
    events = [_event(started, project), _event(closed, project)]
    # The same events again, and the same notes in other events, as a replayed outbox may send them.
    again = [_event(started, project), _event(closed, project)]
    await _publish(stream, *events * 5, *again, _event(_reported(project), project))

    async def settled() -> bool:
        listed = await stub.ListDailyScrums(pb.ListDailyScrumsRequest(project_id=project))
        return bool(listed.days)

    await eventually(settled)
    listed = await stub.ListRetrospectives(pb.ListRetrospectivesRequest(project_id=project))
    assert len(listed.retrospectives) == 1
    assert len(listed.retrospectives[0].action_items) == 1
    plannings = await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(project_id=project))
    assert len(plannings.planning_notes[0].planned_tasks) == 3
    ids = {"ids": [started.planning_note.note_id, closed.retrospective.retrospective_id]}
    told = await world.query("chronicle", "SELECT 1 FROM outbox WHERE aggregate_id = ANY(%(ids)s)", ids)
    assert len(told) == 2


async def test_many_events_are_taken_in(world: World, stream: Stream) -> None:
    await world.start("chronicle")
    project = new_project()
    days = [f"2026-{month:02}-{day:02}" for month in range(1, 13) for day in range(1, 29)]
    await _publish(stream, *(_event(_reported(project, day), project) for day in days))

    async def tasks() -> bool:
        sql = "SELECT count(*) AS n FROM scrum_task WHERE project_id = %(project_id)s"
        [row] = await world.query("chronicle", sql, {"project_id": project})
        return bool(row["n"] == len(days))

    await eventually(tasks)


async def test_a_resolved_impediment_stays_resolved(world: World, stream: Stream) -> None:
    await world.start("chronicle")
    project = new_project()
    blocked, late = _impediment(project), _impediment(project)
    resolved = Impediment(resolution="Got access")
    resolved.MergeFrom(blocked)
    resolved.resolve_time.FromDatetime(utc_now())
    await _publish(
        stream,
        _event(ImpedimentRaised(impediment=blocked), project),
        _event(ImpedimentResolved(impediment=resolved), project),
        # The other way round, as a delivery that was tried again may come.
        _event(ImpedimentResolved(impediment=late), project),
        _event(ImpedimentRaised(impediment=late), project),
        _event(ImpedimentRaised(impediment=blocked), project),
        _event(_reported(project), project),
    )

    async def impediments() -> list[dict[str, object]] | None:
        sql = """SELECT impediment_id::text AS id, state, resolution, resolve_time FROM impediment
                 WHERE project_id = %(p)s AND EXISTS (SELECT FROM scrum_report WHERE project_id = %(p)s)"""
        return await world.query("chronicle", sql, {"p": project})

    found = {row["id"]: row for row in await eventually(impediments)}
    assert {row["state"] for row in found.values()} == {"RESOLVED"}
    assert found[blocked.impediment_id]["resolution"] == "Got access"
    assert found[late.impediment_id]["resolve_time"] is not None


async def test_a_decision_follows_the_orchestrator(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    project = new_project()
    record = DecisionRecord(
        decision_id=new_id(),
        project_id=project,
        mode=DecisionMode.DECISION_MODE_RULE_BASED_ONLY,
        decision_source=DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY,
        rule_based_decision=Decision(tasks_to_assign=10),
        final_decision=Decision(tasks_to_assign=10),
    )
    record.decision_time.FromDatetime(utc_now())
    acted = DecisionRecord(sprint_id=f"{project}-S01")
    acted.MergeFrom(record)
    events = [
        new_event(
            DecisionMade(decision=decision),
            source="orchestrator",
            aggregate=("decision", record.decision_id),
            version=version,
            now=utc_now(),
        )
        for version, decision in ((2, acted), (1, record))
    ]
    await _publish(stream, *events)

    async def decisions() -> pb.ListDecisionsResponse | None:
        listed = await stub.ListDecisions(pb.ListDecisionsRequest(sprint_id=f"{project}-S01"))
        return listed if listed.decision_notes else None

    [note] = (await eventually(decisions)).decision_notes
    assert note.decision == acted
    told = await world.query(
        "chronicle", "SELECT 1 FROM outbox WHERE aggregate_id = %(id)s", {"id": record.decision_id}
    )
    assert len(told) == 1
    # A caller's copy is older than any word of the orchestrator.
    answer = await stub.RecordDecision(pb.RecordDecisionRequest(decision=record))
    assert answer.decision_note.decision == acted


async def test_a_bad_note_is_buried_and_holds_nobody_up(stub: ChronicleServiceAsyncStub, stream: Stream) -> None:
    project = new_project()
    bad, good = _started(project, 1), _started(project, 2)
    bad.planning_note.end_date = "2026-02-30"
    await _publish(stream, _event(bad, project), _event(good, project))

    async def kept() -> list[PlanningNote]:
        listed = await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(project_id=project))
        return list(listed.planning_notes)

    [note] = await eventually(kept)
    assert note.note_id == good.planning_note.note_id


async def test_an_erased_persons_own_words_are_blanked(
    stub: ChronicleServiceAsyncStub, world: World, stream: Stream
) -> None:
    project = new_project()
    await stub.RecordDailyScrum(reported_day(project, "2026-01-06", ("T1", 30), who="GONE1"))
    await stub.RecordDailyScrum(reported_day(project, "2026-01-07", ("T1", 60), who="STAYS"))
    await tell(stream, EmployeeErased(employee_id="GONE1"))

    async def words(who: str) -> list[tuple[str, str, int]]:
        sql = """SELECT yesterday_work, today_work, progress_percent FROM scrum_task
                 WHERE employee_id = %(who)s ORDER BY report_date"""
        return [tuple(row.values()) for row in await world.query("chronicle", sql, {"who": who})]

    async def blanked() -> bool:
        return await words("GONE1") == [("", "", 30)]

    await eventually(blanked)
    assert await words("STAYS") == [("Did T1", "More", 60)]
    # A report that was still on its way.
    late = (await stub.RecordDailyScrum(reported_day(project, "2026-01-08", ("T1", 90), who="GONE1"))).report
    assert late.reports[0].tasks[0].yesterday_work == ""
    assert await words("GONE1") == [("", "", 30), ("", "", 90)]
