"""Calendars: which days are worked, holidays and time off."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from uuid import UUID

import holidays

from services.kit.errors import AlreadyExists, InvalidArgument, NotFound
from services.project.domain.project import HolidayCalendar, Project

MAX_DAYS = 366
# Of the holidays' names; without it they would be in the language of the machine.
_LANGUAGE = "en_US"


class HolidayKind(StrEnum):
    """Where a holiday comes from."""

    PUBLIC = "PUBLIC"
    COMPANY = "COMPANY"


@dataclass(frozen=True, slots=True)
class Holiday:
    """A day on which nobody of a project works."""

    date: date
    name: str
    kind: HolidayKind


@dataclass(frozen=True, slots=True)
class Pto:
    """Time off of one person; first and last day are included, each of them possibly only half."""

    pto_id: UUID
    employee_id: str
    start_date: date
    end_date: date
    starts_at_midday: bool
    ends_at_midday: bool
    reason: str
    create_time: datetime

    @property
    def first_half(self) -> int:
        """Number of the first half day off, counted from the calendar's beginning; a day has two."""
        return 2 * self.start_date.toordinal() + self.starts_at_midday

    @property
    def end_half(self) -> int:
        """Number of the half day after the last one off."""
        return 2 * self.end_date.toordinal() + 2 - self.ends_at_midday

    def halves_on(self, day: date) -> int:
        """How many halves of a day are off: 0, 1 or 2."""
        morning = 2 * day.toordinal()
        return max(0, min(self.end_half, morning + 2) - max(self.first_half, morning))


@dataclass(frozen=True, slots=True)
class Days:
    """A range of at most 366 days, both ends included."""

    first: date
    last: date

    def __iter__(self) -> Iterator[date]:
        """Each day, in order."""
        for offset in range((self.last - self.first).days + 1):
            yield self.first + timedelta(days=offset)


class HolidayCalendarUnknown(InvalidArgument):
    """The holiday library knows no such country or subdivision."""

    reason = "HOLIDAY_CALENDAR_UNKNOWN"

    def __init__(self, calendar: HolidayCalendar) -> None:
        super().__init__(
            "project.holiday_calendar",
            "must be a country, or a subdivision of it, whose holidays are known",
            "-".join(filter(None, (calendar.country, calendar.subdivision))),
            country=calendar.country,
            subdivision=calendar.subdivision,
        )


class HolidayAlreadyExists(AlreadyExists):
    """The project has a company day then."""

    reason = "HOLIDAY_ALREADY_EXISTS"

    def __init__(self, project_id: str, day: date) -> None:
        super().__init__(f"Project {project_id} has a company day on {day} already.", project_id=project_id, date=day)


class HolidayNotFound(NotFound):
    """The project has no company day then."""

    reason = "HOLIDAY_NOT_FOUND"

    def __init__(self, project_id: str, day: date) -> None:
        super().__init__(f"Project {project_id} has no company day on {day}.", project_id=project_id, date=day)


class PtoNotFound(NotFound):
    """No time off has this id."""

    reason = "PTO_NOT_FOUND"

    def __init__(self, pto_id: UUID) -> None:
        super().__init__(f"PTO {pto_id} does not exist.", pto_id=pto_id)


class PtoOverlap(InvalidArgument):
    """The person is off then already."""

    reason = "PTO_OVERLAP"

    def __init__(self, asked: Pto, other: Pto) -> None:
        super().__init__(
            "pto.start_date" if asked.first_half >= other.first_half else "pto.end_date",
            f"must not be within the PTO from {other.start_date} to {other.end_date}",
            asked.start_date if asked.first_half >= other.first_half else asked.end_date,
            employee_id=other.employee_id,
            pto_id=other.pto_id,
        )


class DateOutOfRange(InvalidArgument):
    """The range of days is longer than can be asked for at once."""

    reason = "DATE_OUT_OF_RANGE"


def days_between(first: date, last: date) -> Days:
    """The range; DateOutOfRange above 366 days."""
    if (last - first).days >= MAX_DAYS:
        raise DateOutOfRange("end_date", f"must be at most {MAX_DAYS - 1} days after start_date", last)
    return Days(first, last)


def check_pto(asked: Pto, others: Iterable[Pto]) -> None:
    """PtoOverlap if the same person is off already in one of the half days asked for; touching is no overlap."""
    for other in others:
        if asked.first_half < other.end_half and other.first_half < asked.end_half:
            raise PtoOverlap(asked, other)


def check_holiday_calendar(calendar: HolidayCalendar) -> HolidayCalendar:
    """The calendar; HolidayCalendarUnknown if the holiday library has no such one."""
    try:
        holidays.country_holidays(calendar.country, subdiv=calendar.subdivision or None)
    except NotImplementedError:
        raise HolidayCalendarUnknown(calendar) from None
    return calendar


def holidays_in(days: Days, calendar: HolidayCalendar, company_days: Sequence[Holiday]) -> list[Holiday]:
    """Public holidays, their observed days too, and company days of a range; by date, public ones first."""
    found = [
        holiday
        for year in range(days.first.year, days.last.year + 1)
        for holiday in _public_holidays(calendar, year)
        if days.first <= holiday.date <= days.last
    ]
    return sorted([*found, *company_days], key=lambda holiday: (holiday.date, holiday.kind is HolidayKind.COMPANY))


def worked_weekdays(project: Project, days: Days) -> list[date]:
    """The days of a range that fall on the project's working days, holidays included."""
    weekdays = frozenset(project.working_days)
    return [day for day in days if day.isoweekday() in weekdays]


@lru_cache(maxsize=1024)
def _public_holidays(calendar: HolidayCalendar, year: int) -> tuple[Holiday, ...]:
    found = holidays.country_holidays(
        calendar.country, subdiv=calendar.subdivision or None, years=year, expand=False, language=_LANGUAGE
    )
    return tuple(Holiday(day, name, HolidayKind.PUBLIC) for day, name in sorted(found.items()) if day.year == year)
