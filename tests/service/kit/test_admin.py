"""AdminService: dead letters, replay of lost streams, and reconciliation with a control for each disagreement."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import nats
import pytest
import pytest_asyncio
from dsm.backlog.v1 import task_pb2
from dsm.common.v1 import admin_service_pb2 as pb
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprints
from google.protobuf.timestamp_pb2 import Timestamp
from nats.js import JetStreamContext

from services.kit.clock import utc_now
from services.kit.convert import from_time
from services.kit.events import new_event, subject_of
from services.local.stack import Stack
from tests.harness import World, eventually, make_world, refused
from tests.service.sprint.sprints import Fixture, make

if TYPE_CHECKING:
    from dsm.common.v1.admin_service_pb2_grpc import AdminServiceAsyncStub

CONSUMER = "backlog-dsm_sprint"
SUBJECT = "dsm.sprint.v1.task.updated"


@pytest_asyncio.fixture(scope="module")
async def world(stack: Stack) -> AsyncIterator[World]:
    """Services that give a message up at once."""
    async with AsyncExitStack() as exits:
        made = await make_world(stack, exits, DSM_MAX_DELIVERIES="1")
        await made.start("project", "backlog", "sprint")
        yield made


@pytest_asyncio.fixture
async def admin(world: World) -> AdminServiceAsyncStub:
    """The AdminService of the backlog's process."""
    return AdminServiceStub(await world.channel("backlog"))


@pytest_asyncio.fixture
async def jetstream(world: World) -> AsyncIterator[JetStreamContext]:
    client = await nats.connect(world.stack.nats.url)
    yield client.jetstream()
    await client.close()


# --- dead letters -------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def poisoned(world: World, jetstream: JetStreamContext) -> AsyncIterator[Fixture]:
    """A sprint; the backlog refuses its first task, and got bytes besides that are no event."""
    scene = await make(world, points=(1, 1))
    await scene.start()
    await eventually(lambda: _agree(scene))
    await world.query("backlog", "DELETE FROM dead_letter")
    await world.query(
        "backlog",
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'refused'; END $$;
        CREATE TRIGGER refuse BEFORE UPDATE ON task FOR EACH ROW WHEN (new.task_id = '{scene.task_ids[0]}')
        EXECUTE FUNCTION refuse();
        """,
    )
    await jetstream.publish(SUBJECT, b"\xff\xff\xff")
    await scene.report(scene.task_ids[0], 10)
    yield scene
    await _mend(world)


async def _mend(world: World) -> None:
    await world.query("backlog", "DROP TRIGGER IF EXISTS refuse ON task; DROP FUNCTION IF EXISTS refuse()")


async def _letters(admin: AdminServiceAsyncStub, count: int, **fields: Any) -> list[pb.DeadLetter]:
    async def found() -> list[pb.DeadLetter]:
        letters = (await admin.ListDeadLetters(pb.ListDeadLettersRequest(**fields))).dead_letters
        return list(letters) if len(letters) == count else []

    return cast(list[pb.DeadLetter], await eventually(found))


async def _progress(scene: Fixture, number: int = 0) -> int:
    return (await scene.task(scene.task_ids[number])).progress_percent


async def test_poison_is_listed_and_holds_nobody_up(poisoned: Fixture, admin: AdminServiceAsyncStub) -> None:
    await poisoned.report(poisoned.task_ids[1], 20)

    async def neighbour() -> bool:
        return await _progress(poisoned, 1) == 20

    await eventually(neighbour)
    bad, refused_ = sorted(await _letters(admin, 2), key=lambda letter: len(letter.payload))
    for letter in (bad, refused_):
        assert (letter.service, letter.consumer, letter.subject) == ("backlog", CONSUMER, SUBJECT)
        assert (letter.attempts, bool(letter.error)) == (1, True)
        assert abs(utc_now() - letter.create_time.ToDatetime(utc_now().tzinfo)) < timedelta(minutes=1)
    assert (bad.payload, bad.event_id) == (b"\xff\xff\xff", "")
    event = event_pb2.Event.FromString(refused_.payload)
    assert (event.event_id, event.aggregate_id) == (refused_.event_id, poisoned.task_ids[0])


async def test_dead_letters_page(poisoned: Fixture, admin: AdminServiceAsyncStub) -> None:
    whole = await _letters(admin, 2)
    paged: list[pb.DeadLetter] = []
    request = pb.ListDeadLettersRequest(page_size=1)
    while True:
        answer = await admin.ListDeadLetters(request)
        assert len(answer.dead_letters) == 1
        paged += answer.dead_letters
        if not answer.next_page_token:
            break
        request.page_token = answer.next_page_token
    assert paged == whole
    assert len(await _letters(admin, 2, service="backlog", consumer=CONSUMER)) == 2
    assert not (await admin.ListDeadLetters(pb.ListDeadLettersRequest(consumer="other"))).dead_letters
    first = await admin.ListDeadLetters(pb.ListDeadLettersRequest(page_size=1))
    other = pb.ListDeadLettersRequest(consumer=CONSUMER, page_token=first.next_page_token)
    assert (await refused(admin.ListDeadLetters(other))).reason == "PAGE_TOKEN_INVALID"


async def test_a_service_that_does_not_run_here_is_not_found(admin: AdminServiceAsyncStub) -> None:
    calls: list[Awaitable[Any]] = [
        admin.ListDeadLetters(pb.ListDeadLettersRequest(service="sprint")),
        admin.ReplayDeadLetters(pb.ReplayDeadLettersRequest(service="sprint")),
        admin.ReplayOutbox(pb.ReplayOutboxRequest(service="sprint", since_time=Timestamp(seconds=1))),
        admin.Reconcile(pb.ReconcileRequest()),
    ]
    for call in calls:
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("NOT_FOUND", "SERVICE_NOT_FOUND")
        assert failed.metadata == {"service": "sprint"}


async def test_what_is_mended_is_applied_once_and_the_rest_stays(
    world: World, poisoned: Fixture, admin: AdminServiceAsyncStub
) -> None:
    bad, good = sorted(await _letters(admin, 2), key=lambda letter: len(letter.payload))
    again = await admin.ReplayDeadLetters(pb.ReplayDeadLettersRequest(service="backlog"))
    assert (again.applied_count, again.failed_count) == (0, 2)
    assert {letter.attempts for letter in await _letters(admin, 2)} == {2}
    await _mend(world)
    request = pb.ReplayDeadLettersRequest(
        service="backlog", dead_letter_ids=[good.dead_letter_id], request_id=str(uuid4())
    )
    first = await admin.ReplayDeadLetters(request)
    assert (first.applied_count, first.failed_count) == (1, 0)
    assert await _progress(poisoned) == 10
    version = (await poisoned.task(poisoned.task_ids[0])).etag
    assert await admin.ReplayDeadLetters(request) == first
    assert (await poisoned.task(poisoned.task_ids[0])).etag == version
    assert [letter.dead_letter_id for letter in await _letters(admin, 1)] == [bad.dead_letter_id]
    request.dead_letter_ids.append(bad.dead_letter_id)
    assert (await refused(admin.ReplayDeadLetters(request))).reason == "REQUEST_ID_REUSED"


async def test_an_unknown_dead_letter_replays_none(poisoned: Fixture, admin: AdminServiceAsyncStub) -> None:
    known, unknown = (await _letters(admin, 2))[0].dead_letter_id, str(uuid4())
    request = pb.ReplayDeadLettersRequest(service="backlog", dead_letter_ids=[known, unknown])
    failed = await refused(admin.ReplayDeadLetters(request))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "DEAD_LETTER_NOT_FOUND")
    assert failed.metadata == {"dead_letter_id": unknown}
    assert {letter.attempts for letter in await _letters(admin, 2)} == {1}
    failed = await refused(
        admin.ReplayDeadLetters(pb.ReplayDeadLettersRequest(service="backlog", dead_letter_ids=["x"]))
    )
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "dead_letter_ids[0]")


async def test_many_dead_letters_are_each_tried_once(world: World, admin: AdminServiceAsyncStub) -> None:
    """More than are read at a time, all of one instant; those that fail again are not tried in turn for ever."""
    await world.query("backlog", "DELETE FROM dead_letter")
    await world.query(
        "backlog",
        f"""
        INSERT INTO dead_letter (dead_letter_id, consumer, subject, event_id, payload, error, attempts)
        SELECT gen_random_uuid(), 'backlog-dsm_sprint', '{SUBJECT}', '', '\xff', 'bad', 1 FROM generate_series(1, 250)
        """,
    )
    answer = await admin.ReplayDeadLetters(pb.ReplayDeadLettersRequest(service="backlog"))
    assert (answer.applied_count, answer.failed_count) == (0, 250)
    assert await world.query("backlog", "SELECT DISTINCT attempts FROM dead_letter") == [{"attempts": 2}]
    await world.query("backlog", "DELETE FROM dead_letter")


# --- outbox -------------------------------------------------------------------------------------


async def test_a_lost_stream_is_rebuilt(world: World, jetstream: JetStreamContext) -> None:
    """The stream goes with events that the backlog never saw; then each of them has its effect, once."""
    scene = await make(world, points=(1, 1))
    [before_all] = await world.query("sprint", "SELECT now() AS time")
    await scene.start()
    await eventually(lambda: _agree(scene))
    await world.stop("backlog")
    await scene.report(scene.task_ids[0], 40)
    await eventually(lambda: _drained(world))
    await jetstream.delete_stream("DSM_SPRINT")
    await world.start("backlog")
    before = await scene.task(scene.task_ids[1])
    # The relay sees that the stream is another one, and publishes by itself what was on the old one.
    await eventually(lambda: _agree(scene))
    await eventually(lambda: _drained(world))
    rebuilt = (await jetstream.stream_info("DSM_SPRINT")).state.messages
    assert rebuilt >= 2

    # Published once more by hand, it is what the stream has already.
    sprint_admin = AdminServiceStub(await world.channel("sprint"))
    request = pb.ReplayOutboxRequest(
        service="sprint", since_time=from_time(before_all["time"]), request_id=str(uuid4())
    )
    answer = await sprint_admin.ReplayOutbox(request)
    assert answer.event_count == 2
    await eventually(lambda: _agree(scene))
    assert await _progress(scene) == 40
    assert (await scene.task(scene.task_ids[1])).etag == before.etag
    assert (await jetstream.stream_info("DSM_SPRINT")).state.messages == rebuilt
    assert await sprint_admin.ReplayOutbox(request) == answer
    await eventually(lambda: _drained(world))
    assert (await jetstream.stream_info("DSM_SPRINT")).state.messages == rebuilt
    request.since_time.seconds += 1
    assert (await refused(sprint_admin.ReplayOutbox(request))).reason == "REQUEST_ID_REUSED"


async def test_a_replay_needs_a_time(admin: AdminServiceAsyncStub) -> None:
    failed = await refused(admin.ReplayOutbox(pb.ReplayOutboxRequest(service="backlog")))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "since_time")
    bad = pb.ReplayOutboxRequest(service="backlog", since_time=Timestamp(seconds=10**15))
    failed = await refused(admin.ReplayOutbox(bad))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "since_time")
    late = pb.ReplayOutboxRequest(service="backlog", since_time=Timestamp(seconds=4_000_000_000))
    assert (await admin.ReplayOutbox(late)).event_count == 0


async def _drained(world: World) -> bool:
    rows = await world.query("sprint", "SELECT 1 FROM outbox WHERE publish_time IS NULL")
    return not rows


# --- reconciliation -----------------------------------------------------------------------------


async def _reconcile(world: World, project_id: str = "", grace: int = 0, seconds: float = 30) -> pb.ReconcileResponse:
    admin = AdminServiceStub(await world.channel("sprint"))
    request = pb.ReconcileRequest(project_id=project_id, grace_seconds=grace)
    return await admin.Reconcile(request, timeout=seconds)


async def _agree(scene: Fixture) -> bool:
    answer = await _reconcile(scene.world, scene.project_id)
    return not answer.disagreements and not answer.unpublished_events


async def _started(world: World) -> Fixture:
    """A sprint that both services tell alike, with a task left in the backlog."""
    scene = await make(world, points=(1, 1, 1, 1))
    await scene.start(max_tasks=3)
    await scene.report(scene.task_ids[1], 30)
    await scene.report(scene.task_ids[2], 100)
    await eventually(lambda: _agree(scene))
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
    answer = await _reconcile(world, scene.project_id)
    told = {(d.field, d.backlog_value, d.sprint_value) for d in answer.disagreements}
    assert told == {
        tuple(part.format(sprint=sprint.sprint_id, assignee=assignee) for part in each) for each in expected
    }
    assert {d.project_id for d in answer.disagreements} == {scene.project_id}
    # It changes nothing: the second look finds the same, also when it asks for what is old enough.
    assert await _reconcile(world, scene.project_id) == answer
    await eventually(lambda: _found(scene, answer, grace=1))


async def _found(scene: Fixture, expected: pb.ReconcileResponse, grace: int) -> bool:
    return (await _reconcile(scene.world, scene.project_id, grace)).disagreements == expected.disagreements


async def test_services_that_agree(world: World) -> None:
    scene = await _started(world)
    answer = await _reconcile(world, scene.project_id)
    assert not answer.disagreements
    assert (answer.tasks_compared, answer.sprints_compared, answer.unpublished_events) == (3, 1, 0)
    sprint = (await scene.sprints.GetActiveSprint(sprints.GetActiveSprintRequest(project_id=scene.project_id))).sprint
    close = sprints.CloseSprintRequest(sprint_id=sprint.sprint_id, close_date=sprint.end_date)
    await scene.sprints.CloseSprint(close)
    await eventually(lambda: _agree(scene))
    assert (await _reconcile(world, scene.project_id)).tasks_compared == 0
    await scene.start(max_tasks=3)
    await eventually(lambda: _agree(scene))
    assert (await _reconcile(world, scene.project_id)).tasks_compared == 3


async def test_changes_of_scope_keep_them_alike(world: World) -> None:
    scene = await _started(world)
    sprint = (await scene.sprints.GetActiveSprint(sprints.GetActiveSprintRequest(project_id=scene.project_id))).sprint
    first, second, _, free = scene.task_ids
    change, sprint_id = scene.sprints, sprint.sprint_id
    await change.AddTaskToSprint(sprints.AddTaskToSprintRequest(sprint_id=sprint_id, task_id=free))
    await eventually(lambda: _agree(scene))
    assert (await _reconcile(world, scene.project_id)).tasks_compared == 4
    to_other = sprints.ReassignTaskRequest(sprint_id=sprint_id, task_id=free, assignee_id=scene.people[1])
    await change.ReassignTask(to_other)
    await change.RemoveTaskFromSprint(sprints.RemoveTaskFromSprintRequest(sprint_id=sprint_id, task_id=first))
    await change.CancelSprintTask(sprints.CancelSprintTaskRequest(sprint_id=sprint_id, task_id=second))
    await eventually(lambda: _agree(scene))
    assert (await _reconcile(world, scene.project_id)).tasks_compared == 2


async def test_more_tasks_than_a_page(world: World) -> None:
    scene = await make(world, people=3, points=[1.0] * 300)
    await scene.start(max_tasks=280)
    await eventually(lambda: _agree(scene))
    assert (await _reconcile(world, scene.project_id)).tasks_compared == 280
    gone = scene.task_ids[:260:2]
    sql = "UPDATE task SET delete_time = now() WHERE task_id = ANY(%(ids)s)"
    await world.query("backlog", sql, {"ids": gone})
    answer = await _reconcile(world, scene.project_id)
    assert sorted(d.task_id for d in answer.disagreements) == sorted(gone)
    assert {d.field for d in answer.disagreements} == {"missing"}
    assert answer.tasks_compared == 280


async def test_all_projects_at_once(world: World) -> None:
    ours = [await _started(world) for _ in range(2)]
    for scene in ours:
        sql = "UPDATE task SET progress_percent = 77 WHERE task_id = %(task)s"
        await world.query("backlog", sql, {"task": scene.task_ids[0]})
    answer = await _reconcile(world)
    told = {d.project_id for d in answer.disagreements if (d.field, d.backlog_value) == ("progress", "77")}
    assert told == {scene.project_id for scene in ours}
    assert answer.sprints_compared >= 2


async def test_the_grace_lets_events_arrive(world: World) -> None:
    scene = await _started(world)
    world.stack.nats.kill()
    try:
        await scene.report(scene.task_ids[0], 60)
        now = await _reconcile(world, scene.project_id)
        assert {d.field for d in now.disagreements} == {"state", "progress", "version", "outbox"}
        assert now.unpublished_events == 1
        [outbox] = [d for d in now.disagreements if d.field == "outbox"]
        assert (outbox.backlog_value, bool(outbox.sprint_value)) == ("", True)
        # Young, and no time to wait for it: left out.
        assert not (await _reconcile(world, scene.project_id, grace=3600, seconds=4)).disagreements
        later = asyncio.create_task(_reconcile(world, scene.project_id, grace=60))
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
            assert not (await _reconcile(world, scene.project_id, grace=5)).disagreements
    finally:
        done.set()
    assert all(await asyncio.gather(*workers))


async def test_what_is_newer_than_any_sprint_is_told_too(world: World, jetstream: JetStreamContext) -> None:
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
    await jetstream.publish(subject_of(event), event.SerializeToString())

    async def told() -> bool:
        answer = await _reconcile(world, scene.project_id)
        return {(d.field, d.backlog_value) for d in answer.disagreements} == {
            ("version", "50"),
            ("progress", "5"),
            ("state", "IN_PROGRESS"),
        }

    await eventually(told)


async def test_what_cannot_be_compared(world: World) -> None:
    failed = await refused(_reconcile(world, "NO-SUCH"))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    failed = await refused(_reconcile(world, "no such"))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "project_id")
    failed = await refused(_reconcile(world, grace=3601))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "grace_seconds")
    await world.stop("backlog")
    try:
        failed = await refused(_reconcile(world))
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DEPENDENCY_UNAVAILABLE")
        assert failed.metadata["service"] == "backlog"
    finally:
        await world.start("backlog")
