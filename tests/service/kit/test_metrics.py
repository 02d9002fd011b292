"""Metrics: all that is declared is there when a running stack is scraped, and tells what happens."""

from __future__ import annotations

import asyncio
import urllib.request
from contextlib import suppress
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2
from dsm.events.v1.event_pb2 import Event
from dsm.events.v1.sprint_events_pb2 import TaskProgressed
from dsm.sprint.v1 import sprint_service_pb2 as pb
from prometheus_client.parser import text_string_to_metric_families

from scripts.metrics import declared
from services.kit.data.migrate import Schema
from services.kit.events.outbox import Relay
from services.kit.serving import probes
from services.kit.telemetry import trace
from services.kit.telemetry.otlp import OtlpRecorder
from tests.harness import World, eventually, refused
from tests.service.kit.collector import collecting
from tests.service.orchestrator.orchestrations import Dsm, dsm_of

REPORTED = "dsm.in.sprint.v1.task.progressed"
# What only shows with TLS, an advisor, a service that is away, or a schedule that was due.
ELSEWHERE = {
    "dsm_tls_certificate_expiry_seconds",
    "dsm_decisions_degraded",
    "dsm_schedule_last_success_timestamp_seconds",
}


class Scrape:
    """What a server of metrics says now."""

    def __init__(self, text: str) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(text)}

    def value(self, name: str, **labels: str) -> float | None:
        """The sum over the series of a name that have these labels; None = there is none."""
        found = [
            sample.value
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None


class Server:
    """A server of metrics, as each process has one."""

    def __init__(self) -> None:
        self._url = f"http://127.0.0.1:{probes.serve('127.0.0.1', 0, {})}/metrics"

    async def scrape(self) -> Scrape:
        """Scrape it."""

        def read() -> str:
            with urllib.request.urlopen(self._url, timeout=5) as answer:
                return str(answer.read().decode())

        return Scrape(await asyncio.to_thread(read))

    async def value(self, name: str, **labels: str) -> float:
        """A figure now; 0 = none."""
        return (await self.scrape()).value(name, **labels) or 0

    async def becomes(self, wanted: float, name: str, **labels: str) -> None:
        """Wait until a figure is what it is to be."""

        async def is_so() -> bool:
            return (await self.scrape()).value(name, **labels) == wanted

        await eventually(is_so)

    async def exceeds(self, least: float, name: str, **labels: str) -> None:
        """Wait until a figure is larger than that."""

        async def is_so() -> bool:
            return await self.value(name, **labels) > least

        await eventually(is_so)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def dsm(world: World) -> Dsm:
    return await dsm_of(world)


async def _work(dsm: Dsm) -> str:
    """A decision that starts a sprint, with a schedule, and progress in it; the project."""
    project_id = await dsm.project(f"MET{uuid4().int % 10**9}", tasks=4, people=2)
    await dsm.orchestrate(project_id, create_sprint_if_needed=True, assign_tasks=True, create_cronjob=True)
    sprint = await dsm.sprint(f"{project_id}-S01")
    await dsm.complete(sprint, 1)
    await refused(dsm.sprints.GetSprint(pb.GetSprintRequest(sprint_id="NONE-S01")))
    return project_id


async def test_everything_that_is_declared_is_scraped(server: Server, dsm: Dsm) -> None:
    with collecting() as collector:
        trace.start(OtlpRecorder(collector.endpoint, 1))
        try:
            await _work(dsm)
        finally:
            await trace.stop()

    async def missing() -> set[str]:
        scrape = await server.scrape()
        found = {sample.name for family in scrape.families.values() for sample in family.samples}
        return {metric.name for metric in declared() if found.isdisjoint(metric.series)} - ELSEWHERE

    async def complete() -> bool:
        return not await missing()

    with suppress(AssertionError):
        await eventually(complete)
    assert await missing() == set()


async def test_calls_flows_events_and_decisions_are_counted(server: Server, dsm: Dsm) -> None:
    method = {"method": "/dsm.sprint.v1.SprintService/UpdateTaskProgress"}
    counted = [
        ("dsm_calls_total", method | {"code": "OK"}),
        ("dsm_call_seconds_count", method),
        ("dsm_calls_total", {"method": "/dsm.sprint.v1.SprintService/GetSprint", "code": "NOT_FOUND"}),
        ("dsm_callee_calls_total", {"service": "orchestrator", "callee": "sprint", "code": "OK"}),
        ("dsm_callee_seconds_count", {"service": "orchestrator", "callee": "sprint"}),
        ("dsm_events_published_total", {"service": "sprint"}),
        ("dsm_events_applied_total", {"service": "backlog", "consumer": "backlog-dsm_sprint"}),
        ("dsm_apply_seconds_count", {"service": "backlog", "consumer": "backlog-dsm_sprint"}),
        ("dsm_sagas_total", {"service": "sprint", "kind": "start-sprint", "outcome": "done"}),
        ("dsm_decisions_total", {"mode": "INTELLIGENCE_ENHANCED", "outcome": "by_rules"}),
        ("dsm_decision_seconds_count", {}),
        ("dsm_actions_total", {"kind": "START_SPRINT", "state": "DONE"}),
        ("dsm_embedding_texts_total", {"backend": "local"}),
        ("dsm_embedding_seconds_count", {"backend": "local"}),
    ]
    before = [await server.value(name, **labels) for name, labels in counted]
    await _work(dsm)
    for (name, labels), was in zip(counted, before, strict=True):
        await server.exceeds(was, name, **labels)


async def test_levels_are_those_of_a_stack_that_is_well(server: Server, dsm: Dsm) -> None:
    await _work(dsm)
    for name, labels in (
        ("dsm_outbox_depth", {"service": "sprint"}),
        ("dsm_consumer_pending", {"service": "backlog"}),
        ("dsm_consumer_unacknowledged", {"service": "backlog"}),
        ("dsm_consumer_lag_seconds", {"service": "backlog"}),
        ("dsm_sagas_running", {"service": "sprint", "kind": "start-sprint"}),
        ("dsm_saga_oldest_seconds", {"service": "sprint", "kind": "close-sprint"}),
        ("dsm_dead_letters_waiting", {"service": "backlog"}),
        ("dsm_migrations_behind", {}),
        ("dsm_episodes_waiting", {}),
        ("dsm_schedule_late_seconds", {}),
    ):
        await server.becomes(0, name, **labels)
    await server.exceeds(0, "dsm_cron_jobs")
    assert await server.value("dsm_ready", service="embedding") == 1
    assert await server.value("dsm_stream_connected", service="sprint") == 1
    assert await server.value("dsm_pool_size", service="sprint") == 8
    assert await server.value("dsm_pool_in_use", service="sprint") <= 8
    assert await server.value("dsm_build_info") == 1
    assert await server.value("dsm_breaker_open", service="orchestrator", callee="chronicle") == 0, (
        "before the first call"
    )


async def test_a_consumer_that_stands_still_has_a_lag_in_messages_and_seconds(server: Server, dsm: Dsm) -> None:
    project_id = await _work(dsm)
    await server.becomes(0, "dsm_consumer_pending", service="sprint")
    locked = "LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(8)"
    standing = asyncio.create_task(dsm.world.query("backlog", locked))
    for task in (await dsm.sprint(f"{project_id}-S01")).tasks[1:]:
        await dsm.sprints.UpdateTaskProgress(pb.UpdateTaskProgressRequest(task_id=task.task_id, progress_percent=50))
    await server.exceeds(0, "dsm_consumer_unacknowledged", service="backlog", consumer="backlog-dsm_sprint")
    await server.exceeds(1, "dsm_consumer_lag_seconds", service="backlog", consumer="backlog-dsm_sprint")
    await standing
    await server.becomes(0, "dsm_consumer_lag_seconds", service="backlog", consumer="backlog-dsm_sprint")


async def test_dead_letters_are_counted_until_they_are_gone(server: Server, dsm: Dsm) -> None:
    labels = {"service": "sprint", "consumer": "sprint-dsm_sprint_in"}
    event = Event(event_id=str(uuid4()), task_progressed=TaskProgressed(task_id="bad id", new_total_progress=999))
    async with dsm.world.jetstream() as js:
        await js.publish(REPORTED, event.SerializeToString())
    await server.exceeds(0, "dsm_dead_letters_waiting", **labels)
    assert await server.value("dsm_dead_letters_total", **labels) > 0
    await dsm.world.query("sprint", "DELETE FROM dead_letter")
    await server.becomes(0, "dsm_dead_letters_waiting", **labels)


async def test_a_breaker_shows_when_it_opens_and_when_it_would_probe(server: Server, dsm: Dsm) -> None:
    labels = {"service": "backlog", "callee": "project"}
    await dsm.world.stop("project")
    request = backlog_service_pb2.GenerateBacklogRequest(project_id="MET-GONE")
    seen = set()
    for _ in range(8):
        await refused(dsm.backlogs.GenerateBacklog(request))
        seen.add(await server.value("dsm_breaker_open", **labels))
    # On a slow machine the time to probe may have come already.
    assert seen >= {0, 1}
    await server.becomes(0.5, "dsm_breaker_open", **labels)
    await dsm.world.start("project")

    async def closed() -> bool:
        await refused(dsm.backlogs.GenerateBacklog(request))
        return await server.value("dsm_breaker_open", **labels) == 0

    await eventually(closed)


async def test_what_is_not_published_is_counted_with_its_age(
    server: Server, dsm: Dsm, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def stuck(*_: object) -> int:
        await asyncio.sleep(0.1)
        return 0

    with monkeypatch.context() as patched:
        patched.setattr(Relay, "_publish", stuck)
        await _work(dsm)
        await server.exceeds(0, "dsm_outbox_depth", service="project")
        await server.exceeds(1, "dsm_outbox_lag_seconds", service="project")
    await server.becomes(0, "dsm_outbox_lag_seconds", service="project")


@pytest.mark.parametrize(("at", "missing"), [("", 5), ("0003", 2), ("0005", 0), ("0007", 0)])
def test_a_database_is_behind_by_the_migrations_that_it_has_not_had(at: str, missing: int) -> None:
    assert Schema(at).behind("0005") == missing
