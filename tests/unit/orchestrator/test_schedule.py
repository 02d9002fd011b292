"""Schedules without a database: due times over clock changes, missed runs, names."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.kit.errors import DependencyUnavailable, FailedPrecondition, RemoteError
from services.orchestrator.domain.schedule import (
    NAME_LENGTH,
    ON_TIME,
    RETRY,
    MissedRuns,
    Policy,
    Timer,
    check_schedule,
    cron_job_name,
    kubernetes_schedule,
    last_run,
    next_run,
    run_ended,
    run_failed,
    run_id,
    run_missed,
)
from services.orchestrator.domain.situation import Options
from services.orchestrator.domain.timetable import Timetable

BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str, zone: str = "UTC", fold: int = 0) -> datetime:
    """A wall-clock time in a zone; fold 1 = the second time that it comes."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def runs(schedule: str, zone: str, after: datetime, count: int) -> list[datetime]:
    found = []
    for _ in range(count):
        run = next_run(schedule, zone, after)
        assert run is not None
        found.append(run)
        after = run
    return found


# --- when it is due ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schedule", "zone", "after", "expected"),
    [
        # Weekdays only: Friday, then Monday.
        ("0 14 * * 1-5", BERLIN, at("2026-01-09T14:00", BERLIN), at("2026-01-12T14:00", BERLIN)),
        ("0 14 * * 1-5", BERLIN, at("2026-01-09T13:59", BERLIN), at("2026-01-09T14:00", BERLIN)),
        # Sunday by both of its numbers.
        ("0 9 * * 7", "UTC", at("2026-01-05T00:00"), at("2026-01-11T09:00")),
        ("0 9 * * 0", "UTC", at("2026-01-05T00:00"), at("2026-01-11T09:00")),
        # 29 February comes in leap years; 2100 is none.
        ("0 9 29 2 *", "UTC", at("2026-01-05T00:00"), at("2028-02-29T09:00")),
        ("0 9 29 2 *", "UTC", at("2096-02-29T09:00"), at("2104-02-29T09:00")),
        # The year's end.
        ("0 0 * * *", BERLIN, at("2026-12-31T12:00", BERLIN), at("2027-01-01T00:00", BERLIN)),
        ("59 23 31 12 *", NEW_YORK, at("2026-12-31T23:59", NEW_YORK), at("2027-12-31T23:59", NEW_YORK)),
        # The same wall-clock time in summer and winter.
        ("0 14 * * *", BERLIN, at("2026-03-28T14:00", BERLIN), at("2026-03-29T14:00", BERLIN)),
        ("0 14 * * *", BERLIN, at("2026-10-24T14:00", BERLIN), at("2026-10-25T14:00", BERLIN)),
        # 02:30 does not come on the last Sunday of March: the run is right after the gap.
        ("30 2 * * *", BERLIN, at("2026-03-28T12:00", BERLIN), at("2026-03-29T03:00", BERLIN)),
        ("30 2 * * *", BERLIN, at("2026-03-29T03:00", BERLIN), at("2026-03-30T02:30", BERLIN)),
        # 02:30 comes twice on the last Sunday of October: the run is the first time, and only then.
        ("30 2 * * *", BERLIN, at("2026-10-24T12:00", BERLIN), at("2026-10-25T02:30", BERLIN)),
        ("30 2 * * *", BERLIN, at("2026-10-25T02:30", BERLIN), at("2026-10-26T02:30", BERLIN)),
        ("30 2 * * *", BERLIN, at("2026-10-25T02:10", BERLIN, fold=1), at("2026-10-26T02:30", BERLIN)),
        # A clock that moves by half an hour only.
        ("15 2 * * *", LORD_HOWE, at("2026-10-03T12:00", LORD_HOWE), at("2026-10-04T02:30", LORD_HOWE)),
    ],
)
def test_the_next_run(schedule: str, zone: str, after: datetime, expected: datetime) -> None:
    assert next_run(schedule, zone, after) == expected
    assert last_run(schedule, zone, expected) == expected
    assert last_run(schedule, zone, expected - timedelta(seconds=1)) != expected


def test_every_half_hour_comes_also_in_the_hour_that_comes_twice() -> None:
    found = runs("*/30 * * * *", BERLIN, at("2026-10-25T01:30", BERLIN), 5)
    assert [(later - first) for first, later in pairwise(found)] == [timedelta(minutes=30)] * 4
    assert [run.astimezone(ZoneInfo(BERLIN)).strftime("%H:%M") for run in found] == [
        "02:00",
        "02:30",
        "02:00",
        "02:30",
        "03:00",
    ]


def test_a_day_that_never_comes_is_refused_or_has_no_run() -> None:
    assert next_run("0 0 29 2 *", "UTC", at("2026-01-01T00:00")) is not None
    assert check_schedule("  0 14   * *  MON-fri ", "schedule") == "0 14 * * MON-fri"


schedules = st.builds(
    "{} {} {} {} {}".format,
    st.sampled_from(["0", "30", "*", "*/7", "5,50"]),
    st.sampled_from(["0", "2", "*", "1-3", "23"]),
    st.sampled_from(["*", "1", "29", "*/5"]),
    st.sampled_from(["*", "3", "OCT", "*/4"]),
    st.sampled_from(["*", "0", "7", "1-5", "SUN"]),
)
zones = st.sampled_from(["UTC", BERLIN, NEW_YORK, LORD_HOWE, "Pacific/Auckland", "Asia/Kathmandu", "Africa/Casablanca"])
moments = st.datetimes(datetime(2024, 1, 1), datetime(2028, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001


@settings(max_examples=150, deadline=None)
@given(schedules, zones, moments)
def test_runs_go_on_and_the_last_one_is_found_again(schedule: str, zone: str, moment: datetime) -> None:
    first, second = runs(schedule, zone, moment, 2)
    assert moment < first < second
    assert last_run(schedule, zone, first) == first
    assert last_run(schedule, zone, second - timedelta(seconds=1)) == first


# --- missed runs ------------------------------------------------------------------------------

DAILY = Timer("0 14 * * 1-5", BERLIN, date(2026, 1, 5), date(2026, 1, 18))
FRIDAY, MONDAY = at("2026-01-09T14:00", BERLIN), at("2026-01-12T14:00", BERLIN)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("missed", "deadline", "late", "expected"),
    [
        (MissedRuns.RUN_ONCE, HOUR, timedelta(0), FRIDAY),
        (MissedRuns.RUN_ONCE, HOUR, HOUR, FRIDAY),
        (MissedRuns.RUN_ONCE, HOUR, HOUR + timedelta(seconds=1), None),
        # A deadline shorter than what counts as on time does not make runs fail that came in time.
        (MissedRuns.RUN_ONCE, timedelta(0), ON_TIME, FRIDAY),
        (MissedRuns.SKIP, HOUR, ON_TIME, FRIDAY),
        (MissedRuns.SKIP, HOUR, ON_TIME + timedelta(seconds=1), None),
        # Away over the weekend: Monday's run stands for Friday's.
        (MissedRuns.RUN_ONCE, timedelta(days=7), timedelta(days=3), MONDAY),
        (MissedRuns.RUN_ONCE, timedelta(days=7), timedelta(days=2, hours=23), FRIDAY),
        (MissedRuns.SKIP, timedelta(days=7), timedelta(days=3), MONDAY),
    ],
)
def test_a_missed_run_is_made_up_for_or_not(
    missed: MissedRuns, deadline: timedelta, late: timedelta, expected: datetime | None
) -> None:
    assert DAILY.due(FRIDAY, FRIDAY + late, Policy(missed, deadline)) == expected


def test_a_sprint_has_runs_on_its_own_days_only() -> None:
    assert DAILY.next_after(at("2025-12-01T00:00")) == at("2026-01-05T14:00", BERLIN)
    assert DAILY.next_after(at("2026-01-16T14:00", BERLIN)) is None
    # Long after its end the last one missed is still that of its last working day.
    week = Policy(MissedRuns.RUN_ONCE, timedelta(days=60))
    assert DAILY.due(FRIDAY, at("2026-02-20T09:00"), week) == at("2026-01-16T14:00", BERLIN)
    every_minute = Timer("* * * * *", BERLIN, date(2026, 1, 5), date(2026, 1, 18))
    assert every_minute.next_after(at("2026-01-01T00:00")) == at("2026-01-05T00:00", BERLIN)
    assert every_minute.due(FRIDAY, at("2026-01-30T09:00"), week) == at("2026-01-18T23:59", BERLIN)


def test_the_day_of_a_run_is_the_day_where_the_sprint_is() -> None:
    assert Timer("0 1 * * *", "Pacific/Auckland").day_of(at("2026-01-08T12:00")) == date(2026, 1, 9)


def test_the_id_of_a_run_is_that_of_its_instant() -> None:
    assert run_id("P-S01", FRIDAY) == run_id("P-S01", FRIDAY.astimezone(ZoneInfo(NEW_YORK)))
    assert len({run_id("P-S01", FRIDAY), run_id("P-S01", MONDAY), run_id("P-S02", FRIDAY)}) == 3


def test_what_a_run_comes_to() -> None:
    now = FRIDAY + timedelta(seconds=5)
    held = run_ended(DAILY, FRIDAY, now, "Held.")
    assert (held.next_run_time, held.ran, held.result) == (MONDAY, FRIDAY, "Held.")
    missed = run_missed(DAILY, FRIDAY, MONDAY - timedelta(hours=3), Policy())
    assert (missed.next_run_time, missed.ran) == (MONDAY, None)
    day_off = run_failed(DAILY, FRIDAY, FRIDAY, now, RemoteError(FailedPrecondition.code, "NOT_A_WORKING_DAY", "", {}))
    assert (day_off.next_run_time, day_off.ran) == (MONDAY, FRIDAY)
    away = run_failed(DAILY, FRIDAY, FRIDAY, now, DependencyUnavailable("sprint", "RunDailyScrum", "open"))
    assert (away.next_run_time, away.retry_time, away.ran) == (FRIDAY, now + RETRY, None)


# --- names and Kubernetes ---------------------------------------------------------------------


def test_a_timetable_moves_to_another_time_zone_and_loses_no_run_that_is_due() -> None:
    now = at("2026-03-02 12:00")
    waiting = Timetable("P", True, Timer("0 6 * * *", "UTC"), Options(), now, next_run_time=at("2026-03-03 06:00"))
    moved = waiting.moved(BERLIN, now)
    assert (moved.timer, moved.next_run_time) == (Timer("0 6 * * *", BERLIN), at("2026-03-03 06:00", BERLIN))
    due = replace(waiting, next_run_time=at("2026-03-02 06:00"))
    assert due.moved(BERLIN, now).next_run_time == due.next_run_time
    off = replace(waiting, enabled=False, next_run_time=None)
    assert off.moved(BERLIN, now).next_run_time is None


@pytest.mark.parametrize(
    ("sprint_id", "name"),
    [
        ("TEST-001-S09", "run-dailyscrum-test-001-s09"),
        ("A" * 33 + "-S01", "run-dailyscrum-" + "a" * 33 + "-s01"),
    ],
)
def test_a_cron_job_is_named_after_its_sprint(sprint_id: str, name: str) -> None:
    assert cron_job_name(sprint_id) == name


def test_long_names_stay_apart() -> None:
    long = ["A" * 32 + f"-S{number}" for number in range(100, 400)]
    names = {cron_job_name(sprint_id) for sprint_id in long}
    assert len(names) == len(long)
    assert {len(name) for name in names} <= {NAME_LENGTH, NAME_LENGTH - 1}


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("0 14 * * 1-5", "0 14 * * 1-5"),
        ("0 14 * * 7", "0 14 * * 0"),
        ("0 14 * * 5-7", "0 14 * * 0,5,6"),
        ("0 7 * * MON", "0 7 * * MON"),
    ],
)
def test_kubernetes_knows_sunday_as_0_only(schedule: str, expected: str) -> None:
    assert kubernetes_schedule(schedule) == expected
