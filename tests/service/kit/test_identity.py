"""Identity, on real servers: keys that change, services among themselves, actors, and what is done for whom."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import grpc
import pytest
import pytest_asyncio
import structlog
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.events.v1 import event_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from structlog.testing import LogCapture, capture_logs

from services.kit.calling.callee import Callee
from services.kit.data.database import Database
from services.kit.errors import DependencyUnavailable
from services.kit.security import guard, keys
from services.kit.server import ServerError
from services.kit.serving import gate
from services.kit.settings import ServiceSettings
from services.local.stack import Stack
from tests.harness import World, eventually, refused
from tests.service.kit.jwks_server import KeyServer, key_server
from tests.service.kit.small_service import Running, creation, serve
from tests.service.sprint.sprints import LAST_DAY, Fixture, make
from tests.tokens import EC_KEY, RSA_KEY, SECRET, jwks, signed

_GET = project.GetProjectRequest(project_id="NONE")


def _bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


class _SendsToken(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_unary_unary(self, continuation: Any, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        metadata = [*(details.metadata or ()), *_bearer(self._token)]
        known = grpc.aio.ClientCallDetails(
            details.method, details.timeout, grpc.aio.Metadata(*metadata), details.credentials, details.wait_for_ready
        )
        return await continuation(known, request)


class _KnownWorld(World):
    """A world whose channels are anna's, who leads every sprint."""

    def __init__(self, stack: Stack) -> None:
        super().__init__(stack, DSM_JWT_SECRET=SECRET)
        self._known: dict[str, grpc.aio.Channel] = {}

    async def channel(self, name: str) -> grpc.aio.Channel:
        await self.start(name)
        if name not in self._known:
            self._known[name] = grpc.aio.insecure_channel(self.address(name), interceptors=[_SendsToken(signed())])
        return self._known[name]

    async def close(self) -> None:
        for channel in self._known.values():
            await channel.close()
        await super().close()


@pytest_asyncio.fixture(scope="module")
async def known(stack: Stack) -> AsyncIterator[World]:
    """DSM with identity on, called by anna."""
    made = _KnownWorld(stack)
    yield made
    await made.close()


Start = Callable[..., Awaitable[Running]]


@pytest_asyncio.fixture
async def start(database: Database) -> AsyncIterator[Start]:
    """Starts the small service with settings of the test's choice; it is stopped with the test."""
    async with AsyncExitStack() as exits:

        async def started(**settings: Any) -> Running:
            running = await serve(database, **settings)
            exits.push_async_callback(running.server.stop)
            exits.push_async_callback(running.channel.close)
            return running

        yield started


async def _actors(known: World, service: str, at: Fixture) -> dict[str, set[str]]:
    """Who caused the events of a project, by subject."""
    sql = "SELECT subject, payload FROM outbox WHERE project_id = %(project_id)s"
    found: dict[str, set[str]] = {}
    for row in await known.query(service, sql, {"project_id": at.project_id}):
        event = event_pb2.Event.FromString(row["payload"])
        found.setdefault(row["subject"].partition(".v1.")[2], set()).add(event.actor)
    return found


async def test_a_sprint_is_planned_and_closed_on_behalf_of_who_asked(known: World) -> None:
    at = await make(known, points=(5, 5, 5))
    started = await at.started(max_tasks=2)
    assert started.state == sprint_pb2.SPRINT_STATE_IN_PROGRESS
    assert (await at.task(at.task_ids[0])).state == task_pb2.TASK_STATE_ASSIGNED_TO_SPRINT
    await at.report(at.task_ids[0], 100, employee_id=at.people[0], work_date=LAST_DAY)
    request = sprint.CloseSprintRequest(sprint_id=started.sprint_id, close_date=LAST_DAY)
    closed = await at.sprints.CloseSprint(request)
    assert (closed.completed_tasks_count, closed.released_tasks_count) == (1, 1)
    assert (await at.task(at.task_ids[1])).state == task_pb2.TASK_STATE_UNASSIGNED
    actors = await _actors(known, "sprint", at)
    assert {"sprint.started", "sprint.closed", "task.updated"} <= actors.keys()
    assert set().union(*actors.values()) == {"anna"}
    # What the backlog did for the sprint service it did for anna too.
    assert (await _actors(known, "backlog", at))["task.updated"] >= {"anna"}
    callers = await known.query(
        "sprint", "SELECT caller FROM saga WHERE key LIKE %(mine)s", {"mine": f"{at.project_id}%"}
    )
    assert callers
    assert {row["caller"]["actor"] for row in callers} == {"anna"}


async def test_nobody_reserves_tasks_but_services(known: World) -> None:
    at = await make(known)
    request = backlog.ReserveTasksRequest(project_id=at.project_id, sprint_id=f"{at.project_id}-S01", max_tasks=1)
    failed = await refused(at.backlog.ReserveTasks(request))
    assert (failed.code, failed.reason) == ("PERMISSION_DENIED", "ROLE_REQUIRED")
    assert failed.metadata["role"] == "SERVICE"


async def test_a_first_answer_is_given_to_who_got_it_alone(start: Start) -> None:
    running = await start(jwt_secret=SECRET)
    request = creation("MINE", request_id=str(uuid4()))
    first = await running.stub.CreateProject(request, metadata=_bearer(signed()))
    # Another token of the same person is the same caller.
    again = await running.stub.CreateProject(request, metadata=_bearer(signed(exp=int(time.time()) + 60)))
    assert again == first
    failed = await refused(running.stub.CreateProject(request, metadata=_bearer(signed(sub="bob"))))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")
    # A role that was taken away since is missed before the answer is looked up.
    failed = await refused(running.stub.CreateProject(request, metadata=_bearer(signed(roles=["member"]))))
    assert failed.reason == "ROLE_REQUIRED"
    assert running.handlers.runs == 1


async def test_people_act_for_nobody_else_and_services_do(start: Start, database: Database) -> None:
    running = await start(jwt_secret=SECRET)
    headers = [*_bearer(signed()), ("x-dsm-actor", "bob")]
    failed = await refused(running.stub.CreateProject(creation("FORBOB"), metadata=headers))
    assert (failed.code, failed.reason, failed.metadata["role"]) == ("PERMISSION_DENIED", "ROLE_REQUIRED", "SERVICE")
    service = signed(sub="service:sprint", roles=["service", "admin"])
    for name, actor, token in (
        ("BYSERVICE", "service:sprint", service),
        ("FORANNA", "anna", signed()),
        ("FORCARL", "carl", service),
    ):
        headers = _bearer(token) if name == "BYSERVICE" else [*_bearer(token), ("x-dsm-actor", actor)]
        await running.stub.CreateProject(creation(name), metadata=headers)
        payload = await database.read.value("SELECT payload FROM outbox WHERE project_id = %(id)s", {"id": name})
        assert event_pb2.Event.FromString(payload).actor == actor


async def _outcome(running: Running, token: str) -> str:
    """What GetProject says of a project that is not there."""
    return (await refused(running.stub.GetProject(_GET, metadata=_bearer(token)))).reason


async def test_keys_are_fetched_and_followed(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_FLOOR_SECONDS", 0.2)
    old, new = signed(RSA_KEY, "RS256", "one"), signed(EC_KEY, "ES256", "two")
    with key_server(jwks(one=RSA_KEY)) as provider:
        running = await start(jwt_jwks=provider.url)
        # Many at once wait for the same answer.
        assert set(await asyncio.gather(*(_outcome(running, old) for _ in range(20)))) == {"PROJECT_NOT_FOUND"}
        assert provider.asked == 1
        provider.document = jwks(two=EC_KEY)
        await eventually(lambda: _is(running, new, "PROJECT_NOT_FOUND"))
        # What was verified by a key that is gone is not remembered longer than the key.
        assert await _outcome(running, old) == "TOKEN_INVALID"
        await _asks_seldom(running, provider)


async def _asks_seldom(running: Running, provider: KeyServer) -> None:
    """Key ids that are made up lead to few questions."""
    began, before = time.monotonic(), provider.asked
    for number in range(200):
        assert await _outcome(running, signed(EC_KEY, "ES256", f"made-up-{number}")) == "TOKEN_INVALID"
    assert provider.asked - before <= (time.monotonic() - began) / 0.2 + 1


async def _is(running: Running, token: str, reason: str) -> bool:
    return await _outcome(running, token) == reason


async def test_keys_that_are_taken_back_are_missed_by_themselves(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "REFRESH_SECONDS", 0.1)
    old = signed(RSA_KEY, "RS256", "one")
    with key_server(jwks(one=RSA_KEY)) as provider:
        running = await start(jwt_jwks=provider.url)
        assert await _outcome(running, old) == "PROJECT_NOT_FOUND"
        provider.document = jwks(two=EC_KEY)
        await eventually(lambda: _is(running, old, "TOKEN_INVALID"))


async def test_a_provider_that_is_away(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_FLOOR_SECONDS", 0.1)
    token = signed(RSA_KEY, "RS256", "one")
    with key_server(jwks(one=RSA_KEY)) as provider:
        provider.status = 503
        running = await start(jwt_jwks=provider.url)
        failed = await refused(running.stub.GetProject(_GET, metadata=_bearer(token)))
        assert (failed.code, failed.reason, failed.metadata) == ("UNAVAILABLE", "SIGNING_KEYS_UNAVAILABLE", {})
        provider.status = 200
        await eventually(lambda: _is(running, token, "PROJECT_NOT_FOUND"))
        # Known keys hold while it is away, and a document without keys is as good as none.
        provider.document = "{}"
        assert await _outcome(running, signed(EC_KEY, "ES256", "two")) in ("TOKEN_INVALID", "SIGNING_KEYS_UNAVAILABLE")
        assert await _outcome(running, signed(RSA_KEY, "RS256", "one", sub="bob")) == "PROJECT_NOT_FOUND"


async def test_a_provider_that_answers_badly(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "FETCH_FLOOR_SECONDS", 0.1)
    monkeypatch.setattr(keys, "FETCH_TIMEOUT_SECONDS", 0.3)
    token = signed(RSA_KEY, "RS256", "one")
    with key_server(jwks(one=RSA_KEY)) as provider:
        running = await start(jwt_jwks=provider.url)
        # It breaks off in the middle, it says nothing at all.
        provider.cut = 10
        assert await _outcome(running, token) == "SIGNING_KEYS_UNAVAILABLE"
        provider.cut = 0
        provider.free.clear()
        assert await _outcome(running, token) == "SIGNING_KEYS_UNAVAILABLE"
        provider.free.set()
        await eventually(lambda: _is(running, token, "PROJECT_NOT_FOUND"))


async def test_a_stream_ends_with_its_token(known: World) -> None:
    at = await make(known)
    # The leeway is passed but for a second.
    token = signed(exp=int(time.time()) - 28)
    async with grpc.aio.insecure_channel(known.address("backlog")) as channel:
        watch = channel.unary_stream(
            "/dsm.backlog.v1.BacklogService/WatchTasks",
            request_serializer=backlog.WatchTasksRequest.SerializeToString,
            response_deserializer=backlog.WatchTasksResponse.FromString,
        )
        stream = watch(backlog.WatchTasksRequest(project_id=at.project_id), metadata=_bearer(token))
        failed = await refused(stream.read())
    assert (failed.code, failed.reason) == ("UNAUTHENTICATED", "TOKEN_EXPIRED")


async def test_health_is_open_and_reflection_is_not(start: Start) -> None:
    running = await start(jwt_secret=SECRET)
    stub: Any = health_pb2_grpc.HealthStub(running.channel)
    assert (await stub.Check(health_pb2.HealthCheckRequest())).status == health_pb2.HealthCheckResponse.SERVING
    reflection: Any = reflection_pb2_grpc.ServerReflectionStub(running.channel)  # type: ignore[arg-type]  # typed for the other kind
    question = reflection_pb2.ServerReflectionRequest(list_services="")
    # Says nothing: grpc.aio takes what it cannot send any more for an INTERNAL error of its own.
    failed = await refused(reflection.ServerReflectionInfo().read())
    assert (failed.code, failed.reason) == ("UNAUTHENTICATED", "TOKEN_MISSING")
    answer = await reflection.ServerReflectionInfo(iter([question]), metadata=_bearer(signed(roles=None))).read()
    assert len(answer.list_services_response.service) > 1


async def test_nothing_of_a_token_is_told(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    said = LogCapture()
    everything = structlog.wrap_logger(
        None, processors=[said], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
    )
    for module in (gate, guard):
        monkeypatch.setattr(module, "log", everything)
    running = await start(jwt_secret=SECRET)
    for token in (signed(aud="others"), signed(exp=1), signed("another secret of 32 bytes or more"), "Some.Thing.Else"):
        failed = await refused(running.stub.GetProject(_GET, metadata=_bearer(token)))
        for part in token.split("."):
            assert part not in f"{failed!r} {said.entries}"
    assert {"token.invalid", "call.refused"} <= {entry["event"] for entry in said.entries}


async def test_callers_are_limited_each_and_services_are_not(start: Start) -> None:
    running = await start(jwt_secret=SECRET, rate_limit_per_second=0.1, rate_limit_burst=5)
    anna, bob, service = signed(), signed(sub="bob"), signed(sub="service:sprint", roles=["service"])
    assert [await _outcome(running, anna) for _ in range(7)] == ["PROJECT_NOT_FOUND"] * 5 + ["RATE_LIMITED"] * 2
    # Another token changes nothing.
    limited = await refused(running.stub.GetProject(_GET, metadata=_bearer(signed(exp=int(time.time()) + 60))))
    assert (limited.code, limited.metadata) == ("RESOURCE_EXHAUSTED", {"limit": "0.1"})
    assert await _outcome(running, bob) == "PROJECT_NOT_FOUND"
    assert {await _outcome(running, service) for _ in range(20)} == {"PROJECT_NOT_FOUND"}
    # Whoever tries tokens out is limited by the address, which takes nothing from those who are known.
    assert [await _outcome(running, "guess") for _ in range(7)] == ["TOKEN_INVALID"] * 5 + ["RATE_LIMITED"] * 2
    assert await _outcome(running, bob) == "PROJECT_NOT_FOUND"


async def test_without_identity_addresses_are_limited(start: Start) -> None:
    running = await start(rate_limit_per_second=0.1, rate_limit_burst=3)
    outcomes = [(await refused(running.stub.GetProject(_GET))).reason for _ in range(4)]
    # Another connection comes from the same address.
    async with grpc.aio.insecure_channel(running.address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        outcomes.append((await refused(ProjectServiceStub(channel).GetProject(_GET))).reason)
    assert outcomes == ["PROJECT_NOT_FOUND"] * 3 + ["RATE_LIMITED"] * 2


async def test_a_services_token_comes_from_a_file(start: Start, tmp_path: Path) -> None:
    running = await start(jwt_secret=SECRET)
    file = tmp_path / "token"
    file.write_text(signed(sub="service:test", roles=["service"]))
    callee = Callee("test", "project", running.address, ServiceSettings(service_token_file=str(file)))
    stub = ProjectServiceStub(callee.channel)
    with pytest.raises(Exception) as failed:  # noqa: PT011  # its type is made for the occasion
        await callee.call(stub.GetProject, _GET, project.GetProjectResponse)
    assert getattr(failed.value, "reason", "") == "PROJECT_NOT_FOUND"
    await callee.close()


@pytest.mark.parametrize("token", ["", signed(exp=1), signed(roles=None)])
async def test_a_service_that_is_not_trusted_is_no_fault_of_its_caller(
    start: Start, tmp_path: Path, token: str
) -> None:
    running = await start(jwt_secret=SECRET)
    file = tmp_path / "token"
    file.write_text(token)
    callee = Callee("test", "project", running.address, ServiceSettings(service_token_file=str(file) if token else ""))
    with capture_logs() as logs, pytest.raises(DependencyUnavailable):
        await callee.call(ProjectServiceStub(callee.channel).GetProject, _GET, project.GetProjectResponse)
    assert "callee.does_not_trust_us" in [entry["event"] for entry in logs]
    await callee.close()


async def test_services_without_means_to_say_who_they_are_do_not_start(stack: Stack, tmp_path: Path) -> None:
    file = tmp_path / "jwks.json"
    file.write_text(jwks(one=RSA_KEY))
    async with AsyncExitStack() as exits:
        world = World(stack, DSM_JWT_JWKS=str(file))
        exits.push_async_callback(world.close)
        with pytest.raises(ServerError, match="DSM_SERVICE_TOKEN_FILE"):
            await world.start("sprint")
        await world.start("project")
