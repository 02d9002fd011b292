"""Faults on the way of an event, each with what must hold afterwards.

Every function makes its fault in an arena and gives what is violated, in sentences; nothing is well. The tests want
nothing, the negative controls, whose arena has a protection broken, want something.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

import grpc
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.backlog.v1.task_pb2 import Task
from dsm.common.v1 import admin_service_pb2, status_service_pb2
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.common.v1.status_service_pb2_grpc import StatusServiceStub
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb
from google.protobuf.field_mask_pb2 import FieldMask
from nats.js.errors import NotFoundError

from services.kit.events import stream_subjects
from tests.faults import wire
from tests.faults.arena import Arena, Process, count
from tests.faults.wire import Message
from tests.harness import eventually
from tests.service.sprint.sprints import FRIDAY, Fixture, make

# I3 and I5: how long after the healing everything may still be under way.
HEAL_SECONDS = 10.0
PROGRESSED = "dsm.in.sprint.v1.task.progressed"
_CLIENTS = 16
# Messages a second while some of them are poison.
RATE = count(100, 40)


# --- commit and publish ---------------------------------------------------------------------------


async def creates_while_dying(arena: Arena, rng: Random, creates: int, lives: Sequence[str]) -> list[str]:
    """Tasks are created while the backlog is killed between commit, publish and mark (I2, I5).

    `lives` are the failpoints of each process of the backlog.
    """
    scene = await make(arena, points=[])
    await arena.stop("backlog")
    dying = asyncio.create_task(arena.dying("backlog", lives))
    told: dict[str, str] = {}
    clients = [_create(arena, rng, scene.project_id, number, creates, told, dying) for number in range(_CLIENTS)]
    await asyncio.gather(*clients)
    await dying
    wrong = await _outbox_left(arena, "backlog")
    rows = await arena.query("backlog", "SELECT task_id, title FROM task WHERE project_id = %(id)s", _id(scene))
    titles = Counter(row["title"] for row in rows)
    for title, outcome in told.items():
        if titles[title] > 1 or (outcome == "ok" and not titles[title]):
            wrong.append(f"{title}, which its client was told is {outcome}, is there {titles[title]} times")
    wrong += await _untold(arena, {row["task_id"] for row in rows}, scene.project_id)
    outcomes = Counter(told.values())
    print(f"creates: {dict(outcomes)}, there {len(rows)}, kills {len(lives)}, wrong {len(wrong)}")
    assert outcomes["ok"] >= creates, "too little was created for this to say anything"
    return wrong


async def _create(
    arena: Arena,
    rng: Random,
    project_id: str,
    client: int,
    creates: int,
    told: dict[str, str],
    dying: asyncio.Task[int],
) -> None:
    stub = BacklogServiceStub(await arena.channel("backlog"))
    number = 0
    while sum(outcome == "ok" for outcome in told.values()) < creates or not dying.done():
        title, number = f"{client}-{number}", number + 1
        task = Task(project_id=project_id, title=title)
        request = backlog_pb.CreateTaskRequest(task=task, request_id=str(UUID(int=rng.getrandbits(128), version=4)))
        # Some insist until they are told something; the others never know.
        for _ in range(500 if rng.random() < 0.7 else 1):
            try:
                await stub.CreateTask(request, timeout=5)
            except grpc.aio.AioRpcError:
                told[title] = "unknown"
                await asyncio.sleep(0.05)
            else:
                told[title] = "ok"
                break


async def _untold(arena: Arena, task_ids: set[str], project_id: str) -> list[str]:
    """What is committed and not told, or told and not committed, of tasks that were created.

    One event may be on the stream twice, for its inbox to tell; two events of one creation may not.
    """
    messages = await wire.read(arena.stack.nats.url, "DSM_BACKLOG")
    events = [message.event for message in messages if message.subject == "dsm.backlog.v1.task.created"]
    told = {event.event_id: event.aggregate_id for event in events if event.project_id == project_id}
    counts = Counter(told.values())
    wrong = [f"{task_id} is committed and was never told" for task_id in sorted(task_ids - set(counts))]
    wrong += [f"{task_id} was told and is not committed" for task_id in sorted(set(counts) - task_ids)]
    return wrong + [f"{task_id} was told by {times} events" for task_id, times in counts.items() if times > 1]


async def _outbox_left(arena: Arena, service: str) -> list[str]:
    try:
        await eventually(lambda: _drained(arena, service), HEAL_SECONDS)
    except AssertionError as error:
        return [f"the outbox of {service} is not drained {HEAL_SECONDS} s after the healing: {error}"]
    return []


async def _drained(arena: Arena, service: str) -> bool:
    [row] = await arena.query(service, "SELECT count(*) AS left FROM outbox WHERE publish_time IS NULL")
    return int(row["left"]) == 0


# --- effect and acknowledgement -------------------------------------------------------------------


async def reports_while_dying(arena: Arena, rng: Random, events: int, lives: Sequence[str]) -> list[str]:
    """Work is reported by events while the sprint service is killed between effect and acknowledgement (I3, I4)."""
    scene = await started(arena, tasks=20)
    before = await _versions(arena, scene)
    # So that what it is killed at are these reports, and nothing that it had still to hear of others.
    for stream, consumer in (("DSM_BACKLOG", "sprint-dsm_backlog"), ("DSM_PROJECT", "sprint-dsm_project")):
        await eventually(partial(_taken, arena, stream, consumer), 60)
    await arena.stop("sprint")
    messages = reports(rng, scene, events)
    await wire.publish(arena.stack.nats.url, messages)
    await arena.dying("sprint", lives)
    return await _effects(arena, scene, before, messages)


async def delivered_often(arena: Arena, rng: Random, events: int, times: int) -> list[str]:
    """Each report of work is delivered many times, under the id that JetStream knows, another and none (I4)."""
    scene = await started(arena, tasks=20)
    before = await _versions(arena, scene)
    messages = reports(rng, scene, events)
    copies = [Message(m.subject, m.data, rng.choice(["", str(uuid4()), m.msg_id])) for m in messages * (times - 1)]
    everything = messages + copies
    rng.shuffle(everything)
    await wire.publish(arena.stack.nats.url, everything)
    await _flood_taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in")
    return await _effects(arena, scene, before, messages)


def reports(rng: Random, scene: Fixture, count: int) -> list[Message]:
    """Reports of work, all of one instant: whatever their order, none comes too late, so each has its effect."""
    now, found = datetime.now(UTC), []
    for number in range(count):
        payload = sprint_events_pb2.TaskProgressed(
            task_id=scene.task_ids[number % len(scene.task_ids)],
            new_total_progress=rng.randrange(1, 100),
            yesterday_work=f"Report {number}",
        )
        event = event_pb2.Event(event_id=str(uuid4()), task_progressed=payload)
        event.event_time.FromDatetime(now)
        found.append(Message(PROGRESSED, event.SerializeToString(), event.event_id))
    return found


async def started(arena: Arena, tasks: int, people: int = 2) -> Fixture:
    """A project whose sprint is under way with all its tasks."""
    scene = await make(arena, people=people, points=[1] * tasks)
    await insist(partial(scene.start, max_tasks=tasks))
    return scene


async def _versions(arena: Arena, scene: Fixture) -> dict[str, int]:
    sql = "SELECT task_id, version FROM sprint_task WHERE project_id = %(id)s"
    return {row["task_id"]: row["version"] for row in await arena.query("sprint", sql, _id(scene))}


async def _effects(
    arena: Arena,
    scene: Fixture,
    before: dict[str, int],
    messages: Sequence[Message],
    alike: Sequence[Message] = (),
) -> list[str]:
    """What is wrong with the effects of reports, once all are applied: each has one entry and one version.

    `alike` are further ones whose notes do not tell them apart.
    """
    expected = Counter(message.event.task_progressed.task_id for message in [*messages, *alike])
    began = asyncio.get_running_loop().time()
    wrong = []
    try:
        await eventually(lambda: _taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), HEAL_SECONDS)
    except AssertionError as error:
        wrong.append(f"not applied {HEAL_SECONDS} s after the healing: {error}")
        await eventually(lambda: _taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    seconds = asyncio.get_running_loop().time() - began
    sql = "SELECT work_note, count(*) AS times FROM progress_entry WHERE sprint_id = %(id)s GROUP BY work_note"
    entries = {row["work_note"]: row["times"] for row in await arena.query("sprint", sql, {"id": _sprint_id(scene)})}
    for message in messages:
        note = message.event.task_progressed.yesterday_work
        if entries.get(note, 0) != 1:
            wrong.append(f"{note} has {entries.get(note, 0)} effects")
    after = await _versions(arena, scene)
    for task_id, times in expected.items():
        if after[task_id] != before[task_id] + times:
            wrong.append(f"{task_id} went from version {before[task_id]} to {after[task_id]} by {times} reports")
    wrong += await agreed(arena, scene)
    print(f"reports: {len(messages)}, effects {sum(entries.values())}, in {seconds:.1f} s, wrong {len(wrong)}")
    return wrong


async def agreed(arena: Arena, scene: Fixture) -> list[str]:
    """What backlog and sprint disagree on, once they had the time to agree (I3)."""

    async def difference() -> list[str]:
        sql = """
            SELECT task_id, sprint_version AS version, progress_percent, state, assignee_id FROM task
            WHERE project_id = %(id)s AND sprint_id <> '' ORDER BY task_id
        """
        theirs = await arena.query("backlog", sql, _id(scene))
        sql = """
            SELECT task_id, version, progress_percent, state, assignee_id FROM sprint_task
            WHERE project_id = %(id)s AND outcome IS NULL ORDER BY task_id
        """
        ours = await arena.query("sprint", sql, _id(scene))
        return [f"sprint {a} but backlog {b}" for a, b in zip(ours, theirs, strict=True) if a != b]

    return await settled(difference)


async def _flood_taken(arena: Arena, stream: str, consumer: str) -> None:
    """Wait until thousands of messages are taken: not before that is the fault over, and the time to heal begins."""
    await eventually(lambda: _taken(arena, stream, consumer), 600)


async def _taken(arena: Arena, stream: str, consumer: str) -> bool:
    async with wire.jetstream(arena.stack.nats.url) as js:
        try:
            info = await js.consumer_info(stream, consumer)
        except NotFoundError:
            return False
    return not info.num_pending and not info.num_ack_pending


# --- order ------------------------------------------------------------------------------------------

_WATCH_VERSIONS = """
    CREATE TABLE IF NOT EXISTS went_back (task_id text, was bigint, became bigint);
    CREATE OR REPLACE FUNCTION note_going_back() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO went_back VALUES (NEW.task_id, OLD.sprint_version, NEW.sprint_version); RETURN NEW;
    END $$;
    CREATE OR REPLACE TRIGGER went_back AFTER UPDATE ON task FOR EACH ROW
        WHEN (NEW.sprint_version < OLD.sprint_version) EXECUTE FUNCTION note_going_back();
"""


async def progress_reordered(arena: Arena, rng: Random, updates: int, tasks: int, window: int = 50) -> list[str]:
    """What the sprint service tells of its tasks reaches the backlog in another order (I3, I6)."""
    scene = await started(arena, tasks)
    assert await agreed(arena, scene) == []
    await arena.query("backlog", _WATCH_VERSIONS)
    await arena.stop("backlog")

    async def report(number: int) -> None:
        await insist(partial(scene.report, scene.task_ids[number % tasks], rng.randrange(1, 100)))

    await many(report, updates)
    count = await reorder(arena, rng, "sprint", "DSM_SPRINT", window)
    await arena.start("backlog")
    await _flood_taken(arena, "DSM_SPRINT", "backlog-dsm_sprint")
    wrong = await agreed(arena, scene)
    back = await arena.query("backlog", "SELECT * FROM went_back WHERE starts_with(task_id, %(id)s)", _id(scene))
    wrong += [f"{row['task_id']} went from version {row['was']} back to {row['became']}" for row in back]
    print(f"reordered: {updates} reports on {tasks} tasks, {count} messages within {window}, wrong {len(wrong)}")
    return wrong


async def titles_reordered(arena: Arena, rng: Random, updates: int, tasks: int, window: int = 50) -> list[str]:
    """What the backlog tells of its tasks reaches the sprint service in another order (I6)."""
    scene = await started(arena, tasks)
    await arena.stop("sprint")

    async def rename(number: int) -> None:
        task = Task(task_id=scene.task_ids[number % tasks], title=f"Title {number}", points=rng.randrange(1, 100))
        mask = FieldMask(paths=["title", "points"])
        request = backlog_pb.UpdateTaskRequest(task=task, update_mask=mask)
        await insist(partial(scene.backlog.UpdateTask, request))

    await many(rename, updates)
    count = await reorder(arena, rng, "backlog", "DSM_BACKLOG", window)
    await arena.start("sprint")
    await _flood_taken(arena, "DSM_BACKLOG", "sprint-dsm_backlog")

    async def difference() -> list[str]:
        sql = "SELECT task_id, title, points::float8 FROM task WHERE project_id = %(id)s ORDER BY task_id"
        theirs = await arena.query("backlog", sql, _id(scene))
        sql = "SELECT task_id, title, points::float8 FROM sprint_task WHERE project_id = %(id)s ORDER BY task_id"
        ours = await arena.query("sprint", sql, _id(scene))
        return [f"backlog {a} but sprint {b}" for a, b in zip(theirs, ours, strict=True) if a != b]

    wrong = await settled(difference)
    print(f"reordered: {updates} updates of {tasks} tasks, {count} messages within {window}, wrong {len(wrong)}")
    return wrong


async def reorder(arena: Arena, rng: Random, service: str, stream: str, window: int) -> int:
    """Put what is on a stream, once its service has told all, into another order; the number of messages."""
    await eventually(lambda: _drained(arena, service), 60)
    messages = await wire.read(arena.stack.nats.url, stream)
    await wire.delete(arena.stack.nats.url, stream)
    # Its service makes the stream again with what comes next; here nothing comes before this.
    async with wire.jetstream(arena.stack.nats.url) as js:
        await js.add_stream(name=stream, subjects=[stream_subjects(stream)], duplicate_window=1)
    await wire.publish(arena.stack.nats.url, wire.within(messages, window, [rng.random() for _ in messages]))
    return len(messages)


async def relay_stalled(arena: Arena, rng: Random, updates: int, seconds: float) -> list[str]:
    """One of two replicas of the backlog stalls, each time between reading its outbox and publishing that (I6).

    JetStream remembers ids for less than the stall here, as it does for less than the longest stall of a real machine.
    """
    scene = await make(arena, points=[1] * 10)
    await arena.stop("backlog")
    first = await arena.launch("backlog", failpoints=f"outbox.before-publish=sleep:{seconds}")
    await eventually(lambda: _publishes(first))
    second = await arena.launch("backlog", beside=True)
    stubs = [BacklogServiceStub(process.channel) for process in (first, second)]
    ends = asyncio.get_running_loop().time() + 3 * seconds

    async def rename(task_id: str) -> int:
        number = 0
        while number < updates / len(scene.task_ids) or asyncio.get_running_loop().time() < ends:
            number += 1
            task = Task(task_id=task_id, title=f"Title {number}")
            request = backlog_pb.UpdateTaskRequest(task=task, update_mask=FieldMask(paths=["title"]))
            await insist(partial(rng.choice(stubs).UpdateTask, request, timeout=30))
            await asyncio.sleep(0.01)
        return number

    made = sum(await asyncio.gather(*map(rename, scene.task_ids)))
    wrong = await _outbox_left(arena, "backlog")
    versions: dict[str, list[int]] = defaultdict(list)
    for message in await wire.read(arena.stack.nats.url, "DSM_BACKLOG"):
        # That the tasks were made may rightly be told again by the process that comes after the one that told it.
        if message.event.project_id == scene.project_id and message.event.aggregate_version > 1:
            versions[message.event.aggregate_id].append(message.event.aggregate_version)
    for task_id, told in versions.items():
        if told != sorted(set(told)):
            wrong.append(f"{task_id} was told in the order {told}")
    await second.kill()
    print(f"stalled relay: {made} updates of {len(versions)} tasks in {seconds} s, wrong {len(wrong)}")
    assert made >= updates
    return wrong


async def _publishes(process: Process) -> bool:
    stub = StatusServiceStub(process.channel)
    answer: Any = await stub.GetStatus(status_service_pb2.GetStatusRequest())
    return bool(answer.services[0].event_stream.publishing)


# --- a stream that is lost, or told again -------------------------------------------------------------


async def replayed(arena: Arena, rng: Random, events: int) -> list[str]:
    """Everything is told again: of a stream that was deleted, and of one that has forgotten what it knew (I4, I5)."""
    services = ("project", "backlog", "sprint", "chronicle", "orchestrator")
    await arena.start(*services)
    scene = await _told_story(arena, rng, events)
    before = await _prints(arena, services)
    streams = [f"DSM_{name.upper()}" for name in services]
    told = {stream: await _ids(arena, stream) for stream in streams}
    wrong = []
    for lost in (True, False):
        if lost:
            await wire.delete(arena.stack.nats.url, *streams)
        counts = [await _replay(arena, service) for service in services]
        for service, stream in zip(services, streams, strict=True):
            await eventually(partial(_drained, arena, service), 600)
            await eventually(partial(_all_taken, arena, stream), 600)
            ids = await _ids(arena, stream)
            if missing := told[stream].keys() - ids.keys():
                wrong.append(f"{stream} lacks {len(missing)} events after the replay")
        if not lost:
            again = [await _ids(arena, stream) for stream in streams]
            assert any(ids.most_common(1)[0][1] > 1 for ids in again if ids), (
                "JetStream let nothing through a second time: this has tested nothing"
            )
        after = await _prints(arena, services)
        wrong += [f"{table} changed by the replay" for table in before if before[table] != after[table]]
        print(f"replay, stream {'lost' if lost else 'kept'}: {sum(counts)} events of {scene}, wrong {len(wrong)}")
    return wrong


async def _told_story(arena: Arena, rng: Random, events: int) -> str:
    """A sprint from beginning to end; its project. Returns when everybody knows of everything."""
    scene = await started(arena, tasks=10)
    await wire.publish(arena.stack.nats.url, reports(rng, scene, events))
    await eventually(lambda: _taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    for task_id in scene.task_ids[:5]:
        await scene.report(task_id, 100)
    await scene.sprints.RunDailyScrum(
        sprint_pb.RunDailyScrumRequest(sprint_id=_sprint_id(scene), report_date=FRIDAY), timeout=20
    )
    raised = sprint_pb.RaiseImpedimentRequest(task_id=scene.task_ids[7], text="No test data")
    await scene.sprints.RaiseImpediment(raised, timeout=20)
    await scene.sprints.CloseSprint(sprint_pb.CloseSprintRequest(sprint_id=_sprint_id(scene)), timeout=20)
    for service in ("project", "backlog", "sprint", "chronicle", "orchestrator"):
        await eventually(partial(_drained, arena, service), 60)
        await eventually(partial(_all_taken, arena, f"DSM_{service.upper()}"), 60)
    return scene.project_id


async def _replay(arena: Arena, service: str) -> int:
    stub = AdminServiceStub(await arena.channel(service))
    request = admin_service_pb2.ReplayOutboxRequest(service=service)
    request.since_time.FromDatetime(datetime(2000, 1, 1, tzinfo=UTC))
    answer: Any = await stub.ReplayOutbox(request)
    return int(answer.event_count)


async def _ids(arena: Arena, stream: str) -> Counter[str]:
    messages = await wire.read(arena.stack.nats.url, stream)
    return Counter(message.msg_id for message in messages)


async def _all_taken(arena: Arena, stream: str) -> bool:
    async with wire.jetstream(arena.stack.nats.url) as js:
        try:
            consumers = await js.consumers_info(stream)
            state = (await js.stream_info(stream)).state
        except NotFoundError:
            return True
    expected = {"DSM_SPRINT": 3, "DSM_BACKLOG": 2, "DSM_PROJECT": 4, "DSM_ORCHESTRATOR": 1}.get(stream, 0)
    idle = all(not info.num_pending and not info.num_ack_pending for info in consumers)
    return not state.messages or (idle and len(consumers) >= expected)


async def _prints(arena: Arena, services: Sequence[str]) -> dict[str, object]:
    """What every table holds, but for what only says what was seen, published or answered."""
    found: dict[str, object] = {}
    for service in services:
        tables = await arena.query(service, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        for table in sorted({row["tablename"] for row in tables} - {"inbox", "request_record", "went_back"}):
            what = "event_id" if table == "outbox" else "t"
            sql = f"SELECT count(*), md5(string_agg({what}::text, ' ' ORDER BY {what}::text)) FROM {table} t"
            found[f"{service}.{table}"] = await arena.query(service, sql)
    return found


# --- poison -------------------------------------------------------------------------------------------

_TRAP = """
    CREATE OR REPLACE FUNCTION spring() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a bug that will be mended'; END $$;
    CREATE OR REPLACE TRIGGER trap BEFORE INSERT ON progress_entry FOR EACH ROW
        WHEN (NEW.work_note = 'trapped') EXECUTE FUNCTION spring();
"""


async def poisoned(arena: Arena, rng: Random, events: int, deliveries: int, late_seconds: float = 1.0) -> list[str]:
    """One in a hundred messages is poison: it becomes a dead letter and holds nobody up.

    Late is what takes so much longer than the slowest of as many messages without poison among them.
    """
    scene = await started(arena, tasks=20)
    before = await _versions(arena, scene)
    await arena.query("sprint", "DELETE FROM dead_letter")
    await arena.query("sprint", _TRAP)
    good = reports(rng, scene, events)
    calm, among = good[: events // 2], good[events // 2 :]
    usual = max(await _paced(arena, calm, calm))
    bad = [poison(rng, scene, number) for number in range(max(8, events // 100))]
    everything = [*among, *bad]
    rng.shuffle(everything)
    lateness = await _paced(arena, everything, among)
    # A machine that is as slow as that without poison says nothing about poison.
    void = usual > late_seconds / 2
    late = 0 if void else sum(seconds > usual + late_seconds for seconds in lateness)
    wrong = [f"{late} of {len(among)} are late, the latest {max(lateness):.1f} s, usual {usual:.1f} s"] * (late > 0)
    await eventually(lambda: _taken(arena, "DSM_SPRINT_IN", "sprint-dsm_sprint_in"), 60)
    letters = await arena.query("sprint", "SELECT payload, attempts, error FROM dead_letter")
    buried = Counter(bytes(row["payload"]) for row in letters)
    for message in bad:
        if buried[message.data] != 1:
            wrong.append(f"{message.data[:40]!r} has {buried[message.data]} dead letters")
    # What cannot be read is no better the next time.
    attempts = Counter(row["attempts"] for row in letters)
    if set(attempts) != {1, deliveries}:
        wrong.append(f"dead letters after {dict(attempts)} tries")
    await arena.query("sprint", "DROP TRIGGER trap ON progress_entry")
    stub = AdminServiceStub(await arena.channel("sprint"))
    answer: Any = await stub.ReplayDeadLetters(admin_service_pb2.ReplayDeadLettersRequest(service="sprint"))
    trapped = [message for message in bad if b"trapped" in message.data]
    if (answer.applied_count, answer.failed_count) != (len(trapped), len(bad) - len(trapped)):
        wrong.append(f"replayed {answer.applied_count}, failed {answer.failed_count}")
    print(f"poison: {len(bad)} in {len(everything)}, tries {dict(attempts)}, wrong {len(wrong)}")
    print(f"poison: latest {max(lateness):.2f} s, without poison {usual:.2f} s{', void' if void else ''}")
    return wrong + await _effects(arena, scene, before, good, alike=trapped)


def poison(rng: Random, scene: Fixture, number: int) -> Message:
    """A message that no consumer can take: unreadable in one of six ways, or into a trap that is opened later."""
    event = reports(rng, scene, 1)[0].event
    said = event.task_progressed
    match number % 8:
        case 0:
            return Message(PROGRESSED, rng.randbytes(50))
        case 1:
            event.ClearField("task_progressed")
        case 2:
            # A kind of event that a later version may bring: field 15,000 with two bytes in it.
            event.ClearField("task_progressed")
            return Message(PROGRESSED, event.SerializeToString() + b"\xc2\xa9\x07\x02hi", event.event_id)
        case 3:
            said.task_id = ""
        case 4:
            said.yesterday_work = "x" * 3_000_000
        case 5:
            event.event_id = "none"
        case 6:
            said.new_total_progress = 101
        case 7:
            said.yesterday_work = "trapped"
    return Message(PROGRESSED, event.SerializeToString(), str(uuid4()))


async def _paced(arena: Arena, messages: Sequence[Message], good: Sequence[Message]) -> list[float]:
    """Publish at an even rate; how many seconds after that each good one has had its effect."""
    published: dict[str, float] = {}
    seen: dict[str, float] = {}
    awaited = {message.msg_id for message in good}
    clock = asyncio.get_running_loop().time

    async def look() -> None:
        sql = "SELECT event_id::text FROM reported_progress"
        while awaited - seen.keys():
            for row in await arena.query("sprint", sql):
                seen.setdefault(row["event_id"], clock())
            await asyncio.sleep(0.05)

    looking = asyncio.create_task(look())
    async with wire.jetstream(arena.stack.nats.url) as js:
        began, pending = clock(), []
        for number, message in enumerate(messages):
            await asyncio.sleep(max(0.0, began + number / RATE - clock()))
            headers = {"Nats-Msg-Id": message.msg_id} if message.msg_id else None
            pending.append(await js.publish_async(message.subject, message.data, headers=headers))
            published[message.msg_id] = clock()
        await asyncio.gather(*pending)
    async with asyncio.timeout(60):
        await looking
    return [seen[msg_id] - published[msg_id] for msg_id in awaited]


# --- what they share ----------------------------------------------------------------------------------


async def many(call: Callable[[int], Awaitable[object]], times: int, at_once: int = 16) -> None:
    """Make a call many times, some at once, with their numbers."""
    numbers = iter(range(times))

    async def client() -> None:
        for number in numbers:
            await call(number)

    await asyncio.gather(*(client() for _ in range(at_once)))


async def insist(call: Callable[[], Awaitable[object]]) -> None:
    """Make a call again for as long as it is told to: others were quicker, or a service is only just back."""
    while True:
        try:
            await call()
        except grpc.aio.AioRpcError as error:
            if error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
                raise
            await asyncio.sleep(0.01)
        else:
            return


async def settled(difference: Callable[[], Awaitable[list[str]]], seconds: float = HEAL_SECONDS) -> list[str]:
    """What is still different when there was time for it not to be."""
    with suppress(AssertionError):
        await eventually(lambda: _nothing(difference), seconds)
    return await difference()


async def _nothing(difference: Callable[[], Awaitable[list[str]]]) -> bool:
    return not await difference()


def _sprint_id(scene: Fixture) -> str:
    return f"{scene.project_id}-S01"


def _id(scene: Fixture) -> dict[str, str]:
    return {"id": scene.project_id}
