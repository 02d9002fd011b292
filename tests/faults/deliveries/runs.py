"""Scheduled runs whose process dies when they are done and it has not noted that yet."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub

from tests.faults.arena import Arena
from tests.faults.clock import Clock
from tests.harness import eventually
from tests.service.sprint.sprints import make

ZONE = ZoneInfo("America/New_York")
DUE = "0 14 * * *"
# A year to come, as a claim is free from the present on; summer time begins on 14 March.
FIRST = date(2032, 3, 8)
# How often the orchestrators of these tests look for what is due.
POLL_SECONDS = "0.1"
# How much of the services' time passes with each look: claims and retries of dead processes end with it.
STEP = timedelta(seconds=2)
_DECIDED = "SELECT decision_time FROM decision WHERE project_id = %(id)s ORDER BY 1"
_OVERDUE = """
    SELECT next_run_time FROM cron_job WHERE project_id = ANY(%(ids)s) AND next_run_time <= %(now)s
    UNION ALL SELECT next_run_time FROM orchestration_schedule
    WHERE project_id = ANY(%(ids)s) AND next_run_time <= %(now)s
"""


def at(day: date, hour: int) -> datetime:
    """An hour of a day in the projects' zone."""
    return datetime.combine(day, time(hour), ZONE).astimezone(UTC)


async def orchestrate_daily(arena: Arena, project_id: str) -> None:
    """Have a project orchestrated every day at two, to do nothing."""
    stub: Any = OrchestratorServiceStub(await arena.channel("orchestrator"))
    nothing = decision_pb2.OrchestrateOptions(create_sprint_if_needed=False)
    request = pb.SetOrchestrationScheduleRequest(project_id=project_id, enabled=True, schedule=DUE, options=nothing)
    await stub.SetOrchestrationSchedule(request, timeout=60)


async def held(arena: Arena, clock: Clock, project_ids: Sequence[str]) -> bool:
    """Whether nothing is due any more; otherwise some time passes."""
    if await arena.query("orchestrator", _OVERDUE, {"ids": list(project_ids), "now": clock.now}):
        clock.advance(STEP)
        return False
    return True


async def days_decided(arena: Arena, project_id: str) -> list[date]:
    """The days on which a project was decided about, once for each decision."""
    rows = await arena.query("orchestrator", _DECIDED, {"id": project_id})
    return [row["decision_time"].astimezone(ZONE).date() for row in rows]


async def decides_while_dying(arena: Arena, file: Path, days: int) -> list[str]:
    """What is wrong after some days of one orchestration each, whose process dies as soon as it has decided."""
    dates = [FIRST + timedelta(days=number) for number in range(days)]
    clock = Clock(file, at(FIRST, 8))
    await arena.start("project", "backlog", "sprint", "chronicle")
    await _orchestrator(arena, clock)
    try:
        idle = (await make(arena, points=[1, 1], time_zone=ZONE.key)).project_id
        await orchestrate_daily(arena, idle)
        for day in dates:
            clock.set(at(day, 13))
            await _orchestrator(arena, clock, failpoints="outbox.before-publish=kill@1")
            dying = arena.of("orchestrator")
            clock.set(at(day, 14))
            await dying.died()
            await _orchestrator(arena, clock)
            await eventually(partial(held, arena, clock, [idle]), 60)
        decisions = Counter(await days_decided(arena, idle))
    finally:
        # Those that come next live in the present.
        await arena.stop("orchestrator")
    return [f"{decisions[day]} decisions of {day}" for day in dates if decisions[day] != 1]


async def _orchestrator(arena: Arena, clock: Clock, failpoints: str = "") -> None:
    await arena.stop("orchestrator")
    await arena.launch("orchestrator", failpoints=failpoints, clock=clock.file, DSM_SCHEDULE_POLL_SECONDS=POLL_SECONDS)
