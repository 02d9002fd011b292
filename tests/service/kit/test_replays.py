"""AdminService: dead letters, and streams that are lost."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from uuid import uuid4

import pytest_asyncio
from dsm.common.v1 import admin_service_pb2 as pb
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.events.v1 import event_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from nats.js import JetStreamContext

from services.kit.clock import utc_now
from services.kit.convert import from_time
from services.local.stack import Stack
from tests.harness import World, eventually, make_world, refused
from tests.service.kit.reconciling import agree
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
    async with world.jetstream() as js:
        yield js


# --- dead letters -------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def poisoned(world: World, jetstream: JetStreamContext) -> AsyncIterator[Fixture]:
    """A sprint; the backlog refuses its first task, and got bytes besides that are no event."""
    scene = await make(world, points=(1, 1))
    await scene.start()
    await eventually(lambda: agree(scene))
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


async def test_a_service_that_is_stopped_has_told_what_it_committed(world: World) -> None:
    """It may be long until it is started again, and its followers go on."""
    scene = await make(world, points=(1,))
    await scene.start()
    for percent in range(10, 100, 10):
        await scene.report(scene.task_ids[0], percent)
    await world.stop("sprint")
    assert await world.published("sprint")

    async def followed() -> bool:
        return (await scene.task(scene.task_ids[0])).progress_percent == 90

    await eventually(followed)
    await world.start("sprint")


async def test_a_lost_stream_is_rebuilt(world: World, jetstream: JetStreamContext) -> None:
    """The stream goes with events that the backlog never saw; then each of them has its effect, once."""
    scene = await make(world, points=(1, 1))
    [before_all] = await world.query("sprint", "SELECT now() AS time")
    await scene.start()
    await eventually(lambda: agree(scene))
    await world.stop("backlog")
    await scene.report(scene.task_ids[0], 40)
    assert await eventually(lambda: world.published("sprint"))
    await jetstream.delete_stream("DSM_SPRINT")
    await world.start("backlog")
    before = await scene.task(scene.task_ids[1])
    # The relay sees that the stream is another one, and publishes by itself what was on the old one.
    await eventually(lambda: agree(scene))
    assert await eventually(lambda: world.published("sprint"))
    rebuilt = (await jetstream.stream_info("DSM_SPRINT")).state.messages
    assert rebuilt >= 2

    # Published once more by hand, it is what the stream has already.
    sprint_admin = AdminServiceStub(await world.channel("sprint"))
    request = pb.ReplayOutboxRequest(
        service="sprint", since_time=from_time(before_all["time"]), request_id=str(uuid4())
    )
    answer = await sprint_admin.ReplayOutbox(request)
    assert answer.event_count == 2
    await eventually(lambda: agree(scene))
    assert await _progress(scene) == 40
    assert (await scene.task(scene.task_ids[1])).etag == before.etag
    assert (await jetstream.stream_info("DSM_SPRINT")).state.messages == rebuilt
    assert await sprint_admin.ReplayOutbox(request) == answer
    assert await eventually(lambda: world.published("sprint"))
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
