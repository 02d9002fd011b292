"""AdminService: reconciliation, with a control for each disagreement."""

from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio
from dsm.backlog.v1 import task_pb2
from dsm.common.v1 import admin_service_pb2 as pb
from dsm.events.v1 import sprint_events_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprints

from services.kit.clock import utc_now
from services.kit.envelope import new_event, subject_of
from tests.harness import World, eventually, refused
from tests.service.kit.reconciling import agree, reconcile
from tests.service.sprint.sprints import Fixture, make


@pytest_asyncio.fixture(scope="module", autouse=True)
async def _services(world: World) -> None:
    await world.start("project", "backlog", "sprint")


async def _started(world: World) -> Fixture:
    """A sprint that both services tell alike, with a task left in the backlog."""
    scene = await make(world, points=(1, 1, 1, 1))
    await scene.start(max_tasks=3)
    await scene.report(scene.task_ids[1], 30)
    await scene.report(scene.task_ids[2], 100)
    await eventually(lambda: agree(scene))
    return scene


Change = tuple[str, str, set[tuple[str, str, str]]]

_TASK = "UPDATE task SET {} WHERE task_id = %(task)s"
CONTROLS: dict[str, Change] = {
    "state": ("backlog", _TASK.format("state = 'BLOCKED'"), {("state", "BLOCKED", "ASSIGNED_TO_SPRINT")}),
    "assignee": ("backlog", _TASK.format("assignee_id = 'E-NEW'"), {("assignee", "E-NEW", "{assignee}")}),
    "progress": ("backlog", _TASK.format("progress_percent = 55"), {("progress", "55", "0")}),
    "a version from nowhere": ("backlog", _TASK.format("sprint_version = 9"), {("version", "9", "1")}),
    "an event lost": ("sprint", "UPDATE sprint_task SET version = 7 WHERE task_id = %(task)s", {("version", "1", "7")}),
    "taken out behind the sprint's back": (
        "backlog",
        _TASK.format("state = 'UNASSIGNED', sprint_id = ''"),
        {("sprint", "", "{sprint}"), ("state", "UNASSIGNED", "ASSIGNED_TO_SPRINT")},
    ),
    "another sprint": ("backlog", _TASK.format("sprint_id = 'NONE-S01'"), {("sprint", "NONE-S01", "{sprint}")}),
    "deleted in the backlog": (
        "backlog",
        _TASK.format("delete_time = now()"),
        {("missing", "", "ASSIGNED_TO_SPRINT")},
    ),
    "lost by the sprint": (
        "sprint",
        "DELETE FROM sprint_task WHERE task_id = %(task)s",
        {("missing", "ASSIGNED_TO_SPRINT", "")},
    ),
    "reserved for a sprint that never was": (
        "backlog",
        "UPDATE task SET state = 'ASSIGNED_TO_SPRINT', sprint_id = 'NONE-S01' WHERE task_id = %(free)s",
        {("sprint", "NONE-S01", "unknown")},
    ),
    "work in a sprint that is closed": (
        "sprint",
        "UPDATE sprint SET state = 'COMPLETED' WHERE sprint_id = %(sprint)s;"
        "UPDATE sprint_task SET outcome = 'COMPLETED' WHERE sprint_id = %(sprint)s AND task_id <> %(task)s;"
        "DELETE FROM sprint_task WHERE task_id = %(task)s",
        {("sprint", "{sprint}", "COMPLETED")},
    ),
    "a closing that does not end": (
        "sprint",
        "UPDATE sprint SET state = 'CLOSING', update_time = now() - interval '5 minutes' WHERE sprint_id = %(sprint)s",
        {("state", "", "CLOSING")},
    ),
}


@pytest.mark.parametrize("control", CONTROLS)
async def test_each_disagreement_is_named(world: World, control: str) -> None:
    """A row is changed behind the services' backs; the rest of the sprint agrees."""
    scene = await _started(world)
    sprint = (await scene.sprints.GetActiveSprint(sprints.GetActiveSprintRequest(project_id=scene.project_id))).sprint
    names = {"task": scene.task_ids[0], "free": scene.task_ids[3], "sprint": sprint.sprint_id}
    where, sql, expected = CONTROLS[control]
    assignee = (await scene.task(scene.task_ids[0])).assignee_id
    for statement in sql.split(";"):
        await world.query(where, statement, names)
    answer = await reconcile(world, scene.project_id)
    told = {(d.field, d.backlog_value, d.sprint_value) for d in answer.disagreements}
    assert told == {
        tuple(part.format(sprint=sprint.sprint_id, assignee=assignee) for part in each) for each in expected
    }
    assert {d.project_id for d in answer.disagreements} == {scene.project_id}
    # It changes nothing: the second look finds the same, also when it asks for what is old enough.
    assert await reconcile(world, scene.project_id) == answer
    await eventually(lambda: _found(scene, answer, grace=1))


async def _found(scene: Fixture, expected: pb.ReconcileResponse, grace: int) -> bool:
    return (await reconcile(scene.world, scene.project_id, grace)).disagreements == expected.disagreements


async def test_services_that_agree(world: World) -> None:
    scene = await _started(world)
    answer = await reconcile(world, scene.project_id)
    assert not answer.disagreements
    assert (answer.tasks_compared, answer.sprints_compared, answer.unpublished_events) == (3, 1, 0)
    sprint = (await scene.sprints.GetActiveSprint(sprints.GetActiveSprintRequest(project_id=scene.project_id))).sprint
    close = sprints.CloseSprintRequest(sprint_id=sprint.sprint_id, close_date=sprint.end_date)
    await scene.sprints.CloseSprint(close)
    await eventually(lambda: agree(scene))
    assert (await reconcile(world, scene.project_id)).tasks_compared == 0
    await scene.start(max_tasks=3)
    await eventually(lambda: agree(scene))
    assert (await reconcile(world, scene.project_id)).tasks_compared == 3


async def test_changes_of_scope_keep_them_alike(world: World) -> None:
    scene = await _started(world)
    sprint = (await scene.sprints.GetActiveSprint(sprints.GetActiveSprintRequest(project_id=scene.project_id))).sprint
    first, second, _, free = scene.task_ids
    change, sprint_id = scene.sprints, sprint.sprint_id
    await change.AddTaskToSprint(sprints.AddTaskToSprintRequest(sprint_id=sprint_id, task_id=free))
    await eventually(lambda: agree(scene))
    assert (await reconcile(world, scene.project_id)).tasks_compared == 4
    to_other = sprints.ReassignTaskRequest(sprint_id=sprint_id, task_id=free, assignee_id=scene.people[1])
    await change.ReassignTask(to_other)
    await change.RemoveTaskFromSprint(sprints.RemoveTaskFromSprintRequest(sprint_id=sprint_id, task_id=first))
    await change.CancelSprintTask(sprints.CancelSprintTaskRequest(sprint_id=sprint_id, task_id=second))
    await eventually(lambda: agree(scene))
    assert (await reconcile(world, scene.project_id)).tasks_compared == 2


async def test_more_tasks_than_a_page(world: World) -> None:
    scene = await make(world, people=3, points=[1.0] * 300)
    await scene.start(max_tasks=280)
    await eventually(lambda: agree(scene))
    assert (await reconcile(world, scene.project_id)).tasks_compared == 280
    gone = scene.task_ids[:260:2]
    sql = "UPDATE task SET delete_time = now() WHERE task_id = ANY(%(ids)s)"
    await world.query("backlog", sql, {"ids": gone})
    answer = await reconcile(world, scene.project_id)
    assert sorted(d.task_id for d in answer.disagreements) == sorted(gone)
    assert {d.field for d in answer.disagreements} == {"missing"}
    assert answer.tasks_compared == 280


async def test_all_projects_at_once(world: World) -> None:
    ours = [await _started(world) for _ in range(2)]
    for scene in ours:
        sql = "UPDATE task SET progress_percent = 77 WHERE task_id = %(task)s"
        await world.query("backlog", sql, {"task": scene.task_ids[0]})
    answer = await reconcile(world)
    told = {d.project_id for d in answer.disagreements if (d.field, d.backlog_value) == ("progress", "77")}
    assert told == {scene.project_id for scene in ours}
    assert answer.sprints_compared >= 2


async def test_the_grace_lets_events_arrive(world: World) -> None:
    scene = await _started(world)
    world.stack.nats.kill()
    try:
        await scene.report(scene.task_ids[0], 60)
        now = await reconcile(world, scene.project_id)
        assert {d.field for d in now.disagreements} == {"state", "progress", "version", "outbox"}
        assert now.unpublished_events == 1
        [outbox] = [d for d in now.disagreements if d.field == "outbox"]
        assert (outbox.backlog_value, bool(outbox.sprint_value)) == ("", True)
        # Young, and no time to wait for it: left out.
        assert not (await reconcile(world, scene.project_id, grace=3600, seconds=4)).disagreements
        later = asyncio.create_task(reconcile(world, scene.project_id, grace=60))
    finally:
        world.stack.nats.restart()
    assert not (await later).disagreements


async def test_busy_sprints_do_not_disagree(world: World) -> None:
    """Some task is always behind by an event; none is for long."""
    scene = await _started(world)
    done = asyncio.Event()

    async def work(task_id: str) -> int:
        percent = 0
        while not done.is_set():
            percent = percent % 90 + 1
            await scene.report(task_id, percent)
        return percent

    workers = [asyncio.create_task(work(task_id)) for task_id in scene.task_ids[:2]]
    try:
        for _ in range(10):
            assert not (await reconcile(world, scene.project_id, grace=5)).disagreements
    finally:
        done.set()
    assert all(await asyncio.gather(*workers))


async def test_what_is_newer_than_any_sprint_is_told_too(world: World) -> None:
    """An event that nobody committed here makes the backlog know more than the sprint service."""
    scene = await _started(world)
    task = await scene.task(scene.task_ids[0])
    forged = sprint_pb2.SprintTask(
        task_id=task.task_id,
        sprint_id=task.sprint_id,
        version=50,
        state=task_pb2.TASK_STATE_IN_PROGRESS,
        assignee_id=task.assignee_id,
        progress_percent=5,
    )
    payload = sprint_events_pb2.SprintTaskUpdated(task=forged)
    event = new_event(payload, source="sprint", aggregate=("task", task.task_id), version=50, now=utc_now())
    async with world.jetstream() as js:
        await js.publish(subject_of(event), event.SerializeToString())

    async def told() -> bool:
        answer = await reconcile(world, scene.project_id)
        return {(d.field, d.backlog_value) for d in answer.disagreements} == {
            ("version", "50"),
            ("progress", "5"),
            ("state", "IN_PROGRESS"),
        }

    await eventually(told)


async def test_what_cannot_be_compared(world: World) -> None:
    failed = await refused(reconcile(world, "NO-SUCH"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    failed = await refused(reconcile(world, "no such"))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "project_id")
    failed = await refused(reconcile(world, grace=3601))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "grace_seconds")
    await world.stop("backlog")
    try:
        failed = await refused(reconcile(world))
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert failed.metadata["service"] == "backlog"
    finally:
        await world.start("backlog")
