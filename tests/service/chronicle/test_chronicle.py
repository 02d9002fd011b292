"""The chronicle's calls: what callers record, and what they read."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.chronicle.v1.note_pb2 import (
    ActionItem,
    ActionItemState,
    DailyScrumReport,
    FreeNote,
    PersonReport,
    PlannedTask,
    PlanningNote,
    Retrospective,
    RetrospectiveTask,
    SprintStatistics,
    SummaryMetrics,
    TaskReport,
)
from dsm.orchestrator.v1.decision_pb2 import Decision, DecisionMode, DecisionRecord, DecisionSource
from dsm.orchestrator.v1.insight_pb2 import Trend

from services.kit.convert import to_time
from tests.harness import World, refused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub

_numbers = count(1)
TOKEN = "bm90IGEgdG9rZW4"


async def _stub(world: World) -> ChronicleServiceAsyncStub:
    return ChronicleServiceStub(await world.channel("chronicle"))


def _project() -> str:
    return f"CHR{next(_numbers):03}"


def _id() -> str:
    return str(uuid4())


def _planning(project_id: str, number: int = 1, start: str = "2026-01-05", end: str = "2026-01-18") -> PlanningNote:
    sprint_id = f"{project_id}-S{number:02}"
    return PlanningNote(
        sprint_id=sprint_id,
        project_id=project_id,
        sprint_name=f"Sprint {number}",
        sprint_goal="Ship it",
        start_date=start,
        end_date=end,
        duration_weeks=2,
        planned_tasks=[
            PlannedTask(task_id=f"{project_id}-TASK001", title="Login", assignee_id="E001", points=3),
            PlannedTask(task_id=f"{project_id}-TASK002", title="Logout"),
        ],
        capacity_person_days=18.5,
    )


def _report(project_id: str, day: str = "2026-01-06", number: int = 1) -> DailyScrumReport:
    return DailyScrumReport(
        project_id=project_id,
        sprint_id=f"{project_id}-S{number:02}",
        report_date=day,
        summary="A day",
        summary_metrics=SummaryMetrics(total_team_members=2, total_tasks=3, completed_tasks=1, pending_tasks=2),
        reports=[
            PersonReport(
                employee_id="E002",
                tasks=[
                    TaskReport(task_id="T2", yesterday_work="wrote", today_work="test", progress_percent=40),
                    TaskReport(task_id="T1", impediments="No access", progress_percent=10),
                ],
            ),
            PersonReport(employee_id="E001", away=True),
        ],
    )


def _retrospective(project_id: str, number: int = 1, start: str = "2026-01-05") -> Retrospective:
    return Retrospective(
        sprint_id=f"{project_id}-S{number:02}",
        project_id=project_id,
        sprint_name=f"Sprint {number}",
        start_date=start,
        end_date="2026-12-31",
        duration_weeks=2,
        what_went_well=["Pairing"],
        what_could_be_improved=["Estimates", "Reviews"],
        action_items=[
            ActionItem(description="Review within a day"),
            ActionItem(description="Split large tasks", state=ActionItemState.ACTION_ITEM_STATE_DONE, owner_id="E001"),
        ],
        facilitator_id="E001",
        attendee_ids=["E001", "E002"],
        tasks_summary=[
            RetrospectiveTask(task_id="T1", description="Login", status="COMPLETED", employee_id="E001", points=3),
            RetrospectiveTask(task_id="T2", description="Logout", status="IN_PROGRESS", progress_percent=40),
        ],
    )


def _decision(project_id: str, moment: int = 1_700_000_000, **fields: object) -> DecisionRecord:
    record = DecisionRecord(
        decision_id=_id(),
        project_id=project_id,
        mode=DecisionMode.DECISION_MODE_HYBRID,
        decision_source=DecisionSource.DECISION_SOURCE_INTELLIGENCE_ENHANCED,
        rule_based_decision=Decision(tasks_to_assign=10, reasoning="The rules say so."),
        final_decision=Decision(tasks_to_assign=8),
        **fields,  # type: ignore[arg-type]
    )
    record.decision_time.FromSeconds(moment)
    return record


async def _events(world: World, aggregate_id: str) -> int:
    found = await world.query("chronicle", "SELECT 1 FROM outbox WHERE aggregate_id = %(id)s", {"id": aggregate_id})
    return len(found)


# --- planning notes ------------------------------------------------------------------------------


async def test_a_planning_note_is_kept_whole(world: World) -> None:
    stub, project = await _stub(world), _project()
    recorded = await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=_planning(project)))
    note = recorded.planning_note
    assert note.note_id
    assert note.HasField("create_time")
    expected = _planning(project)
    expected.note_id = note.note_id
    expected.create_time.CopyFrom(note.create_time)
    assert note == expected

    listed = await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(project_id=project))
    assert list(listed.planning_notes) == [note]
    assert await _events(world, note.note_id) == 1


async def test_a_sprint_has_one_planning_note(world: World) -> None:
    stub, note = await _stub(world), _planning(_project())
    note.note_id = _id()
    first = await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note))
    note.sprint_goal = "Another"
    again = await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note))
    assert again == first
    assert await _events(world, note.note_id) == 1

    note.ClearField("note_id")
    failed = await refused(stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note)))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "NOTE_ALREADY_EXISTS")
    assert failed.metadata == {"sprint_id": note.sprint_id, "note_id": first.planning_note.note_id}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"end_date": "2026-01-04"}, "planning_note.end_date"),
        ({"end_date": "2026-02-30"}, "planning_note.end_date"),
        ({"start_date": "soon"}, "planning_note.start_date"),
        ({"duration_weeks": 7}, "planning_note.duration_weeks"),
        ({"project_id": "lower"}, "planning_note.project_id"),
        ({"note_id": "no-uuid"}, "planning_note.note_id"),
        ({"planned_tasks": [PlannedTask(task_id="T1")] * 2}, "planning_note.planned_tasks[1].task_id"),
    ],
)
async def test_a_planning_note_keeps_the_rules(world: World, change: dict[str, object], field: str) -> None:
    stub, note = await _stub(world), _planning(_project())
    for name in change:
        note.ClearField(name)  # type: ignore[arg-type]
    note.MergeFrom(PlanningNote(**change))  # type: ignore[arg-type]
    failed = await refused(stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note)))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", field)


async def test_planning_notes_come_newest_sprint_first_in_pages(world: World) -> None:
    stub, project = await _stub(world), _project()
    starts = ["2026-02-02", "2026-01-05", "2026-01-19", "2026-02-02"]
    for number, start in enumerate(starts, start=1):
        note = _planning(project, number, start, "2026-12-31")
        await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note))
    found, token = [], ""
    while True:
        page = await stub.ListSprintPlannings(
            pb.ListSprintPlanningsRequest(project_id=project, page_size=1, page_token=token)
        )
        found += [note.sprint_id for note in page.planning_notes]
        token = page.next_page_token
        if not token:
            break
    assert found == [f"{project}-S{number:02}" for number in (4, 1, 3, 2)]
    one = await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(sprint_id=f"{project}-S03"))
    assert [note.start_date for note in one.planning_notes] == ["2026-01-19"]
    same = await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(note_id=one.planning_notes[0].note_id))
    assert same.planning_notes == one.planning_notes


# --- daily scrum reports -------------------------------------------------------------------------


async def test_reports_are_grouped_by_date_then_person_then_task(world: World) -> None:
    stub, project = await _stub(world), _project()
    for day, number in [("2026-01-07", 1), ("2026-01-06", 2), ("2026-01-06", 1)]:
        await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=_report(project, day, number)))
    listed = await stub.ListDailyScrums(pb.ListDailyScrumsRequest(project_id=project))
    days = [(day.report_date, [report.sprint_id[-3:] for report in day.reports]) for day in listed.days]
    assert days == [("2026-01-06", ["S01", "S02"]), ("2026-01-07", ["S01"])]
    report = listed.days[0].reports[0]
    people = [(person.employee_id, person.away, [task.task_id for task in person.tasks]) for person in report.reports]
    assert people == [("E001", True, []), ("E002", False, ["T1", "T2"])]
    task = report.reports[1].tasks[1]
    assert (task.yesterday_work, task.today_work, task.progress_percent) == ("wrote", "test", 40)
    assert report.reports[1].tasks[0].impediments == "No access"
    assert (report.summary, report.summary_metrics.pending_tasks) == ("A day", 2)


async def test_reports_are_found_by_sprint_day_and_span(world: World) -> None:
    stub, project = await _stub(world), _project()
    ids = {}
    for day in ("2026-01-06", "2026-01-07", "2026-01-08"):
        answer = await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=_report(project, day)))
        ids[day] = answer.report.report_id

    async def days(**filters: str) -> list[str]:
        listed = await stub.ListDailyScrums(pb.ListDailyScrumsRequest(project_id=project, **filters))  # type: ignore[arg-type]
        return [day.report_date for day in listed.days]

    assert await days(report_date="2026-01-07") == ["2026-01-07"]
    assert await days(start_date="2026-01-07") == ["2026-01-07", "2026-01-08"]
    assert await days(end_date="2026-01-07") == ["2026-01-06", "2026-01-07"]
    assert await days(sprint_id=f"{project}-S01", start_date="2026-01-07", end_date="2026-01-07") == ["2026-01-07"]
    assert await days(report_id=ids["2026-01-08"]) == ["2026-01-08"]
    assert await days(sprint_id=f"{project}-S99") == []
    failed = await refused(stub.ListDailyScrums(pb.ListDailyScrumsRequest(report_date="2026-13-01")))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "report_date")


async def test_a_page_counts_reports_and_a_date_goes_on_in_the_next(world: World) -> None:
    stub, project = await _stub(world), _project()
    for number in (1, 2, 3):
        await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=_report(project, number=number)))
    first = await stub.ListDailyScrums(pb.ListDailyScrumsRequest(project_id=project, page_size=2))
    rest = await stub.ListDailyScrums(
        pb.ListDailyScrumsRequest(project_id=project, page_size=2, page_token=first.next_page_token)
    )
    assert [len(day.reports) for day in [*first.days, *rest.days]] == [2, 1]
    assert rest.next_page_token == ""


async def test_a_sprint_has_one_report_a_day(world: World) -> None:
    stub, report = await _stub(world), _report(_project())
    requests = [stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report)) for _ in range(8)]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    [stored] = [answer for answer in answers if isinstance(answer, pb.RecordDailyScrumResponse)]
    failed = await refused(stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report)))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "NOTE_ALREADY_EXISTS")
    assert failed.metadata == {"sprint_id": report.sprint_id, "note_id": stored.report.report_id}

    report.report_id = stored.report.report_id
    again = await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report))
    assert again == stored
    assert await _events(world, report.report_id) == 1


async def test_a_report_names_each_person_once(world: World) -> None:
    stub, report = await _stub(world), _report(_project())
    report.reports.append(report.reports[0])
    failed = await refused(stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report)))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "report.reports[2].employee_id")


# --- retrospectives ------------------------------------------------------------------------------


async def test_a_retrospective_is_kept_whole(world: World) -> None:
    stub, project = await _stub(world), _project()
    given = _retrospective(project)
    given.statistics.CopyFrom(
        SprintStatistics(planned_tasks=2, planned_points=3, completed_tasks=1, completed_points=3, released_tasks=1)
    )
    given.statistics.completion_rate = 0.5
    given.create_time.FromSeconds(1_768_000_000)
    note = (await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=given))).retrospective
    assert [item.state for item in note.action_items] == [
        ActionItemState.ACTION_ITEM_STATE_OPEN,
        ActionItemState.ACTION_ITEM_STATE_DONE,
    ]
    expected = Retrospective()
    expected.CopyFrom(given)
    expected.retrospective_id = note.retrospective_id
    for item, stored in zip(expected.action_items, note.action_items, strict=True):
        item.action_item_id, item.state = stored.action_item_id, stored.state
        item.update_time.CopyFrom(stored.update_time)
    assert note == expected

    for request in (
        pb.ListRetrospectivesRequest(project_id=project),
        pb.ListRetrospectivesRequest(sprint_id=note.sprint_id),
        pb.ListRetrospectivesRequest(retrospective_id=note.retrospective_id),
    ):
        listed = await stub.ListRetrospectives(request)
        assert list(listed.retrospectives) == [note]
    assert await _events(world, note.retrospective_id) == 1


async def test_a_sprint_has_one_retrospective(world: World) -> None:
    stub, note = await _stub(world), _retrospective(_project())
    first = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
    failed = await refused(stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note)))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "NOTE_ALREADY_EXISTS")
    assert failed.metadata == {"sprint_id": note.sprint_id, "note_id": first.retrospective.retrospective_id}

    note.retrospective_id = first.retrospective.retrospective_id
    again = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
    assert again == first


async def test_an_action_item_belongs_to_one_retrospective(world: World) -> None:
    stub, project = await _stub(world), _project()
    item = ActionItem(action_item_id=_id(), description="Once")
    for number, answered in ((1, True), (2, False)):
        note = _retrospective(project, number)
        note.action_items.append(item)
        call = stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
        if answered:
            await call
        else:
            failed = await refused(call)
            assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "retrospective.action_items")


async def test_retrospectives_come_newest_sprint_first_in_pages(world: World) -> None:
    stub, project = await _stub(world), _project()
    for number, start in ((1, "2026-01-19"), (2, "2026-01-05"), (3, "2026-02-02")):
        note = _retrospective(project, number, start)
        await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
    first = await stub.ListRetrospectives(pb.ListRetrospectivesRequest(project_id=project, page_size=2))
    rest = await stub.ListRetrospectives(
        pb.ListRetrospectivesRequest(project_id=project, page_size=2, page_token=first.next_page_token)
    )
    assert [note.sprint_id[-1] for note in [*first.retrospectives, *rest.retrospectives]] == ["3", "1", "2"]


async def test_an_action_item_moves_and_tells_so(world: World) -> None:
    stub, project = await _stub(world), _project()
    recorded = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=_retrospective(project)))
    item = recorded.retrospective.action_items[0]
    done = ActionItemState.ACTION_ITEM_STATE_DONE
    request = pb.UpdateActionItemRequest(
        action_item_id=item.action_item_id, state=done, owner_id="E009", request_id=_id()
    )
    answer = await stub.UpdateActionItem(request)
    assert (answer.action_item.state, answer.action_item.owner_id) == (done, "E009")
    assert answer.action_item.description == item.description
    assert to_time(answer.action_item.update_time) > to_time(item.update_time)
    assert answer.retrospective_id == recorded.retrospective.retrospective_id
    assert await stub.UpdateActionItem(request) == answer
    nothing = pb.UpdateActionItemRequest(action_item_id=item.action_item_id)
    assert (await stub.UpdateActionItem(nothing)).action_item == answer.action_item
    assert await _events(world, item.action_item_id) == 1

    other = pb.UpdateActionItemRequest()
    other.CopyFrom(request)
    other.owner_id = ""
    failed = await refused(stub.UpdateActionItem(other))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    listed = await stub.ListRetrospectives(pb.ListRetrospectivesRequest(project_id=project))
    assert listed.retrospectives[0].action_items[0] == answer.action_item


async def test_many_changes_of_an_action_item_are_all_counted(world: World) -> None:
    stub, project = await _stub(world), _project()
    recorded = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=_retrospective(project)))
    item_id = recorded.retrospective.action_items[0].action_item_id
    changes = [pb.UpdateActionItemRequest(action_item_id=item_id, owner_id=f"E{n}") for n in range(20)]
    await asyncio.gather(*(stub.UpdateActionItem(change) for change in changes))
    versions = await world.query(
        "chronicle", "SELECT aggregate_version FROM outbox WHERE aggregate_id = %(id)s", {"id": item_id}
    )
    assert sorted(row["aggregate_version"] for row in versions) == list(range(2, 22))


async def test_an_unknown_action_item_is_not_found(world: World) -> None:
    stub, missing = await _stub(world), _id()
    failed = await refused(stub.UpdateActionItem(pb.UpdateActionItemRequest(action_item_id=missing, owner_id="E001")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "ACTION_ITEM_NOT_FOUND")
    assert failed.metadata == {"action_item_id": missing}


# --- decisions -----------------------------------------------------------------------------------


async def test_decisions_are_kept_as_they_came_oldest_first(world: World) -> None:
    stub, project = await _stub(world), _project()
    records = [_decision(project, 1_700_000_000 + day * 86400) for day in (2, 0, 1)]
    records[0].decision_source = DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY
    records[1].sprint_id = f"{project}-S01"
    for record in records:
        stored = await stub.RecordDecision(pb.RecordDecisionRequest(decision=record))
        assert stored.decision_note.audit_id == record.decision_id
        assert stored.decision_note.decision == record
        assert await stub.RecordDecision(pb.RecordDecisionRequest(decision=record)) == stored
        assert await _events(world, record.decision_id) == 1

    async def found(**filters: object) -> list[DecisionRecord]:
        listed = await stub.ListDecisions(pb.ListDecisionsRequest(**filters))  # type: ignore[arg-type]
        return [note.decision for note in listed.decision_notes]

    assert await found(project_id=project) == [records[1], records[2], records[0]]
    assert await found(sprint_id=f"{project}-S01") == [records[1]]
    assert await found(audit_id=records[2].decision_id) == [records[2]]
    source = DecisionSource.DECISION_SOURCE_RULE_BASED_ONLY
    assert await found(project_id=project, decision_source=source) == [records[0]]
    # 1,700,000,000 is the evening of 14 November 2023 in UTC.
    assert await found(project_id=project, start_date="2023-11-15", end_date="2023-11-15") == [records[2]]
    first = await stub.ListDecisions(pb.ListDecisionsRequest(project_id=project, page_size=2))
    rest = await stub.ListDecisions(
        pb.ListDecisionsRequest(project_id=project, page_size=2, page_token=first.next_page_token)
    )
    assert [note.decision for note in rest.decision_notes] == [records[0]]


@pytest.mark.parametrize("sprint_closes_first", [True, False])
async def test_a_decision_gets_the_outcome_of_its_sprint(world: World, sprint_closes_first: bool) -> None:
    stub, project = await _stub(world), _project()
    record = _decision(project, sprint_id=f"{project}-S01")
    note = _retrospective(project)
    steps: list[Awaitable[object]] = [
        stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note)),
        stub.RecordDecision(pb.RecordDecisionRequest(decision=record)),
    ]
    for step in steps if sprint_closes_first else steps[::-1]:
        await step
    listed = await stub.ListDecisions(pb.ListDecisionsRequest(project_id=project))
    [decision] = listed.decision_notes
    outcome = decision.decision.outcome
    assert (outcome.sprint_id, outcome.success, outcome.completion_rate) == (note.sprint_id, False, 0.5)
    assert (outcome.completed_tasks, outcome.completed_points) == (1, 3)
    assert decision.HasField("outcome_time")


async def test_a_decision_needs_its_parts(world: World) -> None:
    stub, record = await _stub(world), _decision(_project())
    record.ClearField("final_decision")
    failed = await refused(stub.RecordDecision(pb.RecordDecisionRequest(decision=record)))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "decision.final_decision")


# --- free notes ----------------------------------------------------------------------------------


async def test_free_notes_are_kept_and_found(world: World) -> None:
    stub, project = await _stub(world), _project()
    sprint_id, task_id = f"{project}-S01", f"{project}-TASK001"
    subjects: list[dict[str, Any]] = [{}, {"sprint_id": sprint_id}, {"sprint_id": sprint_id, "task_id": task_id}]
    for number, subject in enumerate(subjects):
        note = FreeNote(project_id=project, text=f"Note {number}", author_id="E001", **subject)
        stored = (await stub.RecordNote(pb.RecordNoteRequest(note=note))).note
        assert (stored.text, stored.author_id) == (note.text, "E001")
        assert stored.HasField("create_time")
        assert await _events(world, stored.note_id) == 1

    async def found(**filters: str) -> list[str]:
        listed = await stub.ListNotes(pb.ListNotesRequest(**filters))  # type: ignore[arg-type]
        return [note.text for note in listed.notes]

    assert await found(project_id=project) == ["Note 2", "Note 1", "Note 0"]
    assert await found(sprint_id=f"{project}-S01") == ["Note 2", "Note 1"]
    assert await found(task_id=f"{project}-TASK001") == ["Note 2"]
    first = await stub.ListNotes(pb.ListNotesRequest(project_id=project, page_size=2))
    rest = await stub.ListNotes(pb.ListNotesRequest(project_id=project, page_size=2, page_token=first.next_page_token))
    assert [note.text for note in rest.notes] == ["Note 0"]


async def test_a_free_note_has_a_text(world: World) -> None:
    stub = await _stub(world)
    failed = await refused(stub.RecordNote(pb.RecordNoteRequest(note=FreeNote(project_id=_project()))))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "note.text")


# --- request ids and page tokens -----------------------------------------------------------------


async def test_a_request_id_has_one_effect_and_one_answer(world: World) -> None:
    stub, project = await _stub(world), _project()
    calls: list[tuple[Callable[[Any], Awaitable[Any]], Any]] = [
        (stub.RecordSprintPlanning, pb.RecordSprintPlanningRequest(planning_note=_planning(project))),
        (stub.RecordDailyScrum, pb.RecordDailyScrumRequest(report=_report(project))),
        (stub.RecordRetrospective, pb.RecordRetrospectiveRequest(retrospective=_retrospective(project))),
        (stub.RecordDecision, pb.RecordDecisionRequest(decision=_decision(project))),
        (stub.RecordNote, pb.RecordNoteRequest(note=FreeNote(project_id=project, text="Once"))),
    ]
    for method, request in calls:
        request.request_id = _id()
        answers = await asyncio.gather(*(method(request) for _ in range(5)))
        assert all(answer == answers[0] for answer in answers)
        resource = request.ListFields()[0][1]
        resource.project_id = _project()
        failed = await refused(method(request))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    listed = await stub.ListNotes(pb.ListNotesRequest(project_id=project))
    assert len(listed.notes) == 1


async def test_a_page_token_of_another_query_is_refused(world: World) -> None:
    stub = await _stub(world)
    calls: list[Awaitable[object]] = [
        stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(page_token=TOKEN)),
        stub.ListDailyScrums(pb.ListDailyScrumsRequest(page_token=TOKEN)),
        stub.ListRetrospectives(pb.ListRetrospectivesRequest(page_token=TOKEN)),
        stub.ListDecisions(pb.ListDecisionsRequest(page_token=TOKEN)),
        stub.ListNotes(pb.ListNotesRequest(page_token=TOKEN)),
    ]
    for call in calls:
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


# --- velocity ------------------------------------------------------------------------------------


async def test_velocity_is_told_by_closed_sprints(world: World) -> None:
    stub, project = await _stub(world), _project()
    for number, points in enumerate((10, 14, 21), start=1):
        start = f"2026-0{number}-05"
        await stub.RecordSprintPlanning(
            pb.RecordSprintPlanningRequest(planning_note=_planning(project, number, start, "2026-12-31"))
        )
        note = _retrospective(project, number, start)
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


async def test_a_project_without_closed_sprints_has_no_velocity(world: World) -> None:
    stub, project = await _stub(world), _project()
    failed = await refused(stub.GetVelocity(pb.GetVelocityRequest(project_id=project)))
    assert (failed.code, failed.reason, failed.metadata) == (
        "NOT_FOUND",
        "PROJECT_NOT_FOUND",
        {"project_id": project},
    )
    await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=_planning(project)))
    velocity = (await stub.GetVelocity(pb.GetVelocityRequest(project_id=project))).velocity
    assert not velocity.velocity_trend_data
    assert not velocity.HasField("average_velocity")
