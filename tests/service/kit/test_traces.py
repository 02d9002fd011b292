"""Traces: what a call led to is one trace, over services, events and flows, and costs no call anything."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from uuid import uuid4

import grpc
import pytest
from dsm.events.v1.event_pb2 import Event
from dsm.events.v1.sprint_events_pb2 import TaskProgressed
from dsm.project.v1.project_service_pb2 import GetProjectRequest
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1 import sprint_service_pb2 as pb
from opentelemetry.sdk.trace import ReadableSpan
from prometheus_client import REGISTRY

from services.kit.call import ACTOR_HEADER
from services.kit.telemetry import trace
from services.kit.telemetry.otlp import QUEUE, OtlpRecorder
from services.local.process import choose_port
from tests.harness import World, eventually, refused
from tests.service.kit.collector import Collector, Span, collecting
from tests.service.sprint.sprints import Fixture, make, under_way

SERVED = "dsm.sprint.v1.SprintService/UpdateTaskProgress"
TOLD = "dsm.sprint.v1.task.updated"
REPORTED = "dsm.in.sprint.v1.task.progressed"


@dataclass(frozen=True)
class Process:
    """A service in a process of its own."""

    child: asyncio.subprocess.Process
    collector: Collector
    address: str


@pytest.fixture
async def recorded() -> AsyncIterator[None]:
    """Whatever comes of the test, nothing is recorded after it."""
    yield
    await trace.stop()


@pytest.fixture
async def collector(recorded: None) -> AsyncIterator[Collector]:
    """A collector that everything in this process sends to."""
    with collecting() as collector:
        trace.start(OtlpRecorder(collector.endpoint, 1))
        yield collector
        # While the collector is there.
        await trace.stop()


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint under way with two tasks."""
    return await under_way(world)


@pytest.fixture
def client() -> str:
    """The traceparent of a caller who is in a sampled trace."""
    return _traceparent(sampled=True)


def _traceparent(*, sampled: bool) -> str:
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-{'01' if sampled else '00'}"


async def _span(collector: Collector, name: str, trace_id: str) -> Span:
    found = await eventually(lambda: collector.named(name, trace_id))
    assert isinstance(found, Span)
    return found


async def test_progress_is_one_trace_from_the_client_to_the_backlogs_row(
    collector: Collector, at: Fixture, client: str
) -> None:
    trace_id, caller_id = trace.ids(client)
    request = pb.UpdateTaskProgressRequest(task_id=at.task_ids[0], progress_percent=40)
    await at.sprints.UpdateTaskProgress(request, metadata=[(trace.HEADER, client)])
    served = await _span(collector, SERVED, trace_id)
    published = await _span(collector, f"publish {TOLD}", trace_id)
    applied = await _span(collector, f"apply {TOLD}", trace_id)
    told_on = await _span(collector, "publish dsm.backlog.v1.task.updated", trace_id)
    chain = [(it.service, it.kind, it.parent_id) for it in (served, published, applied, told_on)]
    assert chain == [
        ("dsm-sprint", "SERVER", caller_id),
        ("dsm-sprint", "PRODUCER", served.span_id),
        ("dsm-backlog", "CONSUMER", published.span_id),
        ("dsm-backlog", "PRODUCER", applied.span_id),
    ]
    assert (await at.task(at.task_ids[0])).progress_percent == 40, "the span ended after the row was there"
    assert not any(it.error for it in collector.of(trace_id))


async def test_a_planning_keeps_its_trace_over_its_steps_and_calls(collector: Collector, world: World) -> None:
    fixture = await make(world, points=(5,))
    client = _traceparent(sampled=True)
    trace_id, _ = trace.ids(client)
    await fixture.sprints.StartSprint(
        pb.StartSprintRequest(project_id=fixture.project_id, start_date="2025-03-03"),
        metadata=[(trace.HEADER, client)],
    )
    served = await _span(collector, "dsm.sprint.v1.SprintService/StartSprint", trace_id)
    saga = await _span(collector, "saga start-sprint", trace_id)
    asked = await _span(collector, "dsm.backlog.v1.ReserveTasks", trace_id)
    answered = await _span(collector, "dsm.backlog.v1.BacklogService/ReserveTasks", trace_id)
    steps = {it.span_id: it for it in collector.of(trace_id) if it.parent_id == saga.span_id}
    assert saga.parent_id == served.span_id
    assert asked.parent_id in steps
    assert (asked.kind, answered.parent_id) == ("CLIENT", asked.span_id)
    assert answered.service == "dsm-backlog"
    await _span(collector, "apply dsm.sprint.v1.sprint.started", trace_id)


async def test_progress_from_outside_goes_on_with_the_senders_trace(
    collector: Collector, world: World, at: Fixture, client: str
) -> None:
    trace_id, sender_id = trace.ids(client)
    event = Event(event_id=str(uuid4()), task_progressed=TaskProgressed(task_id=at.task_ids[0], new_total_progress=60))
    event.event_time.GetCurrentTime()
    async with world.jetstream() as js:
        await js.publish(REPORTED, event.SerializeToString(), headers={trace.HEADER: client})
    taken = await _span(collector, f"apply {REPORTED}", trace_id)
    published = await _span(collector, f"publish {TOLD}", trace_id)
    applied = await _span(collector, f"apply {TOLD}", trace_id)
    assert (taken.service, taken.parent_id) == ("dsm-sprint", sender_id)
    assert (published.parent_id, applied.parent_id) == (taken.span_id, published.span_id)


async def test_events_applied_together_stay_in_their_own_traces(collector: Collector, at: Fixture) -> None:
    clients = {task_id: _traceparent(sampled=True) for task_id in at.task_ids}
    await at.world.stop("backlog")
    for task_id, client in clients.items():
        request = pb.UpdateTaskProgressRequest(task_id=task_id, progress_percent=70)
        await at.sprints.UpdateTaskProgress(request, metadata=[(trace.HEADER, client)])
        await _span(collector, f"publish {TOLD}", trace.ids(client)[0])
    await at.world.start("backlog")
    for client in clients.values():
        trace_id, _ = trace.ids(client)
        applied = await _span(collector, f"apply {TOLD}", trace_id)
        told_on = await _span(collector, "publish dsm.backlog.v1.task.updated", trace_id)
        assert told_on.parent_id == applied.span_id


async def test_an_error_is_marked_where_it_is_the_servers(collector: Collector, world: World, client: str) -> None:
    at = await make(world, points=(5,))
    trace_id, _ = trace.ids(client)
    request = pb.UpdateTaskProgressRequest(task_id="NOBODY-TASK001", progress_percent=40)
    await refused(at.sprints.UpdateTaskProgress(request, metadata=[(trace.HEADER, client)]))
    served = await _span(collector, SERVED, trace_id)
    assert (served.attributes["error.type"], served.error) == ("NOT_FOUND", False)
    await at.world.stop("project")
    away = pb.StartSprintRequest(project_id=at.project_id)
    failed = await refused(at.sprints.StartSprint(away, metadata=[(trace.HEADER, client)]))
    await at.world.start("project")
    assert failed.code == "UNAVAILABLE"
    served = await _span(collector, "dsm.sprint.v1.SprintService/StartSprint", trace_id)
    asked = await _span(collector, "dsm.project.v1.GetProject", trace_id)
    assert (served.error, served.attributes["error.type"]) == (True, "UNAVAILABLE")
    assert (asked.error, asked.attributes["dsm.reason"]) == (True, "DEPENDENCY_UNAVAILABLE")


async def test_a_stream_is_a_span_until_its_end(collector: Collector, at: Fixture, client: str) -> None:
    trace_id, caller_id = trace.ids(client)
    request = pb.WatchSprintRequest(sprint_id=f"{at.project_id}-S01")
    watching = at.sprints.WatchSprint(request, metadata=[(trace.HEADER, client)])
    await watching.initial_metadata()
    await at.report(at.task_ids[0], 10, work_date="2025-03-07")
    await watching.read()
    assert not collector.of(trace_id)
    watching.cancel()
    served = await _span(collector, "dsm.sprint.v1.SprintService/WatchSprint", trace_id)
    assert (served.parent_id, served.attributes["error.type"], served.error) == (caller_id, "CANCELLED", False)
    refusing = at.sprints.WatchSprint(pb.WatchSprintRequest(sprint_id="NO-S01"), metadata=[(trace.HEADER, client)])
    await refused(refusing.read())
    refusals = await eventually(lambda: [it for it in collector.of(trace_id) if it is not served])
    assert [it.attributes["dsm.reason"] for it in refusals] == ["SPRINT_NOT_FOUND"]


async def test_no_span_tells_who_or_what_was_written(collector: Collector, at: Fixture, client: str) -> None:
    secret, person, words = "Bearer-of-a-token", "ada@example.org", "Talked to the landlord"
    trace_id, _ = trace.ids(client)
    given = [(trace.HEADER, client), (ACTOR_HEADER, person), ("authorization", secret)]
    await at.sprints.UpdateTaskProgress(
        pb.UpdateTaskProgressRequest(
            task_id=at.task_ids[0], progress_percent=50, work_note=words, employee_id=at.people[0]
        ),
        metadata=given,
    )
    await _span(collector, "publish dsm.backlog.v1.task.updated", trace_id)
    wire = b"".join(span.wire for span in collector.spans)
    for told in (secret, person, words, at.people[0]):
        assert told.encode() not in wire


async def test_what_the_caller_does_not_sample_is_not_recorded_but_passed_on(collector: Collector, at: Fixture) -> None:
    client = _traceparent(sampled=False)
    request = pb.UpdateTaskProgressRequest(task_id=at.task_ids[0], progress_percent=20)
    await at.sprints.UpdateTaskProgress(request, metadata=[(trace.HEADER, client)])
    [row] = await at.world.query(
        "sprint",
        "SELECT payload FROM outbox WHERE aggregate_id = %(id)s ORDER BY position DESC LIMIT 1",
        {"id": at.task_ids[0]},
    )
    assert Event.FromString(row["payload"]).traceparent == client
    # Another call, that began later and is sampled, has been sent: nothing of the first is still to come.
    other = _traceparent(sampled=True)
    await at.sprints.UpdateTaskProgress(request, metadata=[(trace.HEADER, other)])
    await _span(collector, SERVED, trace.ids(other)[0])
    assert not collector.of(trace.ids(client)[0])


async def test_where_nothing_is_recorded_the_callers_trace_is_passed_on(world: World, client: str) -> None:
    fixture = await make(world, points=(5,))
    start = pb.StartSprintRequest(project_id=fixture.project_id, start_date="2025-03-03")
    await fixture.sprints.StartSprint(start, metadata=[(trace.HEADER, client)])
    rows = await world.query(
        "backlog", "SELECT payload FROM outbox WHERE project_id = %(id)s", {"id": fixture.project_id}
    )
    assert client in {Event.FromString(row["payload"]).traceparent for row in rows}, "by RPC from sprint to backlog"


@pytest.mark.parametrize("given", ["", "nonsense", f"00-{'0' * 32}-{'1' * 16}-01", f"00-{'A' * 32}-{'1' * 16}-01"])
async def test_what_is_no_traceparent_is_ignored(collector: Collector, at: Fixture, given: str) -> None:
    request = pb.UpdateTaskProgressRequest(task_id=at.task_ids[0], progress_percent=10)
    await at.sprints.UpdateTaskProgress(request, metadata=[(trace.HEADER, given)])
    served = await eventually(lambda: collector.named(SERVED))
    assert served.parent_id == ""


@pytest.mark.usefixtures("recorded")
async def test_a_collector_that_is_away_fails_no_call_and_fills_no_memory(at: Fixture) -> None:
    trace.start(OtlpRecorder(f"http://127.0.0.1:{choose_port(0, 0)}", 1))
    lost = REGISTRY.get_sample_value("dsm_spans_total", {"outcome": "lost"}) or 0
    request = pb.UpdateTaskProgressRequest(task_id=at.task_ids[0], progress_percent=30)
    for _ in range(20):
        await at.sprints.UpdateTaskProgress(request)
    for _ in range(10_000):
        trace.span("sprint", "work").end()
    # Besides what waits, a batch is on its way, and what is at work holds some, the more the slower the machine.
    assert sum(isinstance(it, ReadableSpan) for it in gc.get_objects()) < 2 * QUEUE
    began = time.monotonic()
    await trace.stop()
    assert time.monotonic() - began < 10
    await eventually(lambda: (REGISTRY.get_sample_value("dsm_spans_total", {"outcome": "lost"}) or 0) > lost)


@pytest.fixture
async def process(world: World) -> AsyncIterator[Process]:
    """The project service as a process of its own, with a collector."""
    await world.start("project")
    port = choose_port(0, 0)
    with collecting() as collector:
        settings = {"DSM_PORT": str(port), "DSM_METRICS_PORT": "-1", "DSM_OTLP_ENDPOINT": collector.endpoint}
        command = [sys.executable, "-m", "services.cli", "serve", "project"]
        environ = os.environ | world.environ("project") | settings
        child = await asyncio.create_subprocess_exec(*command, env=environ, stderr=asyncio.subprocess.PIPE)
        yield Process(child, collector, f"127.0.0.1:{port}")
        if child.returncode is None:
            child.kill()
            await child.wait()


async def test_a_process_sends_its_spans_and_logs_their_ids(process: Process, client: str) -> None:
    trace_id, _ = trace.ids(client)
    async with grpc.aio.insecure_channel(process.address) as channel:
        await channel.channel_ready()
        projects = ProjectServiceStub(channel)

        async def answered() -> bool:
            metadata = [(trace.HEADER, client), ("x-request-id", "mine")]
            failed = await refused(projects.GetProject(GetProjectRequest(project_id="NONE"), metadata=metadata))
            return failed.code == "NOT_FOUND"

        await eventually(answered)
    process.child.terminate()
    _, log = await process.child.communicate()
    # What was not sent yet when it was told to stop, is sent before it does.
    served = [span for span in process.collector.of(trace_id) if span.kind == "SERVER"]
    lines = [json.loads(line) for line in log.splitlines()]
    [*refusals] = [line for line in lines if line["event"] == "call.refused" and line["code"] == "NOT_FOUND"]
    assert {(it["request_id"], it["service"], it["trace_id"]) for it in refusals} == {("mine", "project", trace_id)}
    assert {it["span_id"] for it in refusals} <= {span.span_id for span in served}
    [started] = [line for line in lines if line["event"] == "server.started"]
    assert (started["service"], "trace_id" in started) == ("project", False)
