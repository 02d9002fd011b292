"""The backlog service on real sockets: tasks, one by one and many at once."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import (
    PRIORITY_NONE,
    PRIORITY_URGENT,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_UNASSIGNED,
    Origin,
    Task,
)
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from tests.harness import World, eventually, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids, update_of


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


async def test_a_task_is_created_with_defaults_and_read(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id, "First")
    assert task.task_id == f"{project_id}-TASK001"
    assert (task.type, task.priority, task.state) == ("Task", PRIORITY_NONE, TASK_STATE_UNASSIGNED)
    assert not task.HasField("points")
    assert not task.HasField("origin")
    assert await backlog.get(task.task_id) == task
    assert await backlog.events(task.task_id) == [("task.created", 1)]


async def test_a_task_keeps_all_that_it_is_given(backlog: Backlog) -> None:
    project_id = await backlog.project()
    parent, other = await backlog.create_many(project_id, "Parent", "Other")
    given = Task(
        project_id=project_id,
        title="Straße 漢字",
        description="Line\nline",
        type="Bug",
        parent_task_id=parent.task_id,
        points=2.75,
        estimate=Duration(seconds=36_000_000),
        remaining=Duration(seconds=1, nanos=5_000),
        priority=PRIORITY_URGENT,
        tags=["a", 'with "quotes", and {braces}'],
        due_date="2028-02-29",
        reminder_offsets=[Duration(seconds=3600), Duration()],
        recurrence_rule="FREQ=WEEKLY;BYDAY=MO",
        depends_on=[other.task_id],
        custom_fields={"team": "blue", "": ""} | {"k\\": "v'"},
        origin=Origin(system="jira", key="X-1", url="https://x", status="Open", create_time=Timestamp(seconds=9)),
        assignee_id="E001",
    )
    del given.custom_fields[""]
    created = (await backlog.stub.CreateTask(pb.CreateTaskRequest(task=given))).task
    kept = Task()
    kept.CopyFrom(created)
    for output_only in ("task_id", "state", "rank", "create_time", "update_time", "etag"):
        kept.ClearField(output_only)
    assert kept == given
    assert await backlog.get(created.task_id) == created


@pytest.mark.parametrize(
    ("task", "reason", "field"),
    [
        (Task(title="No project"), "VALIDATION_FAILED", "task.project_id"),
        (Task(project_id="X"), "VALIDATION_FAILED", "task.title"),
        (Task(project_id="X", title="  "), "VALIDATION_FAILED", "task.title"),
        (Task(project_id="X", title="T", points=1.234), "VALIDATION_FAILED", "task.points"),
        (Task(project_id="X", title="T", points=-1), "VALIDATION_FAILED", "task.points"),
        (Task(project_id="X", title="T", due_date="2026-02-30"), "VALIDATION_FAILED", "task.due_date"),
        (
            Task(project_id="X", title="T", recurrence_rule="FREQ=NOW"),
            "RECURRENCE_RULE_INVALID",
            "task.recurrence_rule",
        ),
        (Task(project_id="X", title="T", assignee_id="Jane Doe"), "VALIDATION_FAILED", "task.assignee_id"),
    ],
)
async def test_a_bad_task_is_refused(backlog: Backlog, task: Task, reason: str, field: str) -> None:
    failed = await refused(backlog.stub.CreateTask(pb.CreateTaskRequest(task=task)))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", reason, field)


async def test_references_must_be_there_and_in_the_project(backlog: Backlog) -> None:
    project_id, other_id = await backlog.project(), await backlog.project()
    stranger = await backlog.create(other_id)
    for fields in ({"parent_task_id": "NO-TASK001"}, {"depends_on": ["NO-TASK001"]}):
        failed = await refused(backlog.create(project_id, **fields))
        assert (failed.reason, failed.metadata["task_id"]) == ("TASK_NOT_FOUND", "NO-TASK001")
    failed = await refused(backlog.create(project_id, depends_on=[stranger.task_id]))
    assert (failed.reason, failed.metadata["project_id"]) == ("PROJECT_MISMATCH", project_id)


async def test_an_unknown_or_archived_project_takes_no_tasks(backlog: Backlog) -> None:
    failed = await refused(backlog.create("NOSUCH"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    project_id = await backlog.project()
    task = await backlog.create(project_id)
    await backlog.archive(project_id)
    task_id = task.task_id
    for call in (
        backlog.create(project_id),
        backlog.stub.UpdateTask(update_of(task, title="New")),
        backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task_id)),
        backlog.stub.StartTask(pb.StartTaskRequest(task_id=task_id)),
        backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=project_id)),
        backlog.reserve(f"{project_id}-S01", project_id),
    ):
        failed = await refused(call)
        assert (failed.reason, failed.metadata["project_id"]) == ("PROJECT_ARCHIVED", project_id)
    assert await backlog.get(task_id) == task


async def test_ids_are_never_used_again_and_grow_past_three_digits(backlog: Backlog) -> None:
    project_id = await backlog.project()
    first = await backlog.create(project_id)
    await backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=first.task_id))
    assert (await backlog.create(project_id)).task_id == f"{project_id}-TASK002"
    for _ in range(2):
        tasks = await backlog.create_many(project_id, *(f"T{n}" for n in range(500)))
    assert tasks[-1].task_id == f"{project_id}-TASK1002"


async def test_the_same_request_id_creates_once(backlog: Backlog) -> None:
    project_id, request_id = await backlog.project(), str(uuid4())
    request = pb.CreateTaskRequest(task=Task(project_id=project_id, title="Once"), request_id=request_id)
    answers = await asyncio.gather(*(backlog.stub.CreateTask(request) for _ in range(10)))
    assert len({answer.task.task_id for answer in answers}) == 1
    request.task.title = "Other"
    failed = await refused(backlog.stub.CreateTask(request))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_the_same_request_id_is_not_refused_for_its_own_effect(backlog: Backlog) -> None:
    task = await backlog.create(await backlog.project())
    request = pb.StartTaskRequest(task_id=task.task_id, request_id=str(uuid4()))
    answers = await asyncio.gather(*(backlog.stub.StartTask(request) for _ in range(20)))
    assert {answer.task.etag for answer in answers} == {(await backlog.get(task.task_id)).etag}


async def test_an_origin_key_is_used_once_in_a_project(backlog: Backlog) -> None:
    project_id, other_id = await backlog.project(), await backlog.project()
    first = await backlog.create(project_id, origin=Origin(system="jira", key="K-1"))
    failed = await refused(backlog.create(project_id, origin=Origin(system="csv", key="K-1")))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "ORIGIN_KEY_ALREADY_EXISTS")
    assert failed.metadata == {"project_id": project_id, "origin_key": "K-1", "task_id": first.task_id, "index": "0"}
    await backlog.create(other_id, origin=Origin(system="jira", key="K-1"))
    same = Task(title="Same", origin=Origin(key="K-2"))
    failed = await refused(backlog.create_many(project_id, same, same))
    assert (failed.reason, failed.metadata["origin_key"]) == ("ORIGIN_KEY_ALREADY_EXISTS", "K-2")
    second = await backlog.create(project_id)
    failed = await refused(backlog.stub.UpdateTask(update_of(second, origin=Origin(key="K-1"))))
    assert failed.metadata["task_id"] == first.task_id
    await backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=first.task_id))
    await backlog.stub.UpdateTask(update_of(second, origin=Origin(key="K-1")))


async def test_an_update_changes_what_the_mask_names(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id, "Old", description="Stays", points=3)
    request = update_of(task, "title", "points", "tags", title="New", description="Not named", tags=["x"])
    updated = (await backlog.stub.UpdateTask(request)).task
    assert (updated.title, updated.description, list(updated.tags)) == ("New", "Stays", ["x"])
    assert not updated.HasField("points")
    assert updated.etag != task.etag
    assert await backlog.get(task.task_id) == updated
    assert await backlog.events(task.task_id) == [("task.created", 1), ("task.updated", 2)]


async def test_a_stale_etag_and_bad_masks_are_refused(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id)
    updated = (await backlog.stub.UpdateTask(update_of(task, "title", title="A", etag=task.etag))).task
    failed = await refused(backlog.stub.UpdateTask(update_of(task, "title", title="B", etag=task.etag)))
    assert (failed.code, failed.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert failed.metadata == {"etag": task.etag, "current_etag": updated.etag}
    for path in ("task_id", "state", "assignee_id", "rank", "nonsense", "title.x"):
        failed = await refused(backlog.stub.UpdateTask(update_of(task, path, title="C")))
        assert (failed.code, failed.metadata["field"]) == ("INVALID_ARGUMENT", "update_mask"), path
    failed = await refused(backlog.stub.UpdateTask(update_of(task, "title", title=" ")))
    assert failed.metadata["field"] == "task.title"
    for etag_call in (
        backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=task.task_id, etag=task.etag)),
        backlog.stub.StartTask(pb.StartTaskRequest(task_id=task.task_id, etag=task.etag)),
    ):
        assert (await refused(etag_call)).reason == "ETAG_MISMATCH"


async def test_concurrent_updates_lose_nothing(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id)

    async def tag(name: str) -> int:
        """Adds a tag by its etag, again and again until nobody was faster; the number of tries."""
        for tries in range(1, 200):
            seen = await backlog.get(task.task_id)
            request = update_of(seen, "tags", tags=[*seen.tags, name], etag=seen.etag)
            try:
                await backlog.stub.UpdateTask(request)
            except Exception:
                continue
            return tries
        raise AssertionError("never")

    await asyncio.gather(*(tag(f"t{n}") for n in range(8)))
    assert sorted((await backlog.get(task.task_id)).tags) == sorted(f"t{n}" for n in range(8))
    versions = [version for _, version in await backlog.events(task.task_id)]
    assert versions == list(range(1, len(versions) + 1))


async def test_dependencies_never_go_in_a_circle(backlog: Backlog) -> None:
    project_id = await backlog.project()
    a, b, c = await backlog.create_many(project_id, "A", "B", "C")
    await backlog.stub.UpdateTask(update_of(b, depends_on=[a.task_id]))
    await backlog.stub.UpdateTask(update_of(c, depends_on=[b.task_id]))
    for task, depends_on in ((a, c), (a, b), (a, a)):
        failed = await refused(backlog.stub.UpdateTask(update_of(task, depends_on=[depends_on.task_id])))
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "DEPENDENCY_CYCLE")
        assert failed.metadata["task_id"] == a.task_id
        assert failed.metadata["depends_on"] == depends_on.task_id
    await backlog.stub.UpdateTask(update_of(c, "parent_task_id", parent_task_id=a.task_id))
    failed = await refused(backlog.stub.UpdateTask(update_of(a, "parent_task_id", parent_task_id=c.task_id)))
    assert failed.reason == "DEPENDENCY_CYCLE"


async def test_two_updates_at_once_cannot_close_a_circle_together(backlog: Backlog) -> None:
    project_id = await backlog.project()
    for _ in range(5):
        a, b = await backlog.create_many(project_id, "A", "B")
        calls = [
            backlog.stub.UpdateTask(update_of(a, depends_on=[b.task_id])),
            backlog.stub.UpdateTask(update_of(b, depends_on=[a.task_id])),
        ]
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
        assert sum(isinstance(outcome, BaseException) for outcome in outcomes) == 1


async def test_a_batch_is_created_in_order_or_not_at_all(backlog: Backlog) -> None:
    project_id = await backlog.project()
    tasks = await backlog.create_many(project_id, "A", "B", "C")
    assert ids(tasks) == [f"{project_id}-TASK00{n}" for n in (1, 2, 3)]
    assert [task.rank for task in tasks] == sorted(task.rank for task in tasks)
    failed = await refused(backlog.create_many(project_id, "D", Task(title="E", depends_on=["NO-TASK001"])))
    assert (failed.reason, failed.metadata["index"]) == ("TASK_NOT_FOUND", "1")
    failed = await refused(backlog.create_many(project_id, "D", Task(title="E", recurrence_rule="X")))
    assert (failed.reason, failed.metadata["field"]) == ("RECURRENCE_RULE_INVALID", "tasks[1].recurrence_rule")
    assert len((await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id))).tasks) == 3


def _batch(project_id: str, *updates: pb.UpdateTaskRequest) -> pb.BatchUpdateTasksRequest:
    entries = [pb.TaskUpdate(task=update.task, update_mask=update.update_mask) for update in updates]
    return pb.BatchUpdateTasksRequest(project_id=project_id, updates=entries)


async def test_a_batch_is_updated_in_order_or_not_at_all(backlog: Backlog) -> None:
    project_id, other_id = await backlog.project(), await backlog.project()
    a, b = await backlog.create_many(project_id, "A", "B")
    stranger = await backlog.create(other_id)
    batch = _batch(project_id, update_of(b, title="B2"), update_of(a, title="A2", points=1))
    updated = (await backlog.stub.BatchUpdateTasks(batch)).tasks
    assert [task.title for task in updated] == ["B2", "A2"]
    assert await backlog.get(a.task_id) == updated[1]
    good = update_of(a, title="A3")
    for bad, reason in (
        (update_of(a, title="Twice"), "VALIDATION_FAILED"),
        (update_of(b, title=""), "VALIDATION_FAILED"),
        (update_of(stranger, title="X"), "PROJECT_MISMATCH"),
        (update_of(Task(task_id=f"{project_id}-TASK999"), title="X"), "TASK_NOT_FOUND"),
        (update_of(b, title="X", etag=b.etag), "ETAG_MISMATCH"),
        (update_of(b, depends_on=[b.task_id]), "DEPENDENCY_CYCLE"),
    ):
        if not bad.update_mask.paths:
            bad.update_mask.paths.append("title")
        failed = await refused(backlog.stub.BatchUpdateTasks(_batch(project_id, good, bad)))
        assert (failed.reason, failed.metadata["index"]) == (reason, "1")
    assert (await backlog.get(a.task_id)).title == "A2"
    circle = _batch(project_id, update_of(a, depends_on=[b.task_id]), update_of(b, depends_on=[a.task_id]))
    assert (await refused(backlog.stub.BatchUpdateTasks(circle))).reason == "DEPENDENCY_CYCLE"


async def test_a_deleted_task_is_gone(backlog: Backlog) -> None:
    project_id = await backlog.project()
    task = await backlog.create(project_id)
    request = pb.DeleteTaskRequest(task_id=task.task_id, etag=task.etag, request_id=str(uuid4()))
    await backlog.stub.DeleteTask(request)
    await backlog.stub.DeleteTask(request)
    request.request_id = ""
    for call in (
        backlog.stub.DeleteTask(request),
        backlog.get(task.task_id),
        backlog.stub.UpdateTask(update_of(task, title="X")),
        backlog.stub.AssignTask(pb.AssignTaskRequest(task_id=task.task_id)),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason, failed.metadata["task_id"]) == ("NOT_FOUND", "TASK_NOT_FOUND", task.task_id)
    assert await backlog.events(task.task_id) == [("task.created", 1), ("task.deleted", 2)]


async def test_a_task_moves_outside_a_sprint(backlog: Backlog) -> None:
    task = await backlog.create(await backlog.project())
    task_id = task.task_id
    task = (await backlog.stub.AssignTask(pb.AssignTaskRequest(task_id=task_id, assignee_id="E001"))).task
    assert task.assignee_id == "E001"
    task = (await backlog.stub.StartTask(pb.StartTaskRequest(task_id=task_id, etag=task.etag))).task
    assert task.state == TASK_STATE_IN_PROGRESS
    task = (await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=task_id))).task
    assert (task.state, task.progress_percent, task.assignee_id) == (TASK_STATE_COMPLETED, 100, "E001")
    assert task.complete_time == task.update_time
    failed = await refused(backlog.stub.StartTask(pb.StartTaskRequest(task_id=task_id)))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "INVALID_TASK_TRANSITION")
    assert failed.metadata == {"task_id": task_id, "from": "COMPLETED", "to": "IN_PROGRESS"}
    task = (await backlog.stub.ReopenTask(pb.ReopenTaskRequest(task_id=task_id))).task
    assert (task.state, task.progress_percent) == (TASK_STATE_UNASSIGNED, 0)
    assert not task.HasField("complete_time")
    task = (await backlog.stub.CancelTask(pb.CancelTaskRequest(task_id=task_id))).task
    assert task.state == TASK_STATE_CANCELLED
    assert await backlog.get(task_id) == task
    told = await backlog.events(task_id)
    assert [version for _, version in told] == list(range(1, 8))
    assert ("task.completed", 5) in told


async def test_the_same_request_id_moves_once(backlog: Backlog) -> None:
    task = await backlog.create(await backlog.project())
    request = pb.StartTaskRequest(task_id=task.task_id, request_id=str(uuid4()))
    first = await backlog.stub.StartTask(request)
    assert await backlog.stub.StartTask(request) == first
    other = pb.CompleteTaskRequest(task_id=task.task_id, request_id=request.request_id)
    assert (await refused(backlog.stub.CompleteTask(other))).reason == "REQUEST_ID_REUSED"


async def test_a_sample_backlog_is_plausible_and_the_same_for_a_seed(backlog: Backlog) -> None:
    one, two = await backlog.project(), await backlog.project()
    request_id = str(uuid4())
    first = await backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=one, request_id=request_id))
    assert first.tasks_count == len(first.tasks) == 10
    again = await backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=one, request_id=request_id))
    assert again == first
    second = await backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=two, seed=1))
    assert [task.title for task in second.tasks] == [task.title for task in first.tasks]
    other = await backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=two, seed=2, count=500))
    assert len(other.tasks) == 500
    assert all(task.points > 0 and task.description for task in other.tasks)
    failed = await refused(backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id="NOSUCH")))
    assert failed.reason == "PROJECT_NOT_FOUND"
    failed = await refused(backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=one, count=501)))
    assert failed.reason == "VALIDATION_FAILED"


async def test_without_the_project_service_known_projects_go_on(backlog: Backlog, world: World) -> None:
    project_id = await backlog.project()
    await backlog.create(project_id)
    await world.stop("project")
    try:
        await backlog.create(project_id)
        for call in (
            backlog.stub.GenerateBacklog(pb.GenerateBacklogRequest(project_id=project_id)),
            backlog.create("NEVER-HEARD"),
            backlog.stub.GetBacklogSummary(pb.GetBacklogSummaryRequest(project_id="NEVER-HEARD")),
        ):
            failed = await refused(call)
            assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
            assert failed.metadata["service"] == "project"
            assert failed.metadata["breaker"] in ("closed", "open", "half-open")
        assert len((await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id))).tasks) == 2
    finally:
        await world.start("project")
        await eventually(lambda: _hears(backlog))


async def _hears(backlog: Backlog) -> bool:
    """True once the backlog reaches the project service again; the next test must not meet its backoff."""
    failed = await refused(backlog.stub.GetBacklogSummary(pb.GetBacklogSummaryRequest(project_id="NEVER-HEARD")))
    return failed.reason == "PROJECT_NOT_FOUND"


async def test_an_update_needs_a_mask(backlog: Backlog) -> None:
    task = await backlog.create(await backlog.project())
    request = pb.UpdateTaskRequest(task=Task(task_id=task.task_id), update_mask=FieldMask())
    assert (await refused(backlog.stub.UpdateTask(request))).metadata["field"] == "update_mask"
