"""Schedules: when a cron expression is due in a time zone, and what becomes of runs that were missed."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from services.kit.errors import DsmError
from services.orchestrator.domain.errors import UNDECIDED, ScheduleInvalid

DEFAULT_SCRUM_SCHEDULE = "0 14 * * 1-5"
# A run that begins so late is not a missed one: cron's own grain is a minute.
ON_TIME = timedelta(minutes=2)
# After so long a run whose callee was away is tried again.
RETRY = timedelta(seconds=30)
# What Kubernetes allows a CronJob, so that the names of its Jobs fit a label.
NAME_LENGTH = 52
_NAME_PREFIX = "run-dailyscrum-"
_RUNS = UUID("6b3f0c6e-0c5a-4f4e-9a63-2f1f4f6f8f0d")
_FIELDS = 5
_LONGEST_RESULT = 1000
_SECOND = timedelta(seconds=1)


class Runner(StrEnum):
    """What runs the daily scrums: a CronJob of Kubernetes, or the orchestrator itself."""

    KUBERNETES = "KUBERNETES"
    SERVICE = "SERVICE"


class MissedRuns(StrEnum):
    """What becomes of runs that nobody was there to begin: the last one is made up for, or none is."""

    RUN_ONCE = "RUN_ONCE"
    SKIP = "SKIP"


class CronJobState(StrEnum):
    """Whether a cron job is in place; those that are not are tried again."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    FAILED = "FAILED"


@dataclass(frozen=True)
class Keeping:
    """What runs the daily scrums here, and in which namespace of Kubernetes ("" = none)."""

    runner: Runner = Runner.SERVICE
    namespace: str = ""


@dataclass(frozen=True)
class Policy:
    """How runs that were missed are treated; the deadline is how late a run may still begin."""

    missed: MissedRuns = MissedRuns.RUN_ONCE
    starting_deadline: timedelta = timedelta(days=1)

    @property
    def patience(self) -> timedelta:
        """How late a run may begin."""
        return ON_TIME if self.missed is MissedRuns.SKIP else max(ON_TIME, self.starting_deadline)


@dataclass(frozen=True)
class Timer:
    """A cron expression in a time zone, from the first to the last day there, both included (None = no end)."""

    schedule: str
    time_zone: str
    first_day: date | None = None
    last_day: date | None = None

    def next_after(self, moment: datetime) -> datetime | None:
        """The next run after an instant; None if there is none on the timer's days."""
        if self.first_day:
            moment = max(moment, self._midnight(self.first_day) - _SECOND)
        run = next_run(self.schedule, self.time_zone, moment)
        return None if run is None or (self.last_day and self.day_of(run) > self.last_day) else run

    def due(self, planned: datetime, now: datetime, policy: Policy) -> datetime | None:
        """The run to be held at `now`, after none was since the one planned; None if it is too late for any.

        Of several that were missed it is the last one: each later run stands for those before it.
        """
        until = now if self.last_day is None else min(now, self._midnight(self.last_day + timedelta(days=1)) - _SECOND)
        last = max(planned, last_run(self.schedule, self.time_zone, until) or planned)
        return last if now - last <= policy.patience else None

    def day_of(self, run: datetime) -> date:
        """The calendar day of a run where the timer ticks."""
        return run.astimezone(ZoneInfo(self.time_zone)).date()

    def _midnight(self, day: date) -> datetime:
        return datetime.combine(day, time(), ZoneInfo(self.time_zone)).astimezone(UTC)


@dataclass(frozen=True)
class Wish:
    """A project's wish that its daily scrums run by themselves; it outlives the sprints."""

    project_id: str
    wanted: bool
    schedule: str
    time_zone: str
    update_time: datetime
    version: int = 1


@dataclass(frozen=True)
class TrackedSprint:
    """What schedules need to know of a sprint; `version` is that of the sprint's events, 0 = seen without one."""

    sprint_id: str
    project_id: str
    is_open: bool
    time_zone: str
    start: date
    end: date
    version: int


@dataclass(frozen=True)
class CronJob:
    """The daily scrum of one open sprint, by a schedule."""

    sprint_id: str
    project_id: str
    name: str
    timer: Timer
    create_time: datetime
    state: CronJobState = CronJobState.PENDING
    state_reason: str = ""
    next_run_time: datetime | None = None
    last_run_time: datetime | None = None
    last_run_result: str = ""


class RunOutcome(StrEnum):
    """How a run ended; one that is POSTPONED is tried again."""

    HELD = "held"
    DAY_OFF = "day_off"
    REFUSED = "refused"
    MISSED = "missed"
    POSTPONED = "postponed"


@dataclass(frozen=True)
class RunEnd:
    """What came of a run: when the next one is, and what this one came to. `ran` is None if nothing ran.

    A run that is to be tried again stays the next one, and is not begun before `retry_time`.
    """

    next_run_time: datetime | None
    retry_time: datetime
    ran: datetime | None
    result: str
    outcome: RunOutcome


def run_ended(timer: Timer, run: datetime, now: datetime, result: str, outcome: RunOutcome = RunOutcome.HELD) -> RunEnd:
    """A run that was held, or refused for good."""
    return RunEnd(timer.next_after(now), now, run, result, outcome)


def run_missed(timer: Timer, planned: datetime, now: datetime, policy: Policy) -> RunEnd:
    """A run that nobody began in time."""
    day = timer.day_of(planned)
    result = f"Missed on {day}, and not made up for ({policy.missed})."
    return RunEnd(timer.next_after(now), now, None, result, RunOutcome.MISSED)


def run_failed(timer: Timer, planned: datetime, run: datetime, now: datetime, error: DsmError) -> RunEnd:
    """A run that was refused: over if that is an answer, else tried again after a while."""
    if error.reason == "NOT_A_WORKING_DAY":
        return run_ended(timer, run, now, f"Nobody works on {timer.day_of(run)}.", RunOutcome.DAY_OFF)
    if error.code not in UNDECIDED:
        return run_ended(timer, run, now, error.message[:_LONGEST_RESULT], RunOutcome.REFUSED)
    result = f"Tried again: {error.message}"[:_LONGEST_RESULT]
    return RunEnd(planned, now + RETRY, None, result, RunOutcome.POSTPONED)


def check_schedule(text: str, field: str) -> str:
    """A cron expression of five fields, with single spaces; ScheduleInvalid naming the field if it is none.

    Numbers, names of months and weekdays, ranges, lists and steps: what Kubernetes takes too. Sunday is 0 or 7.
    """
    parts = text.split()
    try:
        parsed = CronSim(" ".join(parts), datetime(2000, 1, 1, tzinfo=UTC))
    except CronSimError:
        raise ScheduleInvalid(field, text) from None
    extended = not all(isinstance(value, int) and value >= 0 for value in {*parsed.days, *parsed.weekdays})
    if len(parts) != _FIELDS or extended:
        raise ScheduleInvalid(field, text)
    return " ".join(parts)


def next_run(schedule: str, time_zone: str, after: datetime) -> datetime | None:
    """The first run after an instant, in UTC; None if there is none within 50 years.

    As Debian's cron: a time of day that the clocks skip runs right after the gap, one that they repeat runs once.
    """
    runs = CronSim(schedule, after.astimezone(ZoneInfo(time_zone)))
    # Within an hour that comes twice the library may give its first coming.
    return next((run for run in _in_utc(runs) if run > after), None)


def last_run(schedule: str, time_zone: str, until: datetime) -> datetime | None:
    """The last run up to an instant, included, in UTC; None if there was none within 50 years."""
    # An hour further, for the one that comes twice.
    runs = CronSim(schedule, (until + timedelta(hours=1, seconds=1)).astimezone(ZoneInfo(time_zone)), reverse=True)
    return next((run for run in _in_utc(runs) if run <= until), None)


def cron_job_name(sprint_id: str) -> str:
    """The name of a sprint's cron job, as "run-dailyscrum-test-001-s09": a DNS label of at most 52 characters.

    A sprint whose name is longer gets its end replaced by a digest of the whole, so that no two share a name.
    """
    name = _NAME_PREFIX + sprint_id.lower()
    if len(name) <= NAME_LENGTH:
        return name
    digest = hashlib.sha256(sprint_id.encode()).hexdigest()[:10]
    return f"{name[: NAME_LENGTH - len(digest) - 1]}-{digest}"


def run_id(what: str, run: datetime) -> UUID:
    """The request_id of a run, derived from what is run and the time planned: a run repeated does nothing."""
    return uuid5(_RUNS, f"{what} {run.astimezone(UTC).isoformat()}")


def kubernetes_schedule(schedule: str) -> str:
    """A schedule as Kubernetes takes it, for which Sunday is only 0."""
    *others, weekdays = schedule.split()
    if "7" not in weekdays:
        return schedule
    parsed = CronSim(schedule, datetime(2000, 1, 1, tzinfo=UTC))
    days = sorted({value % 7 for value in parsed.weekdays if isinstance(value, int)})
    return " ".join([*others, ",".join(map(str, days))])


def _in_utc(runs: CronSim) -> Iterator[datetime]:
    for run in runs:
        yield run.astimezone(UTC)
