"""What callers record and read: plannings, daily scrums, retrospectives with their action items, free notes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.note_pb2 import (
    ActionItem,
    ActionItemState,
    FreeNote,
    PlannedTask,
    PlanningNote,
    Retrospective,
    SprintStatistics,
)

from services.kit.convert import to_time
from tests.harness import World, refused
from tests.service.chronicle.notes import (
    count_events,
    decision_record,
    new_id,
    new_project,
    planning_note,
    retrospective_of,
    scrum_report,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceAsyncStub

TOKEN = "bm90IGEgdG9rZW4"


# --- planning notes ------------------------------------------------------------------------------


async def test_a_planning_note_is_kept_whole(stub: ChronicleServiceAsyncStub, world: World) -> None:
    project = new_project()
    recorded = await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=planning_note(project)))
    note = recorded.planning_note
    assert note.note_id
    assert note.HasField("create_time")
    expected = planning_note(project)
    expected.note_id = note.note_id
    expected.create_time.CopyFrom(note.create_time)
    assert note == expected

    listed = await stub.ListSprintPlannings(pb.ListSprintPlanningsRequest(project_id=project))
    assert list(listed.planning_notes) == [note]
    assert await count_events(world, note.note_id) == 1


async def test_a_sprint_has_one_planning_note(stub: ChronicleServiceAsyncStub, world: World) -> None:
    note = planning_note(new_project())
    note.note_id = new_id()
    first = await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note))
    note.sprint_goal = "Another"
    again = await stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note))
    assert again == first
    assert await count_events(world, note.note_id) == 1

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
async def test_a_planning_note_keeps_the_rules(
    stub: ChronicleServiceAsyncStub, change: dict[str, object], field: str
) -> None:
    note = planning_note(new_project())
    for name in change:
        note.ClearField(name)  # type: ignore[arg-type]
    note.MergeFrom(PlanningNote(**change))  # type: ignore[arg-type]
    failed = await refused(stub.RecordSprintPlanning(pb.RecordSprintPlanningRequest(planning_note=note)))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", field)


async def test_planning_notes_come_newest_sprint_first_in_pages(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    starts = ["2026-02-02", "2026-01-05", "2026-01-19", "2026-02-02"]
    for number, start in enumerate(starts, start=1):
        note = planning_note(project, number, start, "2026-12-31")
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


async def test_reports_are_grouped_by_date_then_person_then_task(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for day, number in [("2026-01-07", 1), ("2026-01-06", 2), ("2026-01-06", 1)]:
        await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=scrum_report(project, day, number)))
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


async def test_reports_are_found_by_sprint_day_and_span(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    ids = {}
    for day in ("2026-01-06", "2026-01-07", "2026-01-08"):
        answer = await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=scrum_report(project, day)))
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


async def test_a_page_counts_reports_and_a_date_goes_on_in_the_next(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for number in (1, 2, 3):
        await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=scrum_report(project, number=number)))
    first = await stub.ListDailyScrums(pb.ListDailyScrumsRequest(project_id=project, page_size=2))
    rest = await stub.ListDailyScrums(
        pb.ListDailyScrumsRequest(project_id=project, page_size=2, page_token=first.next_page_token)
    )
    assert [len(day.reports) for day in [*first.days, *rest.days]] == [2, 1]
    assert rest.next_page_token == ""


async def test_a_sprint_has_one_report_a_day(stub: ChronicleServiceAsyncStub, world: World) -> None:
    report = scrum_report(new_project())
    requests = [stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report)) for _ in range(8)]
    answers = await asyncio.gather(*requests, return_exceptions=True)
    [stored] = [answer for answer in answers if isinstance(answer, pb.RecordDailyScrumResponse)]
    failed = await refused(stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report)))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "NOTE_ALREADY_EXISTS")
    assert failed.metadata == {"sprint_id": report.sprint_id, "note_id": stored.report.report_id}

    report.report_id = stored.report.report_id
    again = await stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report))
    assert again == stored
    assert await count_events(world, report.report_id) == 1


async def test_a_report_names_each_person_once(stub: ChronicleServiceAsyncStub) -> None:
    report = scrum_report(new_project())
    report.reports.append(report.reports[0])
    failed = await refused(stub.RecordDailyScrum(pb.RecordDailyScrumRequest(report=report)))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "report.reports[2].employee_id")


# --- retrospectives ------------------------------------------------------------------------------


async def test_a_retrospective_is_kept_whole(stub: ChronicleServiceAsyncStub, world: World) -> None:
    project = new_project()
    given = retrospective_of(project)
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
    assert await count_events(world, note.retrospective_id) == 1


async def test_a_sprint_has_one_retrospective(stub: ChronicleServiceAsyncStub) -> None:
    note = retrospective_of(new_project())
    first = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
    failed = await refused(stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note)))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "NOTE_ALREADY_EXISTS")
    assert failed.metadata == {"sprint_id": note.sprint_id, "note_id": first.retrospective.retrospective_id}

    note.retrospective_id = first.retrospective.retrospective_id
    again = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
    assert again == first


async def test_an_action_item_belongs_to_one_retrospective(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    item = ActionItem(action_item_id=new_id(), description="Once")
    for number, answered in ((1, True), (2, False)):
        note = retrospective_of(project, number)
        note.action_items.append(item)
        call = stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
        if answered:
            await call
        else:
            failed = await refused(call)
            assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "retrospective.action_items")


async def test_retrospectives_come_newest_sprint_first_in_pages(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    for number, start in ((1, "2026-01-19"), (2, "2026-01-05"), (3, "2026-02-02")):
        note = retrospective_of(project, number, start)
        await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=note))
    first = await stub.ListRetrospectives(pb.ListRetrospectivesRequest(project_id=project, page_size=2))
    rest = await stub.ListRetrospectives(
        pb.ListRetrospectivesRequest(project_id=project, page_size=2, page_token=first.next_page_token)
    )
    assert [note.sprint_id[-1] for note in [*first.retrospectives, *rest.retrospectives]] == ["3", "1", "2"]


async def test_an_action_item_moves_and_tells_so(stub: ChronicleServiceAsyncStub, world: World) -> None:
    project = new_project()
    recorded = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=retrospective_of(project)))
    item = recorded.retrospective.action_items[0]
    done = ActionItemState.ACTION_ITEM_STATE_DONE
    request = pb.UpdateActionItemRequest(
        action_item_id=item.action_item_id, state=done, owner_id="E009", request_id=new_id()
    )
    answer = await stub.UpdateActionItem(request)
    assert (answer.action_item.state, answer.action_item.owner_id) == (done, "E009")
    assert answer.action_item.description == item.description
    assert to_time(answer.action_item.update_time) > to_time(item.update_time)
    assert answer.retrospective_id == recorded.retrospective.retrospective_id
    assert await stub.UpdateActionItem(request) == answer
    nothing = pb.UpdateActionItemRequest(action_item_id=item.action_item_id)
    assert (await stub.UpdateActionItem(nothing)).action_item == answer.action_item
    assert await count_events(world, item.action_item_id) == 1

    other = pb.UpdateActionItemRequest()
    other.CopyFrom(request)
    other.owner_id = ""
    failed = await refused(stub.UpdateActionItem(other))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    listed = await stub.ListRetrospectives(pb.ListRetrospectivesRequest(project_id=project))
    assert listed.retrospectives[0].action_items[0] == answer.action_item


async def test_many_changes_of_an_action_item_are_all_counted(stub: ChronicleServiceAsyncStub, world: World) -> None:
    project = new_project()
    recorded = await stub.RecordRetrospective(pb.RecordRetrospectiveRequest(retrospective=retrospective_of(project)))
    item_id = recorded.retrospective.action_items[0].action_item_id
    changes = [pb.UpdateActionItemRequest(action_item_id=item_id, owner_id=f"E{n}") for n in range(20)]
    await asyncio.gather(*(stub.UpdateActionItem(change) for change in changes))
    versions = await world.query(
        "chronicle", "SELECT aggregate_version FROM outbox WHERE aggregate_id = %(id)s", {"id": item_id}
    )
    assert sorted(row["aggregate_version"] for row in versions) == list(range(2, 22))


async def test_an_unknown_action_item_is_not_found(stub: ChronicleServiceAsyncStub) -> None:
    missing = new_id()
    failed = await refused(stub.UpdateActionItem(pb.UpdateActionItemRequest(action_item_id=missing, owner_id="E001")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "ACTION_ITEM_NOT_FOUND")
    assert failed.metadata == {"action_item_id": missing}


# --- free notes ----------------------------------------------------------------------------------


async def test_free_notes_are_kept_and_found(stub: ChronicleServiceAsyncStub, world: World) -> None:
    project = new_project()
    sprint_id, task_id = f"{project}-S01", f"{project}-TASK001"
    subjects: list[dict[str, Any]] = [{}, {"sprint_id": sprint_id}, {"sprint_id": sprint_id, "task_id": task_id}]
    for number, subject in enumerate(subjects):
        note = FreeNote(project_id=project, text=f"Note {number}", author_id="E001", **subject)
        stored = (await stub.RecordNote(pb.RecordNoteRequest(note=note))).note
        assert (stored.text, stored.author_id) == (note.text, "E001")
        assert stored.HasField("create_time")
        assert await count_events(world, stored.note_id) == 1

    async def found(**filters: str) -> list[str]:
        listed = await stub.ListNotes(pb.ListNotesRequest(**filters))  # type: ignore[arg-type]
        return [note.text for note in listed.notes]

    assert await found(project_id=project) == ["Note 2", "Note 1", "Note 0"]
    assert await found(sprint_id=f"{project}-S01") == ["Note 2", "Note 1"]
    assert await found(task_id=f"{project}-TASK001") == ["Note 2"]
    first = await stub.ListNotes(pb.ListNotesRequest(project_id=project, page_size=2))
    rest = await stub.ListNotes(pb.ListNotesRequest(project_id=project, page_size=2, page_token=first.next_page_token))
    assert [note.text for note in rest.notes] == ["Note 0"]


async def test_a_free_note_has_a_text(stub: ChronicleServiceAsyncStub) -> None:
    failed = await refused(stub.RecordNote(pb.RecordNoteRequest(note=FreeNote(project_id=new_project()))))
    assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "note.text")


# --- request ids and page tokens -----------------------------------------------------------------


async def test_a_request_id_has_one_effect_and_one_answer(stub: ChronicleServiceAsyncStub) -> None:
    project = new_project()
    calls: list[tuple[Callable[[Any], Awaitable[Any]], Any]] = [
        (stub.RecordSprintPlanning, pb.RecordSprintPlanningRequest(planning_note=planning_note(project))),
        (stub.RecordDailyScrum, pb.RecordDailyScrumRequest(report=scrum_report(project))),
        (stub.RecordRetrospective, pb.RecordRetrospectiveRequest(retrospective=retrospective_of(project))),
        (stub.RecordDecision, pb.RecordDecisionRequest(decision=decision_record(project))),
        (stub.RecordNote, pb.RecordNoteRequest(note=FreeNote(project_id=project, text="Once"))),
    ]
    for method, request in calls:
        request.request_id = new_id()
        answers = await asyncio.gather(*(method(request) for _ in range(5)))
        assert all(answer == answers[0] for answer in answers)
        resource = request.ListFields()[0][1]
        resource.project_id = new_project()
        failed = await refused(method(request))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    listed = await stub.ListNotes(pb.ListNotesRequest(project_id=project))
    assert len(listed.notes) == 1


async def test_a_page_token_of_another_query_is_refused(stub: ChronicleServiceAsyncStub) -> None:
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
