"""CloseSprint."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from tests.harness import World, eventually, refused
from tests.service.sprint.sprints import LAST_DAY, MONDAY, Fixture, make

COMPLETED = sprint_pb2.SPRINT_STATE_COMPLETED
WITH_PENDING = sprint_pb2.SPRINT_STATE_CLOSED_WITH_PENDING_TASKS
UNASSIGNED = task_pb2.TASK_STATE_UNASSIGNED


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint in which one task of three is done, one begun and one untouched; a fourth is in the backlog."""
    return await _ready(world)


async def _ready(world: World) -> Fixture:
    at = await make(world, points=(5, 3, 2, 1))
    await at.start(max_tasks=3)
    await at.report(at.task_ids[0], 100, work_date=MONDAY)
    await at.report(at.task_ids[1], 40, work_date=MONDAY)
    return at


async def _close(at: Fixture, **fields: object) -> pb.CloseSprintResponse:
    fields = {"sprint_id": f"{at.project_id}-S01"} | fields
    return await at.sprints.CloseSprint(pb.CloseSprintRequest(**fields))  # type: ignore[arg-type]


async def test_unfinished_tasks_go_back_before_the_sprint_is_closed(at: Fixture) -> None:
    answer = await _close(at, close_date=LAST_DAY, facilitator_id="LEAD")
    # Read at once, without waiting for any event.
    begun, untouched = [await at.task(task_id) for task_id in at.task_ids[1:3]]
    assert (begun.state, begun.sprint_id, begun.assignee_id, begun.progress_percent) == (UNASSIGNED, "", "", 0)
    assert (untouched.state, untouched.sprint_id) == (UNASSIGNED, "")
    assert (answer.final_state, answer.completed_tasks_count, answer.released_tasks_count) == (WITH_PENDING, 1, 2)
    sprint = answer.sprint
    assert (sprint.state, sprint.close_date, sprint.retrospective_id) == (
        WITH_PENDING,
        LAST_DAY,
        answer.retrospective_id,
    )
    assert not sprint.tasks
    figures = sprint.statistics
    assert (figures.planned_tasks, figures.planned_points) == (3, 10)
    assert (figures.completed_tasks, figures.completed_points) == (1, 5)
    assert (figures.released_tasks, figures.released_points) == (2, 5)
    assert figures.completion_rate == pytest.approx(0.3333)
    assert figures.points_per_person_day == 0.25
    assert (figures.team_size, figures.working_days, figures.capacity_person_days) == (2, 10, 20)
    whole = await at.sprint(sprint.sprint_id)
    assert whole.statistics == figures
    assert [task.outcome for task in whole.tasks] == [
        sprint_pb2.SPRINT_TASK_OUTCOME_COMPLETED,
        sprint_pb2.SPRINT_TASK_OUTCOME_RELEASED,
        sprint_pb2.SPRINT_TASK_OUTCOME_RELEASED,
    ]


async def test_the_retrospective_is_about_this_sprint(at: Fixture) -> None:
    request = pb.RaiseImpedimentRequest(task_id=at.task_ids[1], text="No access", owner_id="BOSS")
    impediment = (await at.sprints.RaiseImpediment(request)).impediment
    answer = await _close(at, facilitator_id="LEAD")
    retro = answer.retrospective
    assert (retro.retrospective_id, retro.sprint_id) == (answer.retrospective_id, answer.sprint.sprint_id)
    assert (retro.facilitator_id, list(retro.attendee_ids)) == ("LEAD", at.people)
    assert any("1 of 3 tasks" in text for text in retro.what_went_well)
    assert any(at.task_ids[1] in text for text in retro.what_could_be_improved)
    item = retro.action_items[0]
    assert (item.impediment_id, item.owner_id, item.state) == (
        impediment.impediment_id,
        "BOSS",
        note_pb2.ACTION_ITEM_STATE_OPEN,
    )
    assert len({item.action_item_id for item in retro.action_items}) == len(retro.action_items)
    assert [(task.task_id, task.status) for task in retro.tasks_summary] == [
        (at.task_ids[0], "COMPLETED"),
        (at.task_ids[1], "BLOCKED"),
        (at.task_ids[2], "ASSIGNED_TO_SPRINT"),
    ]
    rows = await at.world.query(
        "sprint",
        "SELECT payload FROM outbox WHERE subject = 'dsm.sprint.v1.sprint.closed' AND aggregate_id = %(sprint_id)s",
        {"sprint_id": retro.sprint_id},
    )
    (event,) = [event_pb2.Event.FromString(bytes(row["payload"])) for row in rows]
    assert event.sprint_closed.retrospective == retro
    assert event.sprint_closed.sprint == answer.sprint
    # Version 1 when planned, one more for each report or impediment, and one for being given back.
    assert [task.version for task in event.sprint_closed.released_tasks] == [4, 2]


async def test_rolled_over_tasks_are_planned_first_with_what_was_done(at: Fixture) -> None:
    before = {task.task_id: task for task in (await at.sprint(f"{at.project_id}-S01")).tasks}
    await _close(at, policy=backlog.RELEASE_POLICY_ROLL_OVER)
    begun = await at.task(at.task_ids[1])
    assert (begun.progress_percent, begun.assignee_id) == (40, before[begun.task_id].assignee_id)
    answer = await at.start(start_date="2025-03-17", max_tasks=2)
    tasks = {task.task_id: task for task in answer.sprint.tasks}
    assert set(tasks) == set(at.task_ids[1:3])
    again = tasks[begun.task_id]
    # Counted on over the task's life: planned, reported, given back, planned.
    assert (again.progress_percent, again.version) == (40, 4)
    assert (await at.report(begun.task_id, 50)).version == 5


async def test_a_sprint_with_everything_done_is_completed(world: World) -> None:
    at = await make(world, points=(5,))
    await at.start()
    await at.report(at.task_ids[0], 100)
    answer = await _close(at)
    assert (answer.final_state, answer.released_tasks_count) == (COMPLETED, 0)
    assert answer.sprint.statistics.completion_rate == 1

    async def followed() -> bool:
        return (await at.task(at.task_ids[0])).state == task_pb2.TASK_STATE_COMPLETED

    await eventually(followed)


async def test_a_dry_run_changes_nothing(at: Fixture) -> None:
    before = await at.sprint(f"{at.project_id}-S01")
    answer = await _close(at, dry_run=True)
    assert (answer.final_state, answer.completed_tasks_count, answer.released_tasks_count) == (WITH_PENDING, 1, 2)
    assert (answer.retrospective_id, answer.retrospective.retrospective_id) == ("", "")
    assert answer.retrospective.what_could_be_improved
    assert await at.sprint(before.sprint_id) == before
    assert await at.events("sprint.closed") == []


async def test_a_dry_run_is_the_answer_to_its_request_from_then_on(at: Fixture) -> None:
    request_id = str(uuid4())
    first = await _close(at, dry_run=True, request_id=request_id)
    await at.report(at.task_ids[1], 100)
    assert await _close(at, dry_run=True, request_id=request_id) == first
    assert (await refused(_close(at, request_id=request_id))).reason == "REQUEST_ID_REUSED"


async def test_a_closed_sprint_cannot_be_closed_or_worked_in(at: Fixture) -> None:
    await _close(at)
    for fields in ({}, {"dry_run": True}):
        failed = await refused(_close(at, **fields))
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "SPRINT_NOT_IN_PROGRESS")
        assert failed.metadata == {"sprint_id": f"{at.project_id}-S01", "state": "CLOSED_WITH_PENDING_TASKS"}
    assert (await refused(at.report(at.task_ids[1], 50))).reason == "TASK_NOT_IN_SPRINT"


async def test_the_same_request_from_many_closes_once(at: Fixture) -> None:
    request_id = str(uuid4())
    answers = await asyncio.gather(*(_close(at, request_id=request_id) for _ in range(10)))
    assert len({answer.retrospective_id for answer in answers}) == 1
    assert await at.events("sprint.closed") == [f"{at.project_id}-S01"]
    failed = await refused(_close(at, request_id=request_id, facilitator_id="E1"))
    assert failed.reason == "REQUEST_ID_REUSED"


async def test_the_day_of_closing_is_in_the_sprint_or_after_it(world: World, at: Fixture) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date().isoformat()
    for day in ("2025-03-02", tomorrow):
        failed = await refused(_close(at, close_date=day))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "DATE_OUT_OF_RANGE")
        assert (failed.metadata["field"], failed.metadata["value"]) == ("close_date", day)
    assert (await _close(at)).sprint.close_date == datetime.now(UTC).date().isoformat()


class TestWithoutBacklog:
    """A backlog that is away, in a world of its own with short leases."""

    async def test_a_closing_ends_by_itself_when_the_backlog_is_back(self, own_world: World) -> None:
        at = await _ready(own_world)
        await own_world.stop("backlog")
        request_id = str(uuid4())
        failed = await refused(_close(at, request_id=request_id))
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert (await at.sprint(f"{at.project_id}-S01")).state == sprint_pb2.SPRINT_STATE_CLOSING
        assert (await refused(at.report(at.task_ids[1], 50))).reason == "SPRINT_NOT_IN_PROGRESS"
        assert (await refused(_close(at))).reason == "SPRINT_NOT_IN_PROGRESS"
        await own_world.start("backlog")

        async def closed() -> bool:
            return (await at.sprint(f"{at.project_id}-S01")).state == WITH_PENDING

        await eventually(closed, 30)
        assert {(await at.task(task_id)).sprint_id for task_id in at.task_ids[1:]} == {""}
        # Whoever asks again with the same request_id is told how it ended.
        assert (await _close(at, request_id=request_id)).released_tasks_count == 2
