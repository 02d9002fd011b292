"""Two processes of a service at once: one of them does what may be done once, the other when it cannot any more."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2

from services.cli.names import SERVICES
from tests.faults.arena import count, only_full, seeded
from tests.faults.fleet import PROCESSES, fleet_of
from tests.faults.flows import Scene, make_scene
from tests.faults.healing import Healing, healed, quiet
from tests.faults.history import History
from tests.faults.invariants import check_whole, judge
from tests.faults.load import make_fault_stage, under_load
from tests.faults.machine import Machine, Replica
from tests.harness import eventually

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]

_RELAYS = """
    SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted AND objid = 6583149
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
# A relay that hangs keeps its lock for so long, and a little.
HAND_OVER_SECONDS = 25.0
# How many processes die, of twelve.
KILLS = 12


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, "replicas", "-")


async def test_the_same_project_planned_at_two_replicas_at_once_has_one_sprint(
    machine: Machine, history: History
) -> None:
    others = [await machine.replica(service).ready(60) for service in ("sprint", "backlog")[: count(2, 1)]]
    for _ in range(count(10, 1)):
        scene = await make_scene(machine, history)
        calls = [scene.send("StartSprint", scene.planning(max_tasks=3), replica) for replica in (None, others[0]) * 4]
        entries = await asyncio.gather(*calls)
        told = Counter(entry.reason or entry.code for entry in entries)
        assert told["OK"] == 1, told
        assert set(told) <= {"OK", "SPRINT_ALREADY_OPEN"}, told
        await quiet(machine)
        assert await scene.outcome() == "whole"
    for other in others:
        await other.close()
    await check_whole(machine, history)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGSTOP, marks=only_full)])
async def test_another_replica_publishes_when_the_one_that_did_is_gone(
    machine: Machine, history: History, number: signal.Signals
) -> None:
    scene = await make_scene(machine, history)
    replica = await machine.replica("backlog").ready(60)
    [first] = await machine.query("backlog", _RELAYS)
    with machine.unsupervised():
        machine.signal("backlog", number)
        made = await scene.send("CreateTask", _task(scene), replica)
        assert made.code == "OK"
        await eventually(lambda: _published(machine), HAND_OVER_SECONDS)
        [second] = await machine.query("backlog", _RELAYS)
        assert second != first
        machine.signal("backlog", signal.SIGCONT)
    await machine.ready()
    # The one that hung goes on where it was, and finds that it is not the one any more.
    await scene.send("CreateTask", _task(scene))
    await _hand_back(machine, replica)
    await check_whole(machine, history)


@only_full
async def test_random_kills_of_one_of_two_replicas_lose_nothing(machine: Machine, tmp_path: Path) -> None:
    rng = seeded("kills-of-replicas")
    seed = rng.randrange(10**6)
    healings: list[Healing] = []
    async with fleet_of(machine) as fleet:
        stage = await make_fault_stage(fleet, History(tmp_path, "kills-of-replicas", seed), seed)

        async def strike() -> None:
            for _ in range(KILLS):
                await asyncio.sleep(rng.uniform(1, 4))
                await fleet.restart(rng.choice(SERVICES), rng.randrange(PROCESSES), signal.SIGKILL)
                healings.append(await healed(fleet))

        await under_load(stage, strike, seed=seed)
        (await judge(stage, healings=healings)).passed("random kills of one of two replicas")


def _task(scene: Scene) -> backlog.CreateTaskRequest:
    task = task_pb2.Task(project_id=scene.project_id, title="Another task")
    return backlog.CreateTaskRequest(task=task, request_id=str(uuid4()))


async def _published(machine: Machine) -> bool:
    [row] = await machine.query("backlog", "SELECT count(*) AS n FROM outbox WHERE publish_time IS NULL")
    return bool(row["n"] == 0)


async def _hand_back(machine: Machine, replica: Replica) -> None:
    await replica.close()
    await quiet(machine)
