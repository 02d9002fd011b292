"""The kit against real PostgreSQL, NATS and gRPC, with a small service of the test's own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID, uuid4

import grpc
import psycopg
import pytest
import pytest_asyncio
from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from dsm.events.v1 import event_pb2, project_events_pb2
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1 import project_service_pb2_grpc
from dsm.project.v1.project_pb2 import Project
from nats.js.errors import NotFoundError
from psycopg.rows import scalar_row

from services.kit import call, tables
from services.kit.call import Call, RequestKey
from services.kit.callee import Callee
from services.kit.connections import too_many
from services.kit.database import AlreadyAnswered, Database, WriteHandle
from services.kit.errors import Aborted, AlreadyExists, DatabaseUnavailable, DependencyUnavailable, NotFound, Overloaded
from services.kit.inbox import Consumer, Subscription
from services.kit.outbox import Relay
from services.kit.saga import Definition, Local, Remote, Saga, Sagas, State
from services.kit.server import Server, ServerError
from services.kit.service import Service, StatefulService
from services.kit.settings import ProcessSettings, ServiceSettings, StatefulSettings
from services.kit.stream import Stream
from services.local.process import choose_port
from services.local.stack import Stack
from tests.harness import eventually, refused

_SCHEMA = (
    tables.CONSUMING
    + tables.SAGA
    + "CREATE TABLE thing (id text CONSTRAINT thing_pkey PRIMARY KEY, version bigint NOT NULL DEFAULT 1);"
)
_INSERT = "INSERT INTO thing (id) VALUES (%(id)s)"


class Gone(NotFound):
    """A test's own error."""

    reason = "PROJECT_NOT_FOUND"


class Taken(AlreadyExists):
    """A test's own error."""

    reason = "PROJECT_ALREADY_EXISTS"


class Handlers(project_service_pb2_grpc.ProjectServiceServicer):
    """Two calls: one reads, one writes and emits."""

    def __init__(self, database: Database) -> None:
        self.db = database
        self.runs = 0

    async def GetProject(self, request: pb.GetProjectRequest, context: Any) -> pb.GetProjectResponse:
        match request.project_id:
            case "SLOW":
                await asyncio.sleep(30)
            case "BROKEN":
                raise RuntimeError("secret detail of the driver")
        if not await self.db.read.value("SELECT id FROM thing WHERE id = %(id)s", {"id": request.project_id}):
            raise Gone(f"Project {request.project_id} does not exist.", project_id=request.project_id)
        response = pb.GetProjectResponse()
        response.project.project_id = request.project_id
        return response

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Any) -> pb.CreateProjectResponse:
        self.runs += 1
        project_id = request.project.project_id
        async with self.db.write() as tx:
            try:
                await tx.execute(_INSERT, {"id": project_id})
            except psycopg.errors.UniqueViolation:
                raise Taken(f"Project {project_id} exists.", project_id=project_id) from None
            tx.emit(_payload(project_id), aggregate=("project", project_id), version=1, project_id=project_id)
            response = pb.CreateProjectResponse()
            response.project.project_id = project_id
            response.project.etag = str(uuid4())
            return tx.reply(response)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Any) -> pb.UpdateProjectResponse:
        project_id = request.project.project_id
        response = pb.UpdateProjectResponse()
        response.project.etag = str(uuid4())
        event = self.db.event(_payload(project_id), aggregate=("project", project_id), version=2)
        await self.db.change(
            "UPDATE thing SET version = version + 1 WHERE id = %(id)s RETURNING version",
            {"id": project_id},
            row=scalar_row,
            events=[event],
            reply=response,
        )
        return response


def _payload(project_id: str) -> project_events_pb2.ProjectCreated:
    payload = project_events_pb2.ProjectCreated()
    payload.project.project_id = project_id
    return payload


def _create(project_id: str, name: str = "Name", request_id: str = "") -> pb.CreateProjectRequest:
    return pb.CreateProjectRequest(project=Project(project_id=project_id, name=name), request_id=request_id)


async def _make_database(stack: Stack, name: str) -> Database:
    stack.postgres.ensure_database(name)
    url = stack.postgres.url(name)
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute(_SCHEMA)
    database = Database("project", url, pool_size=8, pool_timeout=2)
    await database.open()
    return database


@pytest_asyncio.fixture(scope="module")
async def database(stack: Stack) -> AsyncIterator[Database]:
    made = await _make_database(stack, "kit_test")
    yield made
    await made.close()


@pytest_asyncio.fixture(scope="module")
async def stream(stack: Stack) -> AsyncIterator[Stream]:
    made = Stream("kit-test", stack.nats.url)
    made.start()
    await made.wait_connected()
    yield made
    await made.close()


class _Running:
    """The test's service on a socket."""

    def __init__(self, server: Server, handlers: Handlers) -> None:
        self.server = server
        self.handlers = handlers
        self.address = f"127.0.0.1:{server.port}"
        self.channel = grpc.aio.insecure_channel(self.address)
        self.stub = project_service_pb2_grpc.ProjectServiceStub(self.channel)


async def _serve(database: Database, **settings: Any) -> _Running:
    service = Service("project", ServiceSettings(default_deadline_seconds=1))
    handlers = Handlers(database)  # type: ignore[abstract]
    descriptor = pb.DESCRIPTOR.services_by_name["ProjectService"]
    service.serve(descriptor, project_service_pb2_grpc.add_ProjectServiceServicer_to_server, handlers)
    type(service).database = property(lambda _: database)  # type: ignore[method-assign,assignment]
    server = Server([service], ProcessSettings(port=0, metrics_port=-1, grace_seconds=2, **settings))
    server.bind()
    await server.start()
    return _Running(server, handlers)


@pytest_asyncio.fixture(scope="module")
async def running(database: Database) -> AsyncIterator[_Running]:
    made = await _serve(database)
    yield made
    await made.channel.close()
    await made.server.stop()


# --- gate ---------------------------------------------------------------------------------------


async def test_every_failure_carries_one_declared_reason(running: _Running) -> None:
    stub = running.stub
    missing = await refused(stub.GetProject(pb.GetProjectRequest(project_id="NOPE")))
    assert (missing.code, missing.reason, missing.metadata) == (
        "NOT_FOUND",
        "PROJECT_NOT_FOUND",
        {"project_id": "NOPE"},
    )
    bad = await refused(stub.GetProject(pb.GetProjectRequest(project_id="no good")))
    assert (bad.code, bad.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")
    assert bad.metadata["field"] == "project_id"
    assert bad.metadata["value"] == "no good"
    nameless = await refused(stub.CreateProject(_create("A", name="")))
    assert nameless.metadata["field"] == "project.name"
    unbuilt = await refused(stub.ListProjects(pb.ListProjectsRequest()))
    assert (unbuilt.code, unbuilt.reason) == ("UNIMPLEMENTED", "NOT_IMPLEMENTED")


async def test_an_unforeseen_failure_tells_nothing_of_its_inside(running: _Running) -> None:
    failed = await refused(running.stub.GetProject(pb.GetProjectRequest(project_id="BROKEN")))
    assert (failed.code, failed.reason) == ("INTERNAL", "INTERNAL")
    assert "secret" not in failed.message + str(failed.metadata)


async def test_a_call_without_a_deadline_gets_the_default_one(running: _Running) -> None:
    failed = await refused(running.stub.GetProject(pb.GetProjectRequest(project_id="SLOW")))
    assert (failed.code, failed.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")


async def test_an_overfull_server_turns_calls_away(database: Database) -> None:
    running = await _serve(database, max_concurrent_calls=1)
    slow = asyncio.ensure_future(running.stub.GetProject(pb.GetProjectRequest(project_id="SLOW")))
    await eventually(lambda: running.server._gate._calls.at_work == 1)
    failed = await refused(running.stub.GetProject(pb.GetProjectRequest(project_id="A")))
    assert (failed.code, failed.reason) == ("RESOURCE_EXHAUSTED", "OVERLOADED")
    await refused(slow)
    await running.channel.close()
    await running.server.stop()


async def test_a_full_queue_for_the_database_is_overload_not_absence(database: Database) -> None:
    small = Database("project", database.url, pool_size=1)
    await small.open()
    many = [small.read.value("SELECT 1 FROM pg_sleep(0.05)") for _ in range(40)]
    results = await asyncio.gather(*many, return_exceptions=True)
    refused_calls = [result for result in results if isinstance(result, Overloaded)]
    assert refused_calls
    assert all(result == 1 for result in results if not isinstance(result, Overloaded))
    assert refused_calls[0].retry_after
    await small.close()


async def test_a_database_that_is_away_is_not_overload() -> None:
    """Callers that gave up stay in the pool's queue; they are not counted as waiting."""
    gone = Database("project", f"postgresql://postgres@127.0.0.1:{choose_port(0, 0)}/none", pool_timeout=0.2)
    await gone.open()
    with pytest.raises(DatabaseUnavailable):
        await gone.read.value("SELECT 1")
    for _ in range(3):
        results = await asyncio.gather(*(gone.read.value("SELECT 1") for _ in range(400)), return_exceptions=True)
        assert {type(result) for result in results} == {DatabaseUnavailable}
    await gone.close()


# --- request ids --------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["CreateProject", "UpdateProject"])
async def test_a_request_id_has_one_effect_and_one_answer(running: _Running, database: Database, method: str) -> None:
    project_id = f"RID-{method.upper()}"
    if method == "UpdateProject":
        await running.stub.CreateProject(_create(project_id))
    request_id = str(uuid4())

    def request() -> Any:
        if method == "CreateProject":
            return _create(project_id, request_id=request_id)
        update: dict[str, Any] = {"project": {"project_id": project_id}, "update_mask": {"paths": ["name"]}}
        return pb.UpdateProjectRequest(**update, request_id=request_id)

    answers = await asyncio.gather(*(getattr(running.stub, method)(request()) for _ in range(50)))
    assert len({answer.project.etag for answer in answers}) == 1
    count = "SELECT count(*) FROM outbox WHERE aggregate_id = %(id)s"
    assert await database.read.value(count, {"id": project_id}) == (1 if method == "CreateProject" else 2)
    other = request()
    other.project.name = "Another"
    failed = await refused(getattr(running.stub, method)(other))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_refused_call_is_not_remembered(running: _Running) -> None:
    await running.stub.CreateProject(_create("TWICE"))
    request_id = str(uuid4())
    for _ in range(2):
        failed = await refused(running.stub.CreateProject(_create("TWICE", request_id=request_id)))
        assert failed.reason == "PROJECT_ALREADY_EXISTS"


# --- database -----------------------------------------------------------------------------------


async def test_state_and_events_are_there_together_or_not_at_all(database: Database) -> None:
    async def write_half() -> None:
        async with database.write() as tx:
            await tx.execute(_INSERT, {"id": "HALF"})
            tx.emit(_payload("HALF"), aggregate=("project", "HALF"), version=1)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await write_half()
    assert await database.read.value("SELECT count(*) FROM thing WHERE id = 'HALF'") == 0
    assert await database.read.value("SELECT count(*) FROM outbox WHERE aggregate_id = 'HALF'") == 0


async def test_a_change_that_changes_nothing_emits_nothing(database: Database) -> None:
    event = database.event(_payload("NONE"), aggregate=("project", "NONE"), version=2)
    sql = "UPDATE thing SET version = 2 WHERE id = 'NONE' RETURNING version"
    assert await database.change(sql, {}, row=scalar_row, events=[event]) == []
    assert await database.read.value("SELECT count(*) FROM outbox WHERE aggregate_id = 'NONE'") == 0


async def test_a_cancelled_write_leaves_no_transaction_behind(database: Database) -> None:
    async def write() -> None:
        async with database.write() as tx:
            await tx.execute(_INSERT, {"id": "CANCELLED"})
            await tx.execute("SELECT pg_sleep(30)")

    tasks = [asyncio.create_task(write()) for _ in range(3)]
    await asyncio.sleep(0.2)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await database.read.value("SELECT count(*) FROM thing WHERE id = 'CANCELLED'") == 0
    idle = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'kit_test' AND state LIKE 'idle in%'"
    assert await database.read.value(idle) == 0


async def test_a_write_cancelled_twice_gives_back_a_sound_connection(database: Database) -> None:
    """A call's own deadline cancels it, and then gRPC does, while the rollback of the first is on its way."""

    async def write(entered: asyncio.Event) -> None:
        async with database.write(keyed=False) as tx:
            await tx.value("SELECT 1")
            entered.set()
            await asyncio.sleep(30)

    before = database.pool.get_stats().get("returns_bad", 0)
    for steps in range(1, 9):
        entered = asyncio.Event()
        task = asyncio.create_task(write(entered))
        await entered.wait()
        task.cancel()
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()
    # The pool closes what comes back in the middle of something, under the hands of whoever is at it.
    assert database.pool.get_stats().get("returns_bad", 0) == before


async def test_a_restarted_database_costs_reads_nothing(stack: Stack) -> None:
    stack.postgres.ensure_database("kit_restart")
    database = Database("project", stack.postgres.url("kit_restart"), pool_size=4)
    await database.open()
    await asyncio.gather(*(database.read.value("SELECT pg_sleep(0.05)") for _ in range(4)))
    kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'kit_restart'"
    async with await psycopg.AsyncConnection.connect(stack.postgres.url("postgres"), autocommit=True) as other:
        await other.execute(kill)
    assert await database.read.value("SELECT 1") == 1
    async with database.write(keyed=False) as tx:
        assert await tx.value("SELECT 2") == 2
    await database.close()


async def test_pools_that_do_not_fit_stop_the_start(stack: Stack) -> None:
    def service(name: str, url: str) -> StatefulService:
        settings = StatefulSettings(database_url=url, nats_url=stack.nats.url, pool_size=70)
        return StatefulService(name, settings)

    url = stack.postgres.url("postgres")
    one, other = service("project", url), service("backlog", url)
    assert await too_many([one.database]) is None
    nobody = service("sprint", f"postgresql://127.0.0.1:{choose_port(0, 0)}/dsm_sprint")
    assert await too_many([nobody.database, nobody.database]) is None, "one that does not answer stops no start"
    server = Server([one, other], ProcessSettings(port=0, metrics_port=-1))
    with pytest.raises(ServerError):
        await server.start()


# --- outbox and inbox ---------------------------------------------------------------------------


class _Recorder:
    """Applies events by writing their ids down, or fails as told."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.poison: set[str] = set()
        self.tries = 0

    async def __call__(self, tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
        self.tries += 1
        for event in events:
            if event.aggregate_id in self.poison:
                raise ValueError("poison")
            await tx.execute(
                "INSERT INTO thing (id) VALUES (%(id)s) ON CONFLICT (id) DO UPDATE SET version = thing.version + 1",
                {"id": f"seen-{event.event_id}"},
            )
        self.seen += [event.aggregate_id for event in events]


@pytest_asyncio.fixture(scope="module")
async def flow(database: Database, stream: Stream) -> AsyncIterator[tuple[Relay, Consumer, _Recorder]]:
    relay, recorder = Relay(database, stream), _Recorder()
    subscription = Subscription("DSM_PROJECT", ("dsm.project.v1.project.>",), recorder)
    consumer = Consumer(database, stream, subscription, max_deliveries=2)
    tasks = [asyncio.create_task(relay.run()), asyncio.create_task(consumer.run())]
    yield relay, consumer, recorder
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _emit(database: Database, *ids: str) -> None:
    async with database.write(keyed=False) as tx:
        for aggregate_id in ids:
            tx.emit(_payload(aggregate_id), aggregate=("project", aggregate_id), version=1)


async def test_events_arrive_once_and_in_order(database: Database, flow: tuple[Relay, Consumer, _Recorder]) -> None:
    relay, _, recorder = flow
    ids = [f"ORDER-{number}" for number in range(300)]
    await _emit(database, *ids)
    await eventually(lambda: [i for i in recorder.seen if i.startswith("ORDER-")] == ids)
    assert (await relay.depth())[0] == 0


async def test_a_lost_stream_is_rebuilt_without_a_second_effect(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    relay, consumer, recorder = flow
    await _emit(database, "REPLAY")
    await eventually(lambda: "REPLAY" in recorder.seen)
    await eventually(lambda: _drained(relay))
    since = await database.read.value("SELECT min(create_time) FROM outbox")
    # With the stream goes JetStream's own memory of ids, which would hide what the inbox is for.
    await stream.context.delete_stream("DSM_PROJECT")
    async with database.write(keyed=False) as tx:
        replayed = await relay.replay(tx, since)
    relay.wake()
    await eventually(lambda: _drained(relay))
    await eventually(lambda: _settled(consumer))
    assert (await stream.context.stream_info("DSM_PROJECT")).state.messages >= replayed > 0
    assert recorder.seen.count("REPLAY") == 1
    assert await database.read.value("SELECT max(version) FROM thing WHERE id LIKE 'seen-%%'") == 1


async def test_a_lost_stream_is_filled_again_by_itself(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    relay, consumer, recorder = flow
    await _emit(database, "FILLED")
    await eventually(lambda: "FILLED" in recorder.seen)
    await eventually(lambda: _drained(relay))
    committed = await database.read.value("SELECT count(*) FROM outbox WHERE subject LIKE 'dsm.project.%%'")
    await stream.context.delete_stream("DSM_PROJECT")

    async def filled() -> bool:
        try:
            return bool((await stream.context.stream_info("DSM_PROJECT")).state.messages >= committed)
        except NotFoundError:
            return False

    await eventually(filled)
    await eventually(lambda: _settled(consumer))
    assert recorder.seen.count("FILLED") == 1


async def test_a_slow_batch_is_not_delivered_again_while_it_is_applied(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.kit.inbox.ACK_WAIT", 0.6)
    applied: list[int] = []

    async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
        # Far longer than a message stays with one who says nothing.
        await asyncio.sleep(2)
        applied.append(len(events))

    await _emit(database, "SLOW")
    slow = Consumer(database, stream, Subscription("DSM_PROJECT", ("dsm.project.v1.project.>",), apply), batch=1000)
    slow.name = "project-slow"
    task = asyncio.create_task(slow.run())
    await eventually(lambda: bool(applied))
    await eventually(lambda: _settled(slow))
    info = await stream.context.consumer_info("DSM_PROJECT", slow.name)
    task.cancel()
    await stream.context.delete_consumer("DSM_PROJECT", slow.name)
    # As many as there are messages: none came twice.
    assert info.delivered is not None
    assert info.ack_floor is not None
    assert info.delivered.consumer_seq == sum(applied)


async def _drained(relay: Relay) -> bool:
    return (await relay.depth())[0] == 0


async def test_the_same_message_many_times_has_one_effect(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    event = database.event(_payload("MANY"), aggregate=("project", "MANY"), version=1)
    for _ in range(10):
        await stream.context.publish("dsm.project.v1.project.created", event.SerializeToString())
    consumer = flow[1]
    await eventually(lambda: _settled(consumer))
    assert flow[2].seen.count("MANY") == 1


async def _settled(consumer: Consumer) -> bool:
    try:
        return await consumer.pending() == (0, 0)
    except NotFoundError:
        # The stream was deleted; the consumer has not come back yet.
        return False


async def test_a_bad_event_costs_its_neighbours_a_few_transactions(
    database: Database, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    """A batch taken one by one would cost as many as it has events, and what comes behind it would be late."""
    recorder = flow[2]
    ids = [f"NEIGHBOUR-{number}" for number in range(200)]
    recorder.poison.add(ids[100])
    before = recorder.tries
    await _emit(database, *ids)
    wanted = [i for i in ids if i != ids[100]]
    await eventually(lambda: [i for i in recorder.seen if i.startswith("NEIGHBOUR-")] == wanted)
    assert recorder.tries - before < 50
    letters = """
        SELECT count(*) FROM dead_letter d JOIN outbox o ON o.event_id::text = d.event_id WHERE aggregate_id = %(id)s
    """

    async def buried() -> bool:
        return bool(await database.read.value(letters, {"id": ids[100]}) == 1)

    await eventually(buried)
    await database.read.value("DELETE FROM dead_letter RETURNING 1")


async def test_poison_becomes_a_dead_letter_and_holds_nobody_up(
    database: Database, stream: Stream, flow: tuple[Relay, Consumer, _Recorder]
) -> None:
    recorder = flow[2]
    recorder.poison = {"POISON"}
    await stream.context.publish("dsm.project.v1.project.created", b"\xff not an event")
    await _emit(database, "BEFORE", "POISON", "AFTER")
    await eventually(lambda: {"BEFORE", "AFTER"} <= set(recorder.seen))
    letters = await eventually(lambda: _letters(database, 2))
    assert sorted(letter["attempts"] for letter in letters) == [1, 2]
    recorder.poison = set()
    [poison] = [letter for letter in letters if letter["event_id"]]
    await flow[1].apply_payload(poison["payload"])
    assert "POISON" in recorder.seen


async def _letters(database: Database, count: int) -> list[dict[str, Any]] | None:
    found = await database.read.rows("SELECT * FROM dead_letter")
    return found if len(found) == count else None


async def test_only_one_relay_publishes(stack: Stack, database: Database, stream: Stream, flow: Any) -> None:
    other_database = Database("project", database.url, pool_size=2)
    await other_database.open()
    other = Relay(other_database, stream)
    task = asyncio.create_task(other.run())
    await eventually(lambda: flow[0].publishing)
    await _emit(other_database, "ELSEWHERE")
    await eventually(lambda: "ELSEWHERE" in flow[2].seen, seconds=3)
    assert not other.publishing
    task.cancel()
    await other_database.close()


# --- callee -------------------------------------------------------------------------------------


def _callee(address: str, **settings: Any) -> Callee:
    return Callee("test", "project", address, ServiceSettings(**settings))


async def test_a_callee_passes_typed_errors_on(running: _Running) -> None:
    callee = _callee(running.address)
    stub = project_service_pb2_grpc.ProjectServiceStub(callee.channel)
    with pytest.raises(Exception) as failed:  # noqa: PT011  # its type is made for the occasion
        await callee.call(stub.GetProject, pb.GetProjectRequest(project_id="NOPE"), pb.GetProjectResponse)
    assert getattr(failed.value, "reason", "") == "PROJECT_NOT_FOUND"
    assert callee.breaker_state == "closed"
    await callee.close()


async def test_a_breaker_opens_and_closes_again(running: _Running, database: Database) -> None:
    port = choose_port(0, 0)
    callee = _callee(f"127.0.0.1:{port}", breaker_failures=2, breaker_reset_seconds=0.3, call_timeout_seconds=1)
    stub = project_service_pb2_grpc.ProjectServiceStub(callee.channel)
    request = pb.GetProjectRequest(project_id="CLOSED")
    for _ in range(3):
        with pytest.raises(DependencyUnavailable) as failed:
            await callee.call(stub.GetProject, request, pb.GetProjectResponse)
    assert failed.value.metadata["breaker"] == "open"
    service = await _serve_on(database, port)
    await service.stub.CreateProject(_create("CLOSED"))
    await eventually(lambda: _answers(callee, stub, request))
    assert callee.breaker_state == "closed"
    await callee.close()
    await service.channel.close()
    await service.server.stop()


async def _serve_on(database: Database, port: int) -> _Running:
    service = Service("project", ServiceSettings())
    handlers = Handlers(database)  # type: ignore[abstract]
    service.serve(
        pb.DESCRIPTOR.services_by_name["ProjectService"],
        project_service_pb2_grpc.add_ProjectServiceServicer_to_server,
        handlers,
    )
    server = Server([service], ProcessSettings(port=port, metrics_port=-1, grace_seconds=1))
    server.bind()
    await server.start()
    return _Running(server, handlers)


async def _answers(callee: Callee, stub: Any, request: Any) -> bool:
    try:
        await callee.call(stub.GetProject, request, pb.GetProjectResponse)
    except DependencyUnavailable:
        return False
    return True


# --- sagas --------------------------------------------------------------------------------------


class _Steps:
    """A saga of two steps that fails or hangs where told."""

    def __init__(self, database: Database, *, undoable: bool) -> None:
        self.fail_at = ""
        self.hang_at = ""
        self.log: list[str] = []
        self.definition = Definition(
            "test",
            [Remote("reserve", self.reserve, self.unreserve), Local("store", self.store)],
            undoable=undoable,
        )

    async def reserve(self, state: State) -> State:
        await self._at("reserve")
        return state | {"reserved": True}

    async def unreserve(self, state: State) -> None:
        await self._at("unreserve")

    async def store(self, tx: WriteHandle, state: State) -> State:
        await self._at("store")
        await tx.execute(_INSERT, {"id": state["id"]})
        response = pb.CreateProjectResponse()
        response.project.project_id = state["id"]
        tx.reply(response)
        return state

    async def _at(self, step: str) -> None:
        self.log.append(step)
        if step == self.hang_at:
            await asyncio.sleep(60)
        if step == self.fail_at:
            raise DependencyUnavailable("backlog", step, "closed")


async def _begin(database: Database, sagas: Sagas, key: str) -> Saga:
    async with database.write(keyed=False) as tx:
        return await sagas.begin(tx, "test", key, {"id": key})


async def test_a_saga_ends_with_its_answer(database: Database) -> None:
    steps, sagas = _Steps(database, undoable=True), Sagas(database)
    sagas.define(steps.definition)
    answer = await sagas.finish(await _begin(database, sagas, "SAGA-OK"))
    assert isinstance(answer, pb.CreateProjectResponse)
    assert answer.project.project_id == "SAGA-OK"
    assert await _status(database, "SAGA-OK") == "DONE"


async def test_a_saga_that_fails_is_undone(database: Database) -> None:
    steps, sagas = _Steps(database, undoable=True), Sagas(database)
    sagas.define(steps.definition)
    steps.fail_at = "store"
    with pytest.raises(DependencyUnavailable):
        await sagas.finish(await _begin(database, sagas, "SAGA-UNDO"))
    assert steps.log == ["reserve", "store", "unreserve"]
    assert await _status(database, "SAGA-UNDO") == "UNDONE"


async def test_the_saga_of_a_dead_process_is_taken_over(database: Database) -> None:
    steps, dead = _Steps(database, undoable=True), Sagas(database, lease_seconds=0.3)
    dead.define(steps.definition)
    steps.hang_at = "store"
    saga = await _begin(database, dead, "SAGA-DEAD")
    hanging = asyncio.create_task(dead.finish(saga))
    await eventually(lambda: "store" in steps.log)
    hanging.cancel()

    successor_steps, successor = _Steps(database, undoable=True), Sagas(database, lease_seconds=0.3)
    successor.define(successor_steps.definition)
    task = asyncio.create_task(successor.run())
    await eventually(lambda: _has_status(database, "SAGA-DEAD", "DONE"))
    assert successor_steps.log == ["store"]
    task.cancel()
    await dead.stop()


@pytest.mark.parametrize(("key", "expected"), [(None, Aborted), (uuid4(), AlreadyAnswered)])
async def test_a_call_whose_saga_another_process_ended_is_told_so(
    database: Database, key: UUID | None, expected: type[Exception]
) -> None:
    """As after a process was stopped for longer than its lease: nothing failed, and nothing is to be INTERNAL."""
    name = f"SAGA-LOST-{key}"
    call.enter(Call("test", request_key=RequestKey(key, "test", b"body") if key else None))
    steps, stopped = _Steps(database, undoable=True), Sagas(database)
    stopped.define(steps.definition)
    saga = await _begin(database, stopped, name)
    async with database.write(keyed=False) as tx:
        params = {"owner": uuid4(), "key": name}
        await tx.execute("UPDATE saga SET owner = %(owner)s, status = 'DONE' WHERE key = %(key)s", params)
    with pytest.raises(expected):
        await stopped.finish(saga)


async def _status(database: Database, key: str) -> str:
    return str(await database.read.value("SELECT status FROM saga WHERE key = %(key)s", {"key": key}))


async def _has_status(database: Database, key: str, status: str) -> bool:
    return await _status(database, key) == status


# --- status and health --------------------------------------------------------------------------


async def test_status_names_the_services_of_the_process(running: _Running) -> None:
    stub = status_service_pb2_grpc.StatusServiceStub(running.channel)
    answer = await stub.GetStatus(status_service_pb2.GetStatusRequest())
    assert [service.service for service in answer.services] == ["project"]
    failed = await refused(stub.GetStatus(status_service_pb2.GetStatusRequest(service="nope")))
    assert failed.reason == "SERVICE_NOT_FOUND"
