"""Capacity and availability: what a team can work in a range of days, and what it cannot.

All of it is counted in whole numbers and divided once, at the end, so that sums are exact. On a working day that is no
holiday, a member of the team who is active has

    (2 - halves off) x allocation percent          200ths of a person-day
    the above x hundredths of an hour per day      20,000ths of an hour

to give. A person is never counted twice: their allocations over all projects stay within 100 % of every day.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

from services.project.domain.calendar import Days, Holiday, Pto, worked_weekdays
from services.project.domain.project import Project
from services.project.domain.team import TeamMember

HALVES_PER_DAY = 2
_DAY_PARTS = HALVES_PER_DAY * 100
_HOUR_PARTS = _DAY_PARTS * 100


@dataclass(frozen=True, slots=True)
class Member:
    """A place on the team with what bears on its capacity; `inactive_date` = the first day the person is not active."""

    place: TeamMember
    hours_per_day: Decimal
    skills: tuple[str, ...]
    inactive_date: date | None
    pto: tuple[Pto, ...]

    def days_on_team(self, days: Sequence[date]) -> Sequence[date]:
        """Those of some days, which are in order, on which the person is on the team."""
        return _between(days, self.place.start_date, self.place.end_date or date.max)

    def days_active(self, days: Sequence[date]) -> Sequence[date]:
        """Those of some days, which are in order, on which the person is on the team and active."""
        on_team = self.days_on_team(days)
        return on_team if self.inactive_date is None else on_team[: bisect_left(on_team, self.inactive_date)]


@dataclass(frozen=True, slots=True)
class Amount:
    """An amount of work: 200ths of a person-day and 20,000ths of an hour."""

    day_parts: int
    hour_parts: int

    @property
    def person_days(self) -> float:
        """Person-days, correctly rounded."""
        return self.day_parts / _DAY_PARTS

    @property
    def hours(self) -> float:
        """Hours, correctly rounded."""
        return self.hour_parts / _HOUR_PARTS


@dataclass(frozen=True, slots=True)
class MemberCapacity:
    """What one person can give in total and on each working day that they are on the team."""

    employee_id: str
    total: Amount
    days: tuple[tuple[date, Amount], ...]
    skills: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capacity:
    """What a team can work: in total, by person and by working day."""

    total: Amount
    members: tuple[MemberCapacity, ...]
    days: tuple[tuple[date, Amount], ...]


class ConflictKind(StrEnum):
    """What keeps somebody from work."""

    HOLIDAY = "HOLIDAY"
    PTO = "PTO"


@dataclass(frozen=True, slots=True)
class Conflict:
    """A holiday, or half a day or a day of PTO, on a day of the week that is worked; employee_id "" = everybody."""

    date: date
    employee_id: str
    kind: ConflictKind
    details: str
    halves: int


def capacity(project: Project, days: Days, holidays: Sequence[Holiday], team: Sequence[Member]) -> Capacity:
    """What a team can work in a range of days, by the formula of this module.

    Inactive people stay listed and give nothing from the day on which they became inactive.
    """
    off = {holiday.date for holiday in holidays}
    working = [day for day in worked_weekdays(project, days) if day not in off]
    members = [_member_capacity(member, working) for member in team if member.place.holds_in(days.first, days.last)]
    day_parts, hour_parts = dict.fromkeys(working, 0), dict.fromkeys(working, 0)
    for member in members:
        for day, amount in member.days:
            day_parts[day] += amount.day_parts
            hour_parts[day] += amount.hour_parts
    return Capacity(
        total=Amount(sum(day_parts.values()), sum(hour_parts.values())),
        members=tuple(members),
        days=tuple((day, Amount(day_parts[day], hour_parts[day])) for day in working),
    )


def conflicts(project: Project, days: Days, holidays: Sequence[Holiday], team: Sequence[Member]) -> list[Conflict]:
    """Every holiday and every PTO that falls on a day of the week that is worked, by date, holidays first, then person.

    PTO on a holiday is listed too. Whoever is not on the team, or not active, on a day has no conflict then.
    """
    weekdays = worked_weekdays(project, days)
    found = [
        Conflict(holiday.date, "", ConflictKind.HOLIDAY, holiday.name, HALVES_PER_DAY)
        for holiday in holidays
        if holiday.date.isoweekday() in project.working_days
    ]
    found += [
        Conflict(day, member.place.employee_id, ConflictKind.PTO, pto.reason, pto.halves_on(day))
        for member in team
        for pto in member.pto
        for day in _between(member.days_active(weekdays), pto.start_date, pto.end_date)
    ]
    return sorted(found, key=lambda conflict: (conflict.date, conflict.employee_id))


def _member_capacity(member: Member, working: Sequence[date]) -> MemberCapacity:
    worked = dict.fromkeys(member.days_on_team(working), 0)
    worked |= dict.fromkeys(member.days_active(working), HALVES_PER_DAY)
    for pto in member.pto:
        for day in _between(member.days_active(working), pto.start_date, pto.end_date):
            worked[day] -= pto.halves_on(day)
    # A day has one of three amounts: each is worked out once, whatever the number of days.
    amounts = [_amount(member, halves) for halves in range(HALVES_PER_DAY + 1)]
    return MemberCapacity(
        employee_id=member.place.employee_id,
        total=_amount(member, sum(worked.values())),
        days=tuple((day, amounts[halves]) for day, halves in worked.items()),
        skills=member.skills,
    )


def _amount(member: Member, halves: int) -> Amount:
    day_parts = halves * member.place.allocation_percent
    return Amount(day_parts, day_parts * int(member.hours_per_day * 100))


def _between(days: Sequence[date], first: date, last: date) -> Sequence[date]:
    """Those of some days, which are in order, from `first` to `last`."""
    return days[bisect_left(days, first) : bisect_right(days, last)]
