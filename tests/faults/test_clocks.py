"""The clock jumps, in time zones far apart, over the ends of summer time, of February and of the year (I9)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import grpc
import pytest
from dsm.sprint.v1 import sprint_service_pb2 as pb
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from services.kit import status
from tests.faults.arena import FULL, Arena, count, seeded
from tests.faults.clock import Clock
from tests.service.sprint.sprints import make

pytestmark = [pytest.mark.slow, pytest.mark.fault, pytest.mark.timeout(900)]


@dataclass(frozen=True)
class Case:
    """A sprint in a time zone, and the days off in it that are no weekend."""

    time_zone: str
    start: str
    end: str
    days_off: tuple[str, ...] = ()


CASES = (
    # Summer time begins on 9 March and ends on 2 November.
    Case("America/New_York", "2026-03-02", "2026-03-15"),
    Case("America/New_York", "2026-10-26", "2026-11-08"),
    # By half an hour only.
    Case("Australia/Lord_Howe", "2026-03-30", "2026-04-12"),
    # As far from UTC as there is, on both sides of the date line.
    Case("Pacific/Kiritimati", "2026-03-02", "2026-03-15"),
    Case("Pacific/Pago_Pago", "2026-03-02", "2026-03-15"),
    # A leap day inside, and at an end.
    Case("Asia/Kolkata", "2028-02-21", "2028-03-05", ("2028-02-21",)),
    Case("Europe/Berlin", "2028-02-16", "2028-02-29", ("2028-02-21",)),
    # Over the end of the year.
    Case("Pacific/Auckland", "2026-12-21", "2027-01-03", ("2026-12-25", "2027-01-01")),
)


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    """A clock at the beginning of 2026."""
    return Clock(tmp_path / "now.txt", datetime(2026, 1, 1, tzinfo=UTC))


async def test_a_day_has_one_report_whatever_the_clock_does(arena: Arena, clock: Clock) -> None:
    rng = seeded("clocks")
    await arena.stop("sprint")
    await arena.launch("sprint", clock=clock.file)
    stub: Any = SprintServiceStub(await arena.channel("sprint"))
    for case in CASES if FULL else CASES[1::4]:
        zone, first = ZoneInfo(case.time_zone), date.fromisoformat(case.start)
        scene = await make(arena, points=[1], time_zone=case.time_zone)
        clock.set(_noon(first, zone))
        sprint = (await scene.start(start_date=case.start, duration_weeks=2)).sprint
        assert sprint.end_date == case.end
        held: dict[str, str] = {}
        now = _noon(first, zone) - timedelta(days=2)
        while now < _noon(date.fromisoformat(case.end), zone) + timedelta(days=2):
            # Mostly forwards by some hours, now and then some days to and fro.
            now += timedelta(hours=rng.choice(count(1, 0) * [1, 2, 3] + [7, 11, 20])) + rng.choice(_JUMPS)
            clock.set(now)
            told = await _hold(stub, sprint.sprint_id)
            day = now.astimezone(zone).date().isoformat()
            assert told == _expected(case, day, held, told), f"{case} at {now}: held {held}"
            if told[0]:
                held[day] = told[1]
        rows = await arena.query(
            "sprint",
            "SELECT report_date::text AS day, report_id::text AS id FROM daily_scrum WHERE sprint_id = %(id)s",
            {"id": sprint.sprint_id},
        )
        assert {row["day"]: row["id"] for row in rows} == held
        assert len(rows) == len(held) > 3
        print(f"{case.time_zone} {case.start} to {case.end}: {len(held)} reports")
    await arena.stop("sprint")


_JUMPS = [timedelta()] * 12 + [timedelta(days=days) for days in (-5, -2, -1, 1, 2)]


def _noon(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=zone).astimezone(UTC)


async def _hold(stub: Any, sprint_id: str) -> tuple[str, str]:
    """Day and id of the report that a daily scrum of today gives, or "" and why there is none."""
    try:
        answer = await stub.RunDailyScrum(pb.RunDailyScrumRequest(sprint_id=sprint_id))
    except grpc.aio.AioRpcError as error:
        info = status.error_info(error)
        return "", info.reason if info else error.code().name
    return answer.report.report_date, answer.report_id


def _expected(case: Case, day: str, held: dict[str, str], told: tuple[str, str]) -> tuple[str, str]:
    """What must be told on a day, by the calendar alone; the id of a new report is its own."""
    if day in held:
        return day, held[day]
    if not case.start <= day <= case.end or (held and day < max(held)):
        return "", "DATE_OUT_OF_RANGE"
    if date.fromisoformat(day).weekday() >= 5 or day in case.days_off:
        return "", "NOT_A_WORKING_DAY"
    return day, told[1]
