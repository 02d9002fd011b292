"""Many at once, the same call again and again, and flows cut short, each with what must hold afterwards.

As in `deliveries`, each function gives what is violated, in sentences.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any
from uuid import UUID

import grpc
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1 import import_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.backlog.v1.task_pb2 import Task
from dsm.events.v1 import event_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.kit import status
from services.kit.call import CORRELATION_HEADER
from tests.contract.changes import with_another_body
from tests.contract.methods import METHODS, short
from tests.contract.samples import sample
from tests.contract.samples.scene import Scene
from tests.faults.arena import Arena
from tests.faults.deliveries.work import agreed, started
from tests.faults.healing import settled
from tests.harness import STATEFUL
from tests.service.sprint.sprints import MONDAY, make

# I8: how long a planning or closing may take to end, whatever befell it.
FLOW_SECONDS = 60.0
_BY_NAME = {short(method).replace("Service.", "."): method for method in METHODS}


# --- the same request_id --------------------------------------------------------------------------


@dataclass
class Asked:
    """A call that was made, and what it was told."""

    method: MethodDescriptor
    request: Any
    answer: bytes


async def asked_at_once(arena: Arena, rng: Random, names: Sequence[str], clients: int) -> tuple[list[str], list[Asked]]:
    """Each call is made by many clients at once under one request_id: one effect, one answer."""
    scene = Scene(arena)
    scene.project_id, scene.employee_id = await scene.new_team()
    scene.task_ids = await scene.new_tasks()
    scene.story_id = await scene.new_story()
    wrong, asked = [], []
    for name in names:
        method = _BY_NAME[name]
        [request] = await sample(scene, method)
        request.request_id = str(UUID(int=rng.getrandbits(128), version=4))  # type: ignore[attr-defined]
        marks = {service: await _last_position(arena, service) for service in _running(arena)}
        callers = [f"{name}-{number}" for number in range(clients)]
        told = await asyncio.gather(*(_ask(arena, method, request, caller) for caller in callers))
        answers = Counter(body if code == "OK" else f"{code} {body!r}".encode() for code, body in told)
        if len(answers) != 1 or told[0][0] != "OK":
            wrong.append(f"{name} was answered in {len(answers)} ways: {list(answers)[:3]}")
        effects = [event for service, mark in marks.items() for event in await _events(arena, service, mark)]
        winners = {event.correlation_id for event in effects} & set(callers)
        if len(winners) > 1:
            wrong.append(f"{name} had its effect {len(winners)} times")
        asked.append(Asked(method, request, told[0][1]))
    print(f"request ids: {len(names)} kinds of calls by {clients} clients at once, wrong {len(wrong)}")
    return wrong, asked


async def asked_again(arena: Arena, asked: Sequence[Asked]) -> list[str]:
    """After kill -9 of everything the same calls get the same answers; another body under their ids is refused."""
    names = _running(arena)
    await arena.stop(*names)
    await arena.start(*names)
    wrong = []
    for call in asked:
        code, body = await _ask(arena, call.method, call.request, "again")
        if (code, body) != ("OK", call.answer):
            wrong.append(f"{short(call.method)} was answered otherwise after the restart: {code} {body!r}")
        code, body = await _ask(arena, call.method, with_another_body(call.request), "other")
        if (code, body) != ("INVALID_ARGUMENT", b"REQUEST_ID_REUSED"):
            wrong.append(f"{short(call.method)} took another body under the same id: {code} {body!r}")
    print(f"request ids: {len(asked)} asked again after the restart, and with another body, wrong {len(wrong)}")
    return wrong


async def _ask(arena: Arena, method: MethodDescriptor, request: Message, caller: str) -> tuple[str, bytes]:
    """Code and answer, or code and reason."""
    channel = await arena.channel(method.containing_service.file.package.split(".")[1])
    send: Any = channel.unary_unary(
        f"/{method.containing_service.full_name}/{method.name}", request_serializer=lambda it: it.SerializeToString()
    )
    try:
        return "OK", bytes(await send(request, timeout=60, metadata=[(CORRELATION_HEADER, caller)]))
    except grpc.aio.AioRpcError as error:
        info = status.error_info(error)
        return error.code().name, info.reason.encode() if info else b""


def _running(arena: Arena) -> list[str]:
    return [name for name in STATEFUL if arena.runs(name)]


async def _last_position(arena: Arena, service: str) -> int:
    [row] = await arena.query(service, "SELECT coalesce(max(position), 0) AS position FROM outbox")
    return int(row["position"])


async def _events(arena: Arena, service: str, after: int) -> list[event_pb2.Event]:
    sql = "SELECT payload FROM outbox WHERE position > %(after)s"
    return [event_pb2.Event.FromString(row["payload"]) for row in await arena.query(service, sql, {"after": after})]


# --- the same import ------------------------------------------------------------------------------


async def imported_again(arena: Arena, clients: int, rows: int) -> list[str]:
    """One file is imported by many at once, then once more by a client who is never told: each row is one task."""
    scene = await make(arena, points=[])
    lines = [f"Task {number},KEY-{number}" for number in range(rows)]
    data = "\n".join(["Summary,Issue key", *lines]).encode()
    options = import_pb2.ImportOptions(project_id=scene.project_id, format=import_pb2.IMPORT_FORMAT_JIRA_CSV)

    async def send() -> str:
        stub: Any = BacklogServiceStub(await arena.channel("backlog"))
        pieces = [backlog_pb.ImportTasksRequest(options=options), backlog_pb.ImportTasksRequest(data=data)]
        try:
            await stub.ImportTasks(iter(pieces), timeout=60)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def twice() -> list[str]:
        sql = "SELECT origin_key, count(*) AS n FROM task WHERE project_id = %(id)s GROUP BY origin_key"
        stored = await arena.query("backlog", sql, {"id": scene.project_id})
        found = Counter({row["origin_key"]: row["n"] for row in stored})
        return [f"KEY-{n} is there {found[f'KEY-{n}']} times" for n in range(rows) if found[f"KEY-{n}"] != 1]

    told = Counter(await asyncio.gather(*(send() for _ in range(clients))))
    wrong = await twice()
    if told["OK"] == 0:
        wrong.append(f"no import was OK: {dict(told)}")
    await arena.stop("backlog")
    dying = await arena.launch("backlog", failpoints="gate.before-answer=kill")
    untold = await send()
    await dying.died()
    await arena.start("backlog")
    again = await send()
    wrong += await twice()
    if (untold, again) != ("UNAVAILABLE", "OK"):
        wrong.append(f"the import that was cut short was told {untold}, the one after it {again}")
    print(f"imports: {clients} at once told {dict(told)}, {rows} rows, wrong {len(wrong)}")
    return wrong


# --- one task, one sprint -------------------------------------------------------------------------


async def one_task(arena: Arena, clients: int) -> list[str]:
    """Clients count one task's points up, each reading, adding 1 and writing over the etag that it read."""
    scene = await make(arena, points=[1])
    [task_id] = scene.task_ids
    stub = BacklogServiceStub(await arena.channel("backlog"))
    refusals: Counter[str] = Counter()

    async def count_up() -> None:
        while True:
            task = (await stub.GetTask(backlog_pb.GetTaskRequest(task_id=task_id))).task
            changed = Task(task_id=task_id, points=task.points + 1, etag=task.etag)
            request = backlog_pb.UpdateTaskRequest(task=changed, update_mask=FieldMask(paths=["points"]))
            try:
                await stub.UpdateTask(request)
            except grpc.aio.AioRpcError as error:
                refusals[error.code().name] += 1
                if error.code() is not grpc.StatusCode.ABORTED:
                    raise
            else:
                return

    await asyncio.gather(*(count_up() for _ in range(clients)))
    task = (await stub.GetTask(backlog_pb.GetTaskRequest(task_id=task_id))).task
    wrong = [f"{clients} additions came to {task.points - 1:g}"] if task.points != clients + 1 else []
    sql = "SELECT aggregate_version FROM outbox WHERE aggregate_id = %(id)s ORDER BY position"
    versions = [row["aggregate_version"] for row in await arena.query("backlog", sql, {"id": task_id})]
    if versions != list(range(1, clients + 2)):
        wrong.append(f"the versions told are {versions}")
    print(f"one task: {clients} clients, refused and repeated {dict(refusals)}, wrong {len(wrong)}")
    return wrong


async def one_sprint(arena: Arena, rng: Random, clients: int, rounds: int) -> list[str]:
    """Clients report, move, block and reassign the tasks of one sprint, until some of them close it (I1, I3, I8)."""
    scene = await started(arena, tasks=20, people=3)
    sprint_id = f"{scene.project_id}-S01"
    more = [Task(title=f"More {number}", points=1) for number in range(10)]
    request = backlog_pb.BatchCreateTasksRequest(project_id=scene.project_id, tasks=more)
    outside = [task.task_id for task in (await scene.backlog.BatchCreateTasks(request)).tasks]
    told: Counter[tuple[str, str]] = Counter()
    reported: Counter[str] = Counter()
    stub: Any = SprintServiceStub(await arena.channel("sprint"))
    closing = sprint_pb.CloseSprintRequest(sprint_id=sprint_id)

    async def ask(name: str, request: Message) -> str:
        try:
            await getattr(stub, name)(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            told[name, error.code().name] += 1
            return error.code().name
        told[name, "OK"] += 1
        return "OK"

    async def client(number: int) -> None:
        for _ in range(rounds):
            task_id = rng.choice(scene.task_ids + outside)
            name, request = _wish_for(rng, sprint_id, task_id, scene.people)
            if await ask(name, request) == "OK":
                reported[task_id] += name == "UpdateTaskProgress"
        # Told to try again while a task is on its way in or out.
        while number % 20 == 0 and await ask("CloseSprint", closing) == "ABORTED":
            pass

    await asyncio.gather(*map(client, range(clients)))
    wrong = [f"{name} was answered {code} {n} times" for (name, code), n in told.items() if code in _NEVER]
    if told["CloseSprint", "OK"] != 1:
        wrong.append(f"the sprint was closed {told['CloseSprint', 'OK']} times")
    sql = "SELECT task_id, count(*) AS n FROM progress_entry WHERE sprint_id = %(id)s GROUP BY task_id"
    entries = Counter({row["task_id"]: row["n"] for row in await arena.query("sprint", sql, {"id": sprint_id})})
    wrong += [f"{t}: {n} reports OK, {entries[t]} kept" for t, n in reported.items() if entries[t] != n]
    wrong += await _going_up(arena, scene.project_id)
    wrong += await settled(partial(_held_by_closed, arena, scene.project_id))
    wrong += await settled(partial(_unlike, arena, scene.project_id))
    print(f"one sprint: {clients} clients, told {dict(told)}, wrong {len(wrong)}")
    return wrong


_NEVER = {"INTERNAL", "UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED"}


def _wish_for(rng: Random, sprint_id: str, task_id: str, people: Sequence[str]) -> tuple[str, Message]:
    """Something to ask of a task of a sprint."""
    match rng.randrange(10):
        case 0:
            return "AddTaskToSprint", sprint_pb.AddTaskToSprintRequest(sprint_id=sprint_id, task_id=task_id)
        case 1:
            return "RemoveTaskFromSprint", sprint_pb.RemoveTaskFromSprintRequest(sprint_id=sprint_id, task_id=task_id)
        case 2:
            request = sprint_pb.ReassignTaskRequest(
                sprint_id=sprint_id, task_id=task_id, assignee_id=rng.choice(people)
            )
            return "ReassignTask", request
        case 3:
            return "RaiseImpediment", sprint_pb.RaiseImpedimentRequest(task_id=task_id, text="No access")
    percent = rng.randrange(1, 100)
    return "UpdateTaskProgress", sprint_pb.UpdateTaskProgressRequest(task_id=task_id, progress_percent=percent)


async def _going_up(arena: Arena, project_id: str) -> list[str]:
    """Tasks whose versions, as the sprint service told them, do not go up."""
    sql = """
        SELECT aggregate_id, aggregate_version FROM outbox
        WHERE project_id = %(id)s AND subject = 'dsm.sprint.v1.task.updated' ORDER BY position
    """
    versions: dict[str, list[int]] = defaultdict(list)
    for row in await arena.query("sprint", sql, {"id": project_id}):
        versions[row["aggregate_id"]].append(row["aggregate_version"])
    return [f"{task} was told in the order {told}" for task, told in versions.items() if told != sorted(set(told))]


async def _held_by_closed(arena: Arena, project_id: str) -> list[str]:
    """Tasks that the backlog still has in a sprint which is closed."""
    closed = "SELECT sprint_id FROM sprint WHERE project_id = %(id)s AND close_date IS NOT NULL"
    over = {row["sprint_id"] for row in await arena.query("sprint", closed, {"id": project_id})}
    held = "SELECT task_id, sprint_id FROM task WHERE project_id = %(id)s AND sprint_id <> ''"
    rows = await arena.query("backlog", held, {"id": project_id})
    return [f"{row['task_id']} is still in {row['sprint_id']}" for row in rows if row["sprint_id"] in over]


async def _unlike(arena: Arena, project_id: str) -> list[str]:
    """Tasks of which the backlog knows a newer version than the sprint service has, or an older one."""
    sql = "SELECT task_id, max(version) AS version FROM sprint_task WHERE project_id = %(id)s GROUP BY task_id"
    ours = {row["task_id"]: row["version"] for row in await arena.query("sprint", sql, {"id": project_id})}
    sql = "SELECT task_id, sprint_version AS version FROM task WHERE project_id = %(id)s"
    theirs = {row["task_id"]: row["version"] for row in await arena.query("backlog", sql, {"id": project_id})}
    return [f"{task}: sprint {ours[task]}, backlog {theirs[task]}" for task in ours if ours[task] != theirs[task]]


# --- flows ----------------------------------------------------------------------------------------


async def planned_at_once(arena: Arena, clients: int) -> list[str]:
    """The same project is planned by many at once, at two replicas of the sprint service (I3).

    One of the replicas is told of the project so late that the other one has planned meanwhile.
    """
    scene = await make(arena, points=[1] * 3 * clients)
    slow = await arena.launch("project", beside=True, failpoints="gate.before-answer=sleep:3")
    replica = await arena.launch("sprint", beside=True, DSM_PROJECT_ADDRESS=slow.address)
    channels = [await arena.channel("sprint"), replica.channel]
    stubs: list[Any] = [SprintServiceStub(channel) for channel in channels]
    told: Counter[str] = Counter()

    async def plan(number: int) -> None:
        await asyncio.sleep(0.5 * (number % 2 == 0))
        request = sprint_pb.StartSprintRequest(project_id=scene.project_id, start_date=MONDAY, max_tasks=2)
        try:
            await stubs[number % 2].StartSprint(request, timeout=60)
        except grpc.aio.AioRpcError as error:
            info = status.error_info(error)
            told[info.reason if info else error.code().name] += 1
        else:
            told["OK"] += 1

    await asyncio.gather(*map(plan, range(clients)))
    await asyncio.gather(replica.kill(), slow.kill())
    sql = "SELECT sprint_id FROM sprint WHERE project_id = %(id)s AND state IN ('PLANNING', 'IN_PROGRESS', 'CLOSING')"
    found = [row["sprint_id"] for row in await arena.query("sprint", sql, {"id": scene.project_id})]
    wrong = [f"the sprints {found} are open at once"] if len(found) != 1 else []
    if told["OK"] != 1:
        wrong.append(f"{told['OK']} plannings were OK")
    sql = "SELECT DISTINCT sprint_id FROM task WHERE project_id = %(id)s AND sprint_id <> ''"
    holding = [row["sprint_id"] for row in await arena.query("backlog", sql, {"id": scene.project_id})]
    if len(holding) != 1:
        wrong.append(f"the sprints {holding} hold tasks")
    print(f"planned at once: {clients} clients, told {dict(told)}, wrong {len(wrong)}")
    return wrong


async def planning_cut_short(arena: Arena, point: str, seconds: float = FLOW_SECONDS) -> list[str]:
    """The sprint service dies at a failpoint of a planning: when it is back, the sprint is whole or absent (I3, I8)."""
    scene = await make(arena, points=[1] * 10)
    await arena.stop("sprint")
    process = await arena.launch("sprint", failpoints=f"{point}=kill")
    stub: Any = SprintServiceStub(process.channel)
    request = sprint_pb.StartSprintRequest(project_id=scene.project_id, start_date=MONDAY, max_tasks=5)
    try:
        await stub.StartSprint(request, timeout=20)
        told = "OK"
    except grpc.aio.AioRpcError as error:
        told = error.code().name
    await process.died()
    await arena.launch("sprint")
    began = asyncio.get_running_loop().time()

    async def left() -> list[str]:
        sql = "SELECT kind, key, status, step FROM saga WHERE status IN ('RUNNING', 'UNDOING')"
        sagas = [row for row in await arena.query("sprint", sql) if row["key"].startswith(scene.project_id)]
        sql = "SELECT state FROM sprint WHERE project_id = %(id)s"
        states = [row["state"] for row in await arena.query("sprint", sql, {"id": scene.project_id})]
        held = "SELECT count(*) AS n FROM task WHERE project_id = %(id)s AND sprint_id <> ''"
        [row] = await arena.query("backlog", held, {"id": scene.project_id})
        whole = (states, row["n"]) == (["IN_PROGRESS"], 5)
        none = states in ([], ["ABANDONED"]) and row["n"] == 0
        wrong = [f"under way: {dict(saga)}" for saga in sagas]
        return wrong + ([] if whole or none else [f"sprints {states}, tasks held {row['n']}"])

    wrong = await settled(left, seconds) or await agreed(arena, scene)
    took = asyncio.get_running_loop().time() - began
    if told == "OK" and not wrong:
        sprints = await arena.query(
            "sprint", "SELECT 1 FROM sprint WHERE project_id = %(id)s", {"id": scene.project_id}
        )
        wrong = [] if sprints else ["the planning was OK and is gone"]
    print(f"planning killed at {point}: told {told}, settled in {took:.1f} s, wrong {len(wrong)}")
    return wrong
