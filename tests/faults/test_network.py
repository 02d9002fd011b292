"""What another depends on is slow, silent or cut off: deadlines are kept, breakers open, and nothing else suffers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.common.v1 import status_service_pb2
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as orchestrator

from tests.faults.arena import only_full
from tests.faults.flows import Scene, make_scene
from tests.faults.healing import HEAL_SECONDS, quiet
from tests.faults.history import Entry, History
from tests.faults.invariants import check_whole
from tests.faults.load import answer_of, ask
from tests.faults.machine import Machine, Replica
from tests.faults.proxy import Proxy
from tests.harness import eventually

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(300)]

# The chronicle is given up after call_timeout_seconds, the embedding after embed_timeout_seconds, 5 both.
DECISION_SECONDS = 12.0
# Calls that have nothing to do with what is slow; below this nobody sees a difference.
PROBES, UNSEEN_SECONDS = 200, 0.05


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, "network", "-")


# --- slow neighbours -----------------------------------------------------------------------------


async def test_without_embedding_decisions_rest_on_nothing_similar_and_keep_their_time(
    machine: Machine, history: History
) -> None:
    addresses = machine.addresses
    async with Proxy(addresses["embedding"]) as embedding, Proxy(addresses["chronicle"]) as chronicle:
        wiring = {"DSM_EMBEDDING_ADDRESS": embedding.address, "DSM_CHRONICLE_ADDRESS": chronicle.address}
        replica = await machine.replica("orchestrator", **wiring).ready(60)
        scenes = [await make_scene(machine, history) for _ in range(6)]
        embedding.delay(30)
        chronicle.delay(5)
        probing = asyncio.create_task(_compare(machine, history, replica, scenes[0]))
        slow = await asyncio.gather(*(_decide(scene, replica) for scene in scenes))
        await eventually(lambda: _breaker(history, replica, "embedding"), 30)
        quick = await _decide(scenes[0], replica)
        usual, meanwhile = await probing
        await embedding.heal()
        await chronicle.heal()
        await replica.close()
    for entry in (*slow, quick):
        assert entry.code == "OK", entry
        assert entry.told - entry.asked < DECISION_SECONDS, entry
        _rests_on_nothing_similar(answer_of(entry).decision)
    assert quick.told - quick.asked < 2, "a breaker that is open answers at once"
    assert meanwhile < max(2 * usual, UNSEEN_SECONDS), f"p99 {meanwhile * 1000:.0f} ms, else {usual * 1000:.0f} ms"
    await check_whole(machine, history)


async def _decide(scene: Scene, replica: Replica) -> Entry:
    # Nothing is done, so that the scene stays for the next.
    options = decision_pb2.OrchestrateOptions(create_sprint_if_needed=False, create_cronjob=False)
    request = orchestrator.OrchestrateRequest(project_id=scene.project_id, options=options, request_id=str(uuid4()))
    return await scene.send("Orchestrate", request, replica)


def _rests_on_nothing_similar(decision: decision_pb2.DecisionRecord) -> None:
    """I14."""
    metadata = decision.intelligence_metadata
    assert "embedding unavailable" in metadata.degraded_parts, metadata
    assert (metadata.episodes_considered, metadata.embedding_model) == (0, ""), metadata
    for adjustment in decision.adjustments:
        assert adjustment.evidence_source != decision_pb2.EVIDENCE_SOURCE_SIMILAR_PROJECTS, adjustment
        assert not adjustment.evidence_details.episodes_used, adjustment


async def _breaker(history: History, replica: Replica, name: str) -> bool:
    """Whether a replica's breaker for another service is open."""
    entry = await ask(replica.channel, history, "operator", "GetStatus", status_service_pb2.GetStatusRequest())
    callees = [callee for service in answer_of(entry).services for callee in service.callees if callee.service == name]
    return any(callee.breaker == status_service_pb2.BREAKER_STATE_OPEN for callee in callees)


async def _compare(machine: Machine, history: History, replica: Replica, scene: Scene) -> tuple[float, float]:
    """99th percentile of a call that needs nobody else: of a replica that nothing is wrong with, and of this one."""
    request = orchestrator.GetDecisionModeRequest(project_id=scene.project_id)
    seconds: tuple[list[float], list[float]] = [], []
    for _ in range(PROBES):
        for taken, channel in zip(seconds, (await machine.channel("orchestrator"), replica.channel), strict=True):
            entry = await ask(channel, history, "probe", "GetDecisionMode", request)
            assert entry.code == "OK", entry
            taken.append(entry.told - entry.asked)
        await asyncio.sleep(0.02)
    usual, meanwhile = (sorted(taken)[int(len(taken) * 0.99) - 1] for taken in seconds)
    return usual, meanwhile


@only_full
async def test_a_planning_whose_backlog_is_slow_ends_at_its_deadline_and_is_whole_or_undone(
    machine: Machine, history: History
) -> None:
    async with Proxy(machine.addresses["backlog"]) as proxy:
        replica = await machine.replica("sprint", DSM_BACKLOG_ADDRESS=proxy.address).ready(60)
        for delay in (0.4, 3.0):
            scene = await make_scene(machine, history)
            proxy.delay(delay)
            began = time.monotonic()
            entry = await ask(
                replica.channel, history, "planner", "StartSprint", scene.planning(max_tasks=3), seconds=1.5
            )
            assert entry.code in ("DEADLINE_EXCEEDED", "UNAVAILABLE", "OK"), entry
            assert time.monotonic() - began < 3
            proxy.delay(0)
            await quiet(machine)
            assert await scene.outcome() in ("whole", "none")
        await replica.close()


# --- PostgreSQL behind a bad line ---------------------------------------------------------------


@asynccontextmanager
async def _behind(machine: Machine, service: str) -> AsyncIterator[tuple[Replica, Proxy]]:
    """A replica that reaches its database through a proxy."""
    url = urlsplit(machine.database_url(service))
    async with Proxy(f"{url.hostname}:{url.port}") as proxy:
        address = urlunsplit(url._replace(netloc=f"{url.username}@{proxy.address}"))
        replica = await machine.replica(service, **{f"DSM_{service.upper()}_DATABASE_URL": address}).ready(60)
        yield replica, proxy
        await replica.close()


async def _cut(proxy: Proxy) -> None:
    proxy.cut()


async def _reset(proxy: Proxy) -> None:
    proxy.reset()


async def _blackhole(proxy: Proxy) -> None:
    proxy.blackhole()


async def _refuse(proxy: Proxy) -> None:
    await proxy.refuse()


async def _delay(proxy: Proxy) -> None:
    proxy.delay(20)


@only_full
@pytest.mark.parametrize("fault", [_cut, _reset, _blackhole, _refuse, _delay])
async def test_a_bad_line_to_the_database_costs_unavailable_and_heals(
    machine: Machine, history: History, fault: Callable[[Proxy], Awaitable[None]]
) -> None:
    scene = await make_scene(machine, history)
    async with _behind(machine, "backlog") as (replica, proxy):
        await fault(proxy)
        entries = []
        for _ in range(4):
            many = (_create(scene, replica) for _ in range(10))
            entries += await asyncio.gather(*many)
        codes = {entry.code for entry in entries}
        assert codes <= {"OK", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}, entries
        assert max(entry.told - entry.asked for entry in entries) < 4
        await proxy.heal()
        began = time.monotonic()

        async def answered() -> bool:
            return (await _create(scene, replica)).code == "OK"

        await eventually(answered, HEAL_SECONDS)
        print(f"{fault.__name__}: {sorted(codes)}, healed after {time.monotonic() - began:.1f} s")
    await quiet(machine)
    await _none_lost(machine, history, scene)
    await check_whole(machine, history)


async def _create(scene: Scene, replica: Replica) -> Entry:
    task = task_pb2.Task(project_id=scene.project_id, title="A task")
    request = backlog.CreateTaskRequest(task=task, request_id=str(uuid4()))
    return await ask(replica.channel, scene.history, "client", "CreateTask", request, seconds=3)


async def _none_lost(machine: Machine, history: History, scene: Scene) -> None:
    rows = await machine.query(
        "backlog", "SELECT task_id FROM task WHERE project_id = %(id)s", {"id": scene.project_id}
    )
    there = {row["task_id"] for row in rows}
    told = [answer_of(entry).task.task_id for entry in history.entries if entry.method == "CreateTask" and entry.body]
    assert set(told) <= there
    assert len(set(told)) == len(told)
