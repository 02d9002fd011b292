"""kill -9 of a service at any step of a planning, a closing or a change of scope: it ends whole or not at all."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from tests.faults.arena import FULL, only_full, seeded
from tests.faults.flows import FLOWS, Flow, make_scene
from tests.faults.healing import FLOW_SECONDS, quiet
from tests.faults.history import Entry, History
from tests.faults.invariants import check_whole
from tests.faults.machine import Machine

pytestmark = [pytest.mark.slow, pytest.mark.fault]

STEPS = [(flow, f"saga.{flow.kind}.{point}=kill@1") for flow in FLOWS for point in flow.points]
# Killed after it has done what it was asked for, and before it could say so; the number counts the calls of a planning.
NEIGHBOURS = [
    ("backlog", "gate.before-answer=kill@1"),
    ("backlog", "gate.before-answer=kill@2"),
    ("project", "gate.before-answer=kill@1"),
    ("project", "gate.before-answer=kill@2"),
]
TOGETHER = 4


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path, "flows", "-")


async def _break_step(machine: Machine, history: History, flow: Flow, failpoint: str) -> str:
    """Have one replica of the sprint service die at a step; what became of it, for the table."""
    scene = await make_scene(machine, history)
    await flow.prepare(scene)
    replica = await machine.replica("sprint", DSM_FAILPOINTS=failpoint).ready(60)
    name, request = flow.request(scene)
    entry = await scene.send(name, request, replica)
    died = time.monotonic()
    assert await replica.ended(), f"{failpoint} was not reached: {entry}"
    assert entry.code == "UNAVAILABLE", entry
    await quiet(machine)
    happened, seconds = await flow.happened(scene), time.monotonic() - died
    assert happened or flow.undoable
    assert seconds < FLOW_SECONDS
    # What was told nothing is asked again, with the same request_id: it is done now, was done, or is refused.
    again = await scene.send(name, request)
    assert again.code == "OK" or not happened, again
    await quiet(machine)
    assert again.code != "OK" or await flow.happened(scene)
    return f"{failpoint:<44} {'done' if happened else 'undone':<7} after {seconds:4.1f} s"


async def _break_neighbour(machine: Machine, history: History, service: str, failpoint: str) -> str:
    """Have a replica of what a planning calls die after a call."""
    scene = await make_scene(machine, history)
    neighbour = await machine.replica(service, DSM_FAILPOINTS=failpoint).ready(60)
    replica = await machine.replica("sprint", **{f"DSM_{service.upper()}_ADDRESS": neighbour.address}).ready(60)
    entry = await scene.send("StartSprint", scene.planning(max_tasks=3), replica)
    assert await neighbour.ended(), f"{failpoint} was not reached: {entry}"
    assert _is_away(entry), entry
    # Its sprint service cannot undo it without the backlog; the other one can, once it takes it over.
    await replica.close()
    await quiet(machine)
    assert await scene.outcome() in ("whole", "none")
    return f"{service} {failpoint:<36} {await scene.outcome()}"


def _is_away(entry: Entry) -> bool:
    return entry.code in ("UNAVAILABLE", "DEADLINE_EXCEEDED")


@pytest.mark.timeout(600)
async def test_a_flow_killed_at_any_step_is_whole_or_undone(machine: Machine, history: History) -> None:
    chosen = STEPS if FULL else seeded("steps").sample(STEPS, TOGETHER)
    for first in range(0, len(chosen), TOGETHER):
        group = chosen[first : first + TOGETHER]
        for line in await asyncio.gather(*(_break_step(machine, history, *step) for step in group)):
            print(line)
    await check_whole(machine, history)


@only_full
@pytest.mark.timeout(600)
async def test_a_planning_whose_neighbour_is_killed_is_whole_or_undone(machine: Machine, history: History) -> None:
    for line in await asyncio.gather(*(_break_neighbour(machine, history, *one) for one in NEIGHBOURS)):
        print(line)
    await check_whole(machine, history)
