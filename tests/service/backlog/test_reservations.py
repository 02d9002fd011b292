"""The backlog service on real sockets: what sprints take and give back."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import (
    TASK_STATE_ASSIGNED_TO_SPRINT,
    TASK_STATE_UNASSIGNED,
    Task,
)

from tests.harness import World, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids, update_of


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


def _sized(*points: float | None) -> list[Task]:
    return [Task(title=f"T{index}", points=size) for index, size in enumerate(points, start=1)]


async def _release(
    backlog: Backlog,
    sprint_id: str,
    *tasks: pb.TaskRelease,
    policy: pb.ReleasePolicy.ValueType = pb.RELEASE_POLICY_UNSPECIFIED,
) -> int:
    request = pb.ReleaseTasksRequest(sprint_id=sprint_id, tasks=tasks, policy=policy)
    return (await backlog.stub.ReleaseTasks(request)).released_count


async def test_the_top_tasks_are_taken_at_once(backlog: Backlog) -> None:
    project_id = await backlog.project()
    sprint_id = f"{project_id}-S01"
    tasks = await backlog.create_many(project_id, "A", "B", "C")
    await backlog.stub.AssignTask(pb.AssignTaskRequest(task_id=tasks[0].task_id, assignee_id="E001"))
    answer = await backlog.reserve(sprint_id, project_id, max_tasks=2)
    assert not answer.repeated
    assert ids(answer.tasks) == ids(tasks[:2])
    for task in answer.tasks:
        assert (task.state, task.sprint_id) == (TASK_STATE_ASSIGNED_TO_SPRINT, sprint_id)
        assert await backlog.get(task.task_id) == task
    assert [task.assignee_id for task in answer.tasks] == ["E001", ""]
    assert (await backlog.get(tasks[2].task_id)).state == TASK_STATE_UNASSIGNED
    assert (await backlog.events(tasks[1].task_id))[-1] == ("task.updated", 2)


async def test_reserving_again_answers_the_same(backlog: Backlog) -> None:
    project_id = await backlog.project()
    await backlog.create_many(project_id, "A", "B", "C")
    first = await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=2)
    second = await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=3)
    assert second.repeated
    assert second.tasks == first.tasks
    request_id = str(uuid4())
    third = await backlog.reserve(f"{project_id}-S02", project_id, request_id=request_id)
    assert await backlog.reserve(f"{project_id}-S02", project_id, request_id=request_id) == third
    failed = await refused(backlog.reserve(f"{project_id}-S02", project_id, request_id=request_id, max_tasks=1))
    assert failed.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize(
    ("sizes", "max_points", "unestimated", "taken"),
    [
        ((3, 3, 3), 6, 0, 2),
        ((3, 3, 3), 5.99, 0, 1),
        ((13, 1), 5, 0, 1),
        ((1, 13, 1), 5, 0, 1),
        ((None, None, 3), 3, 0, 3),
        ((None, None, 3), 4, 2, 2),
        ((0.1, 0.2, 1), 0.3, 0, 2),
    ],
)
async def test_points_limit_what_is_taken(
    backlog: Backlog, sizes: tuple[float | None, ...], max_points: float, unestimated: float, taken: int
) -> None:
    project_id = await backlog.project()
    tasks = await backlog.create_many(project_id, *_sized(*sizes))
    limits = {"max_points": max_points, "unestimated_points": unestimated}
    answer = await backlog.reserve(f"{project_id}-S01", project_id, **limits)
    assert ids(answer.tasks) == ids(tasks[:taken])


async def test_dependencies_come_first_or_along(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b, c, d = await backlog.create_many(project_id, "A", "B", "C", "D")
    await backlog.stub.UpdateTask(update_of(a, depends_on=[c.task_id]))
    await backlog.stub.UpdateTask(update_of(b, depends_on=[d.task_id]))
    answer = await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=2)
    assert ids(answer.tasks) == ids([a, c])
    await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=d.task_id))
    assert ids((await backlog.reserve(f"{project_id}-S02", project_id)).tasks) == [b.task_id]


async def test_what_waits_for_another_sprint_is_passed_over(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b = await backlog.create_many(project_id, "A", "B")
    await backlog.stub.UpdateTask(update_of(b, depends_on=[a.task_id]))
    await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=1)
    failed = await refused(backlog.reserve(f"{project_id}-S02", project_id))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "NO_UNASSIGNED_TASKS")
    failed = await refused(backlog.reserve(f"{project_id}-S02", project_id, task_ids=[b.task_id]))
    assert (failed.reason, failed.metadata["depends_on"]) == ("TASK_NOT_AVAILABLE", a.task_id)
    await backlog.reserve(f"{project_id}-S01", project_id, task_ids=[b.task_id])


async def test_exactly_the_tasks_named_are_taken(backlog: Backlog) -> None:
    project_id, other_id = await backlog.project(), await backlog.project()
    sprint_id = f"{project_id}-S01"
    a, b, c = await backlog.create_many(project_id, "A", "B", "C")
    stranger = await backlog.create(other_id)
    for task_ids in ([f"{project_id}-TASK999"], [a.task_id, stranger.task_id]):
        failed = await refused(backlog.reserve(sprint_id, project_id, task_ids=task_ids))
        assert (failed.reason, failed.metadata["task_id"]) == ("TASK_NOT_FOUND", task_ids[-1])
    await backlog.stub.StartTask(pb.StartTaskRequest(task_id=a.task_id))
    failed = await refused(backlog.reserve(sprint_id, project_id, task_ids=[b.task_id, a.task_id]))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "TASK_NOT_AVAILABLE")
    assert failed.metadata == {"task_id": a.task_id, "state": "IN_PROGRESS"}
    answer = await backlog.reserve(sprint_id, project_id, task_ids=[c.task_id, b.task_id])
    assert ids(answer.tasks) == ids([b, c])
    again = await backlog.reserve(sprint_id, project_id, task_ids=[c.task_id])
    assert (again.repeated, ids(again.tasks)) == (True, [c.task_id])


async def test_a_task_can_be_added_to_what_a_sprint_has(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b = await backlog.create_many(project_id, "A", "B")
    await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=1)
    added = await backlog.reserve(f"{project_id}-S01", project_id, task_ids=[b.task_id])
    assert (added.repeated, ids(added.tasks)) == (False, [b.task_id])
    assert ids((await backlog.reserve(f"{project_id}-S01", project_id)).tasks) == ids([a, b])


async def test_nothing_free_is_refused_and_leaves_no_trace(backlog: Backlog) -> None:
    project_id = await backlog.project()
    failed = await refused(backlog.reserve(f"{project_id}-S01", project_id))
    assert (failed.reason, failed.metadata) == ("NO_UNASSIGNED_TASKS", {"project_id": project_id})
    task = await backlog.create(project_id)
    assert ids((await backlog.reserve(f"{project_id}-S01", project_id)).tasks) == [task.task_id]


async def test_many_sprints_at_once_take_each_task_once_and_skip_none(backlog: Backlog) -> None:
    project_id = await backlog.project()
    tasks = await backlog.create_many(project_id, *(f"T{n}" for n in range(100)))
    calls = [backlog.reserve(f"{project_id}-S{n:02d}", project_id, max_tasks=10) for n in range(1, 11)]
    taken = [task_id for answer in await asyncio.gather(*calls) for task_id in ids(answer.tasks)]
    assert sorted(taken) == sorted(ids(tasks))
    assert (await refused(backlog.reserve(f"{project_id}-S99", project_id))).reason == "NO_UNASSIGNED_TASKS"


async def test_more_candidates_than_one_chunk(backlog: Backlog) -> None:
    project_id = await backlog.project()
    [blocker] = await backlog.create_many(project_id, "Blocker")
    await backlog.stub.StartTask(pb.StartTaskRequest(task_id=blocker.task_id))
    blocked = [Task(title="Blocked", depends_on=[blocker.task_id])] * 200
    free = (await backlog.create_many(project_id, *blocked, "Free"))[-1]
    assert ids((await backlog.reserve(f"{project_id}-S01", project_id, max_tasks=1)).tasks) == [free.task_id]


async def test_a_planning_is_undone_and_cannot_come_back(backlog: Backlog) -> None:
    project_id = await backlog.project()
    sprint_id = f"{project_id}-S01"
    task = await backlog.create(project_id)
    await backlog.stub.AssignTask(pb.AssignTaskRequest(task_id=task.task_id, assignee_id="E001"))
    await backlog.reserve(sprint_id, project_id)
    assert await _release(backlog, sprint_id) == 1
    assert await _release(backlog, sprint_id) == 0
    free = await backlog.get(task.task_id)
    assert (free.state, free.sprint_id, free.assignee_id) == (TASK_STATE_UNASSIGNED, "", "E001")
    for late in (sprint_id, f"{project_id}-S02"):
        await _release(backlog, late)
        failed = await refused(backlog.reserve(late, project_id))
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "RESERVATION_RELEASED")
        assert failed.metadata == {"sprint_id": late}


async def test_tasks_go_back_to_the_backlog_without_assignee(backlog: Backlog) -> None:
    project_id = await backlog.project()
    sprint_id = f"{project_id}-S01"
    a, b = await backlog.create_many(project_id, "A", "B")
    await backlog.reserve(sprint_id, project_id)
    given_back = pb.TaskRelease(task_id=a.task_id, version=7, assignee_id="E001", progress_percent=40)
    assert await _release(backlog, sprint_id, given_back) == 1
    assert await _release(backlog, sprint_id, given_back) == 0
    task = await backlog.get(a.task_id)
    assert (task.state, task.sprint_id, task.assignee_id, task.progress_percent) == (TASK_STATE_UNASSIGNED, "", "", 0)
    assert (task.rank, task.sprint_version) == (a.rank, 7)
    assert (await backlog.get(b.task_id)).sprint_id == sprint_id


async def test_tasks_that_roll_over_go_on_top_with_assignee_and_progress(backlog: Backlog) -> None:
    project_id = await backlog.project()
    sprint_id = f"{project_id}-S01"
    tasks = await backlog.create_many(project_id, "A", "B", "C", "D")
    later = tasks[2:]
    await backlog.reserve(sprint_id, project_id, task_ids=ids(later))
    releases = [pb.TaskRelease(task_id=t.task_id, version=3, assignee_id="E1", progress_percent=40) for t in later]
    assert await _release(backlog, sprint_id, *reversed(releases), policy=pb.RELEASE_POLICY_ROLL_OVER) == 2
    answer = await backlog.reserve(f"{project_id}-S02", project_id)
    assert ids(answer.tasks) == ids([*later, *tasks[:2]])
    assert [(task.assignee_id, task.progress_percent) for task in answer.tasks[:2]] == [("E1", 40)] * 2


async def test_a_sprint_cannot_give_back_what_another_has(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id)
    await backlog.reserve(f"{project_id}-S01", project_id)
    assert await _release(backlog, f"{project_id}-S02", pb.TaskRelease(task_id=task.task_id, version=9)) == 0
    assert (await backlog.get(task.task_id)).sprint_id == f"{project_id}-S01"


async def test_an_open_sprint_owns_state_assignee_and_progress(backlog: Backlog) -> None:
    project_id = await backlog.project()
    sprint_id = f"{project_id}-S01"
    task = await backlog.create(project_id)
    task_id = task.task_id
    await backlog.reserve(sprint_id, project_id)
    for call, use in (
        (backlog.stub.AssignTask(pb.AssignTaskRequest(task_id=task_id)), "ReassignTask"),
        (backlog.stub.StartTask(pb.StartTaskRequest(task_id=task_id)), "UpdateTaskProgress"),
        (backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=task_id)), "UpdateTaskProgress"),
        (backlog.stub.CancelTask(pb.CancelTaskRequest(task_id=task_id)), "CancelSprintTask"),
        (backlog.stub.ReopenTask(pb.ReopenTaskRequest(task_id=task_id)), "RemoveTaskFromSprint"),
        (backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)), "RemoveTaskFromSprint"),
        (backlog.stub.UpdateTask(update_of(task, "state", title="X")), "UpdateTaskProgress"),
        (backlog.stub.UpdateTask(update_of(task, "assignee_id", title="X")), "ReassignTask"),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "TASK_OWNED_BY_SPRINT")
        assert failed.metadata == {"task_id": task_id, "sprint_id": sprint_id, "use": use}
    assert (await backlog.stub.UpdateTask(update_of(task, title="Content may change"))).task.sprint_id == sprint_id


async def test_releases_and_reservations_at_once_agree(backlog: Backlog) -> None:
    """Whatever order they come in: a task is free, or in a sprint whose reservation stands."""
    project_id = await backlog.project()
    await backlog.create_many(project_id, *(f"T{n}" for n in range(20)))
    sprints = [f"{project_id}-S{n:02d}" for n in range(1, 9)]
    calls = [backlog.reserve(sprint_id, project_id, max_tasks=5) for sprint_id in sprints]
    undo = [_release(backlog, sprint_id) for sprint_id in sprints[:4]]
    await asyncio.gather(*calls, *undo, return_exceptions=True)
    listed = await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id))
    held = {task.sprint_id for task in listed.tasks if task.sprint_id}
    assert not held & set(sprints[:4])
    assert len(listed.tasks) == 20


async def test_an_addition_that_is_undone_leaves_the_task_as_it_was(backlog: Backlog) -> None:
    project_id = await backlog.project()
    sprint_id = f"{project_id}-S01"
    a, b = await backlog.create_many(project_id, "A", "B")
    await backlog.stub.AssignTask(pb.AssignTaskRequest(task_id=b.task_id, assignee_id="E001"))
    await backlog.reserve(sprint_id, project_id, task_ids=[a.task_id])
    await backlog.reserve(sprint_id, project_id, task_ids=[b.task_id])
    undone = pb.TaskRelease(task_id=b.task_id)
    assert await _release(backlog, sprint_id, undone, policy=pb.RELEASE_POLICY_RESTORE) == 1
    assert await _release(backlog, sprint_id, undone, policy=pb.RELEASE_POLICY_RESTORE) == 0
    task = await backlog.get(b.task_id)
    assert (task.state, task.sprint_id, task.assignee_id, task.rank) == (TASK_STATE_UNASSIGNED, "", "E001", b.rank)
    assert (await backlog.get(a.task_id)).sprint_id == sprint_id
