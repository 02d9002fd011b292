"""What is due by a schedule is held once, whoever dies meanwhile, and nothing is held for a closed sprint (I9)."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import pytest
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.sprint.v1 import sprint_service_pb2 as sprint_pb

from tests.faults.arena import Arena, Process, only_full, seeded
from tests.faults.clock import Clock
from tests.faults.deliveries.runs import (
    DUE,
    FIRST,
    POLL_SECONDS,
    STEP,
    ZONE,
    at,
    days_decided,
    decides_while_dying,
    held,
    orchestrate_daily,
)
from tests.harness import eventually
from tests.service.sprint.sprints import Fixture, make

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]

# Two weeks, with the beginning of summer time.
DAYS = [FIRST + timedelta(days=number) for number in range(13)]
# From this day on, on which it is closed, the sprint has no daily scrums.
CLOSED = DAYS[-3]


@dataclass
class Replicas:
    """The sprint service and two orchestrators, all at one clock."""

    arena: Arena
    clock: Clock
    orchestrators: list[Process] = field(default_factory=list)

    async def start(self) -> None:
        """Start all three in place of those that run."""
        await self.arena.stop("orchestrator")
        await self.start_sprint()
        self.orchestrators = [await self._orchestrator(beside=beside) for beside in (False, True)]

    async def stop(self) -> None:
        """Stop all three."""
        await self.arena.stop("sprint")
        await asyncio.gather(*(process.kill() for process in self.orchestrators))

    async def start_sprint(self, failpoints: str = "") -> Process:
        """Start the sprint service in place of the one that ran."""
        await self.arena.stop("sprint")
        return await self.arena.launch("sprint", failpoints=failpoints, clock=self.clock.file)

    async def kill(self, rng: Random) -> str:
        """kill -9 of one of them at any moment of a run, and start it again; its name, for the table."""
        await asyncio.sleep(rng.uniform(0, 0.6))
        which = rng.randrange(3)
        if which == 2:
            await self.start_sprint()
            return "sprint"
        await self.orchestrators[which].kill()
        self.orchestrators[which] = await self._orchestrator(beside=True)
        return "orchestrator"

    async def _orchestrator(self, *, beside: bool) -> Process:
        return await self.arena.launch(
            "orchestrator", beside=beside, clock=self.clock.file, DSM_SCHEDULE_POLL_SECONDS=POLL_SECONDS
        )


@only_full
async def test_what_is_due_is_held_once_whoever_dies(arena: Arena, tmp_path: Path) -> None:
    rng, kills = seeded("schedules"), Counter[str]()
    await arena.start("project", "backlog", "chronicle")
    replicas = Replicas(arena, Clock(tmp_path / "now.txt", at(FIRST, 8)))
    try:
        await replicas.start()
        team, idle = [await make(arena, points=[1, 1], time_zone=ZONE.key) for _ in range(2)]
        await _schedule(arena, team, idle)
        for day in DAYS:
            replicas.clock.set(at(day, 13))
            if day == CLOSED:
                closing = sprint_pb.CloseSprintRequest(sprint_id=f"{team.project_id}-S01")
                await team.sprints.CloseSprint(closing, timeout=30)
            elif rng.random() < 0.3:
                await _die_before_answering(replicas, day)
                kills["sprint, before it answered"] += 1
            replicas.clock.set(max(replicas.clock.now, at(day, 14)))
            killing = asyncio.create_task(replicas.kill(rng))
            await eventually(partial(held, arena, replicas.clock, [team.project_id, idle.project_id]), 60)
            kills[await killing] += 1
        print(f"schedules: {len(DAYS)} days, kills {dict(kills)}")
        await _judge(arena, team, idle)
    finally:
        # Those that come next live in the present.
        await replicas.stop()


@only_full
async def test_what_is_decided_is_decided_once_though_its_process_dies_deciding(arena: Arena, tmp_path: Path) -> None:
    assert await decides_while_dying(arena, tmp_path / "now.txt", days=3) == []


async def _die_before_answering(replicas: Replicas, day: date) -> None:
    """Let the sprint service die when it has done what it was asked for, mostly the scrum, and has not said so."""
    dying = await replicas.start_sprint("gate.before-answer=kill@1")
    replicas.clock.set(at(day, 14))

    def dead() -> bool:
        replicas.clock.advance(STEP)
        return not dying.running

    await eventually(dead, 60)
    await dying.died()
    await replicas.start_sprint()


async def _schedule(arena: Arena, team: Fixture, idle: Fixture) -> None:
    """Have a sprint with a daily scrum at two, and another project orchestrated at the same moment, to do nothing."""
    stub: Any = OrchestratorServiceStub(await arena.channel("orchestrator"))
    options = decision_pb2.OrchestrateOptions(schedule=DUE, sprint_duration_weeks=2)
    answer = await stub.Orchestrate(pb.OrchestrateRequest(project_id=team.project_id, options=options), timeout=60)
    assert answer.decision.sprint_id == f"{team.project_id}-S01", answer
    await orchestrate_daily(arena, idle.project_id)


async def _judge(arena: Arena, team: Fixture, idle: Fixture) -> None:
    mine = {"id": team.project_id}
    sql = "SELECT report_id::text AS id, report_date AS day FROM daily_scrum JOIN sprint USING (sprint_id)"
    rows = await arena.query("sprint", f"{sql} WHERE project_id = %(id)s ORDER BY day", mine)
    assert [row["day"] for row in rows] == [day for day in DAYS if day < CLOSED and day.weekday() < 5]
    reports = sorted(row["id"] for row in rows)
    sql = "SELECT aggregate_id AS id FROM outbox WHERE subject = 'dsm.sprint.v1.scrum.reported'"
    told = await arena.query("sprint", f"{sql} AND project_id = %(id)s", mine)
    assert sorted(row["id"] for row in told) == reports
    sql = "SELECT report_id::text AS id FROM scrum_report WHERE project_id = %(id)s"

    async def kept() -> bool:
        return sorted(row["id"] for row in await arena.query("chronicle", sql, mine)) == reports

    await eventually(kept)
    assert await arena.query("orchestrator", "SELECT 1 FROM cron_job WHERE project_id = %(id)s", mine) == []
    assert await days_decided(arena, idle.project_id) == DAYS
