"""AddTaskToSprint, RemoveTaskFromSprint, ReassignTask, CancelSprintTask: both services agree, whatever breaks."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from tests.harness import World, eventually, refused
from tests.service.sprint.sprints import LAST_DAY, Fixture, make

ASSIGNED = task_pb2.TASK_STATE_ASSIGNED_TO_SPRINT
UNASSIGNED = task_pb2.TASK_STATE_UNASSIGNED
COMPLETED = task_pb2.TASK_STATE_COMPLETED
CANCELLED = task_pb2.TASK_STATE_CANCELLED
REMOVED_OUTCOME = sprint_pb2.SPRINT_TASK_OUTCOME_REMOVED
CANCELLED_OUTCOME = sprint_pb2.SPRINT_TASK_OUTCOME_CANCELLED


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint under way with two tasks; a third is in the backlog, and somebody has it."""
    return await _ready(world)


async def _ready(world: World) -> Fixture:
    at = await make(world, points=(5, 3, 2), assignees=(None, None, 0))
    await at.start(max_tasks=2)
    return at


async def _add(at: Fixture, task_id: str, **fields: str) -> sprint_pb2.SprintTask:
    request = pb.AddTaskToSprintRequest(**{"sprint_id": f"{at.project_id}-S01", "task_id": task_id} | fields)
    return (await at.sprints.AddTaskToSprint(request)).task


async def _remove(at: Fixture, task_id: str, **fields: object) -> sprint_pb2.SprintTask:
    fields = {"sprint_id": f"{at.project_id}-S01", "task_id": task_id} | fields
    return (await at.sprints.RemoveTaskFromSprint(pb.RemoveTaskFromSprintRequest(**fields))).task  # type: ignore[arg-type]


async def _reassign(at: Fixture, task_id: str, **fields: str) -> sprint_pb2.SprintTask:
    request = pb.ReassignTaskRequest(**{"sprint_id": f"{at.project_id}-S01", "task_id": task_id} | fields)
    return (await at.sprints.ReassignTask(request)).task


async def _cancel(at: Fixture, task_id: str, **fields: str) -> sprint_pb2.SprintTask:
    request = pb.CancelSprintTaskRequest(**{"sprint_id": f"{at.project_id}-S01", "task_id": task_id} | fields)
    return (await at.sprints.CancelSprintTask(request)).task


async def _followed(at: Fixture, task: sprint_pb2.SprintTask) -> task_pb2.Task:
    """The task as the backlog has it once it knows the version."""

    async def look() -> task_pb2.Task | None:
        found = await at.task(task.task_id)
        return found if found.sprint_version == task.version else None

    found: task_pb2.Task = await eventually(look)
    return found


async def test_a_task_comes_into_a_sprint_under_way(at: Fixture) -> None:
    task = await _add(at, at.task_ids[2])
    assert (task.sprint_id, task.state, task.assignee_id) == (f"{at.project_id}-S01", ASSIGNED, at.people[0])
    assert (task.position, task.points, task.version, task.add_date) == (3, 2, 1, LAST_DAY)
    # The backlog has it at once, and knows the version soon.
    assert (await at.task(task.task_id)).sprint_id == task.sprint_id
    assert (await _followed(at, task)).state == ASSIGNED
    sprint = await at.sprint(task.sprint_id)
    assert sprint.tasks[2] == task
    assert (sprint.task_summary.total_tasks, sprint.task_summary.total_points) == (3, 10)
    assert (await at.report(task.task_id, 50)).version == 2


async def test_whoever_gets_an_added_task_is_on_the_team(at: Fixture) -> None:
    failed = await refused(_add(at, at.task_ids[2], assignee_id="STRANGER"))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "ASSIGNEE_NOT_ON_TEAM")
    assert failed.metadata == {"project_id": at.project_id, "employee_id": "STRANGER"}
    assert (await at.task(at.task_ids[2])).state == UNASSIGNED
    task = await _add(at, at.task_ids[2], assignee_id=at.people[1])
    assert (await _followed(at, task)).assignee_id == at.people[1]


async def test_what_stands_against_adding_is_said(at: Fixture) -> None:
    for sprint_id in (f"{at.project_id}-S09", "NO-S01"):
        assert (await refused(_add(at, at.task_ids[2], sprint_id=sprint_id))).reason == "SPRINT_NOT_FOUND"
    failed = await refused(_add(at, f"{at.project_id}-TASK999"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "TASK_NOT_FOUND")
    failed = await refused(_add(at, at.task_ids[0]))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "TASK_NOT_AVAILABLE")
    assert failed.metadata == {"task_id": at.task_ids[0], "state": "ASSIGNED_TO_SPRINT"}
    await at.backlog.CompleteTask(backlog.CompleteTaskRequest(task_id=at.task_ids[2]))
    failed = await refused(_add(at, at.task_ids[2]))
    assert (failed.reason, failed.metadata["state"]) == ("TASK_NOT_AVAILABLE", "COMPLETED")
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{at.project_id}-S01"))
    assert (await refused(_add(at, at.task_ids[2]))).reason == "SPRINT_NOT_IN_PROGRESS"
    # What was refused left nothing behind.
    assert {(await at.task(task_id)).sprint_id for task_id in at.task_ids} == {""}
    assert not await at.world.query("sprint", "SELECT 1 FROM saga WHERE status IN ('RUNNING', 'UNDOING')")


async def test_the_same_request_from_many_adds_once(at: Fixture) -> None:
    request_id = str(uuid4())
    answers = await asyncio.gather(*(_add(at, at.task_ids[2], request_id=request_id) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert await at.events("task.updated") == [at.task_ids[2]]
    failed = await refused(_add(at, at.task_ids[1], request_id=request_id))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_task_goes_back_to_the_backlog(at: Fixture) -> None:
    task_id = at.task_ids[0]
    begun = await at.report(task_id, 40)
    task = await _remove(at, task_id)
    assert (task.outcome, task.state, task.version) == (REMOVED_OUTCOME, UNASSIGNED, begun.version + 1)
    # Read at once, without waiting for any event.
    free = await at.task(task_id)
    assert (free.state, free.sprint_id, free.assignee_id, free.progress_percent) == (UNASSIGNED, "", "", 0)
    assert free.sprint_version == task.version
    assert (await refused(at.report(task_id, 50))).reason == "TASK_NOT_IN_SPRINT"
    sprint = await at.sprint(task.sprint_id)
    assert (sprint.task_summary.total_tasks, sprint.task_summary.total_points) == (1, 3)


async def test_a_task_may_roll_over(at: Fixture) -> None:
    begun = await at.report(at.task_ids[1], 40)
    await _remove(at, at.task_ids[1], policy=backlog.RELEASE_POLICY_ROLL_OVER)
    free = await at.task(at.task_ids[1])
    assert (free.state, free.assignee_id, free.progress_percent) == (UNASSIGNED, begun.assignee_id, 40)
    listed = await at.backlog.ListTasks(backlog.ListTasksRequest(project_id=at.project_id))
    assert listed.tasks[0].task_id == free.task_id


async def test_a_task_that_went_out_may_come_in_again(at: Fixture) -> None:
    task_id = at.task_ids[0]
    gone = await _remove(at, task_id)
    back = await _add(at, task_id)
    assert (back.version, back.outcome, back.position) == (gone.version + 1, 0, 3)
    again = await _remove(at, task_id)
    assert again.version == back.version + 1
    assert (await at.task(task_id)).sprint_id == ""
    days = (await at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=gone.sprint_id))).days
    assert (days[-1].added_tasks, days[-1].removed_tasks, days[-1].remaining_tasks) == (1, 2, 1)


async def test_what_stands_against_removing_is_said(at: Fixture) -> None:
    failed = await refused(_remove(at, at.task_ids[2]))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "TASK_NOT_IN_SPRINT")
    assert failed.metadata == {"task_id": at.task_ids[2], "sprint_id": f"{at.project_id}-S01"}
    assert (await refused(_remove(at, at.task_ids[0], sprint_id="NO-S01"))).reason == "SPRINT_NOT_FOUND"
    await at.report(at.task_ids[0], 100)
    failed = await refused(_remove(at, at.task_ids[0]))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "INVALID_TASK_TRANSITION")
    failed = await refused(_remove(at, at.task_ids[1], policy=backlog.RELEASE_POLICY_RESTORE))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "policy")


async def test_the_same_request_from_many_removes_once(at: Fixture) -> None:
    request_id = str(uuid4())
    answers = await asyncio.gather(*(_remove(at, at.task_ids[0], request_id=request_id) for _ in range(8)))
    assert all(answer == answers[0] for answer in answers)
    assert await at.events("task.updated") == [at.task_ids[0]]
    assert (await refused(_remove(at, at.task_ids[1], request_id=request_id))).reason == "REQUEST_ID_REUSED"


async def test_a_task_changes_hands(at: Fixture) -> None:
    before = (await at.sprint(f"{at.project_id}-S01")).tasks[0]
    other = next(person for person in at.people if person != before.assignee_id)
    task = await _reassign(at, before.task_id, assignee_id=other)
    assert (task.assignee_id, task.version) == (other, 2)
    assert (await _followed(at, task)).assignee_id == other
    # Nothing changes, and nothing is said, when the person has it already.
    assert await _reassign(at, before.task_id, assignee_id=other) == task
    assert await at.events("task.updated") == [before.task_id]
    assert (await _reassign(at, before.task_id)).assignee_id == ""
    failed = await refused(_reassign(at, before.task_id, assignee_id="STRANGER"))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "ASSIGNEE_NOT_ON_TEAM")
    assert (await refused(_reassign(at, at.task_ids[2]))).reason == "TASK_NOT_IN_SPRINT"
    assert (await refused(_reassign(at, before.task_id, sprint_id="NO-S01"))).reason == "TASK_NOT_IN_SPRINT"
    request_id = str(uuid4())
    first = await _reassign(at, before.task_id, assignee_id=other, request_id=request_id)
    assert await _reassign(at, before.task_id, assignee_id=other, request_id=request_id) == first
    assert (await refused(_reassign(at, before.task_id, request_id=request_id))).reason == "REQUEST_ID_REUSED"


async def test_a_task_is_given_up(at: Fixture) -> None:
    request_id = str(uuid4())
    task = await _cancel(at, at.task_ids[0], reason="No longer wanted", request_id=request_id)
    assert (task.state, task.outcome, task.version) == (CANCELLED, CANCELLED_OUTCOME, 2)
    found = await _followed(at, task)
    assert (found.state, found.sprint_id) == (CANCELLED, "")
    assert await _cancel(at, at.task_ids[0], reason="No longer wanted", request_id=request_id) == task
    assert (await refused(_cancel(at, at.task_ids[0], request_id=request_id))).reason == "REQUEST_ID_REUSED"
    assert (await refused(_cancel(at, at.task_ids[0]))).reason == "TASK_NOT_IN_SPRINT"
    # Reopened, it is free like any other, also for the sprint that gave it up.
    await at.backlog.ReopenTask(backlog.ReopenTaskRequest(task_id=task.task_id))
    back = await _add(at, task.task_id)
    assert (back.version, (await _followed(at, back)).state) == (3, ASSIGNED)


async def test_changes_of_scope_are_in_burndown_and_statistics(world: World) -> None:
    at = await make(world, points=(5, 3, 2), time_zone="UTC")
    today = datetime.now(UTC).date()
    start = (today - timedelta(days=2)).isoformat()
    sprint = await at.started(start_date=start, max_tasks=2)
    await _add(at, at.task_ids[2])
    await _cancel(at, at.task_ids[0])
    answer = await at.sprints.GetBurndown(pb.GetBurndownRequest(sprint_id=sprint.sprint_id))
    assert (answer.start_tasks, answer.start_points) == (2, 8)
    assert [(day.remaining_tasks, day.remaining_points) for day in answer.days[:3]] == [(2, 8), (2, 8), (2, 5)]
    day = answer.days[2]
    assert (day.added_tasks, day.removed_tasks, day.scope_change_points) == (1, 1, -3)
    closed = (await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint.sprint_id))).sprint
    assert (closed.statistics.added_tasks, closed.statistics.removed_tasks) == (1, 1)
    assert (closed.statistics.planned_tasks, closed.statistics.released_tasks) == (2, 2)
    assert closed.task_summary.total_tasks == 2


async def test_many_changes_at_once_leave_both_services_agreeing(world: World) -> None:
    at = await make(world, points=(1,) * 8)
    await at.start(max_tasks=4)
    calls = [_add(at, task_id) for task_id in at.task_ids[4:] for _ in range(2)]
    calls += [_remove(at, task_id) for task_id in at.task_ids[:4] for _ in range(2)]
    calls += [at.report(task_id, 50) for task_id in at.task_ids]
    await asyncio.gather(*calls, return_exceptions=True)
    await eventually(lambda: _agree(at))
    sprint = await at.sprint(f"{at.project_id}-S01")
    assert {task.task_id for task in sprint.tasks if not task.outcome} == set(at.task_ids[4:])


async def _agree(at: Fixture) -> bool:
    """True if both services say the same of every task: where it is, its state, assignee, progress and version."""
    sprint = await at.sprint(f"{at.project_id}-S01")
    here = {task.task_id: task for task in sprint.tasks if not task.outcome}
    for task_id in at.task_ids:
        there = await at.task(task_id)
        if bool(there.sprint_id) != (task_id in here):
            return False
        if mine := here.get(task_id):
            names = ("state", "assignee_id", "progress_percent")
            if any(getattr(mine, name) != getattr(there, name) for name in names):
                return False
            if mine.version != there.sprint_version:
                return False
    return True


class TestCrashes:
    """Sprint services that die, and a backlog that is away, in a world of their own with short leases."""

    async def test_a_removal_ends_by_itself_when_the_backlog_is_back(self, own_world: World) -> None:
        at = await _ready(own_world)
        await own_world.stop("backlog")
        request_id = str(uuid4())
        failed = await refused(_remove(at, at.task_ids[0], request_id=request_id))
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        # Nobody works on it any more, and neither does it come back nor the sprint close in the meantime.
        assert (await refused(at.report(at.task_ids[0], 50))).reason == "TASK_NOT_IN_SPRINT"
        failed = await refused(_add(at, at.task_ids[0]))
        assert (failed.code, failed.reason) == ("ABORTED", "CONCURRENT_CHANGE")
        close = pb.CloseSprintRequest(sprint_id=f"{at.project_id}-S01")
        assert (await refused(at.sprints.CloseSprint(close))).reason == "CONCURRENT_CHANGE"
        await own_world.start("backlog")
        await eventually(lambda: _agree(at), 30)
        assert (await at.task(at.task_ids[0])).state == UNASSIGNED
        # Whoever asks again with the same request_id is told how it ended.
        task = await _remove(at, at.task_ids[0], request_id=request_id)
        assert task.outcome == REMOVED_OUTCOME

    async def test_an_addition_without_backlog_is_undone(self, own_world: World) -> None:
        at = await _ready(own_world)
        await own_world.stop("backlog")
        failed = await refused(_add(at, at.task_ids[2]))
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        await own_world.start("backlog")
        await eventually(lambda: _settled(at), 30)
        free = await at.task(at.task_ids[2])
        assert (free.state, free.assignee_id) == (UNASSIGNED, at.people[0])
        assert await _agree(at)
        assert (await _add(at, at.task_ids[2])).version == 1

    async def test_an_addition_that_broke_off_after_reserving_is_finished_or_undone(self, own_world: World) -> None:
        """What a process leaves that dies between the backlog's answer and its own next step."""
        at = await _ready(own_world)
        sprint_id, task_id = f"{at.project_id}-S01", at.task_ids[2]
        state = await _break_off(at)
        await at.backlog.ReserveTasks(
            backlog.ReserveTasksRequest(
                sprint_id=sprint_id, project_id=at.project_id, task_ids=[task_id], request_id=state["reserve_id"]
            )
        )
        await own_world.query("sprint", "UPDATE saga SET lease_time = now() WHERE key LIKE %(k)s", {"k": f"%{task_id}"})
        await eventually(lambda: _settled(at), 30)
        await eventually(lambda: _agree(at))
        assert (await at.task(task_id)).sprint_id == sprint_id

    async def test_an_addition_to_a_sprint_that_closed_meanwhile_is_undone(self, own_world: World) -> None:
        at = await _ready(own_world)
        sprint_id, task_id = f"{at.project_id}-S01", at.task_ids[2]
        await _break_off(at)
        await own_world.query("sprint", "UPDATE sprint SET state = 'CLOSING' WHERE sprint_id = %(s)s", {"s": sprint_id})
        await own_world.query("sprint", "UPDATE saga SET lease_time = now() WHERE key LIKE %(k)s", {"k": f"%{task_id}"})
        await eventually(lambda: _settled(at), 30)
        free = await at.task(task_id)
        assert (free.sprint_id, free.state, free.assignee_id) == ("", UNASSIGNED, at.people[0])


async def _settled(at: Fixture) -> bool:
    sql = "SELECT 1 FROM saga WHERE starts_with(key, %(sprint_id)s) AND status IN ('RUNNING', 'UNDOING')"
    return not await at.world.query("sprint", sql, {"sprint_id": f"{at.project_id}-S01"})


async def _break_off(at: Fixture) -> dict[str, str]:
    """Leave behind what a process leaves that dies right after it began to add the third task; its saga's state."""
    state = {
        "sprint_id": f"{at.project_id}-S01",
        "project_id": at.project_id,
        "task_id": at.task_ids[2],
        "assignee_id": "",
        "reserve_id": str(uuid4()),
        "release_id": str(uuid4()),
    }
    await at.world.query(
        "sprint",
        """
        INSERT INTO saga (saga_id, kind, key, status, state, owner, lease_time, caller)
        VALUES (gen_random_uuid(), 'add-task', %(sprint_id)s || '/' || %(task_id)s, 'RUNNING',
                jsonb_build_object('sprint_id', %(sprint_id)s::text, 'project_id', %(project_id)s::text,
                                   'task_id', %(task_id)s::text, 'assignee_id', %(assignee_id)s::text,
                                   'reserve_id', %(reserve_id)s::text, 'release_id', %(release_id)s::text),
                gen_random_uuid(), now() + interval '1 hour',
                '{"actor": "anonymous", "correlation_id": "", "method": ""}')
        """,
        state,
    )
    return state
