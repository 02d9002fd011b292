"""A project, a person, and makers of places on teams, time off and holidays, by days from one Monday on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from hypothesis import strategies as st

from services.project.domain.calendar import Days, Holiday, HolidayKind, Pto
from services.project.domain.capacity import Member
from services.project.domain.employee import Employee
from services.project.domain.project import HolidayCalendar, Project, ProjectStatus
from services.project.domain.team import TeamMember

NOW = datetime(2026, 1, 5, 9, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
MONDAY = date(2026, 1, 5)
WEEK = Days(MONDAY, MONDAY + timedelta(days=6))

PROJECT = Project(
    project_id="P",
    name="Project",
    description="",
    status=ProjectStatus.ACTIVE,
    time_zone="UTC",
    holiday_calendar=HolidayCalendar(),
    working_days=(1, 2, 3, 4, 5),
    simulate_daily_scrums=False,
    version=3,
    create_time=NOW,
    update_time=NOW,
)
EMPLOYEE = Employee(
    employee_id="E1",
    name="Ada",
    email="",
    role="",
    designation="",
    skills=(),
    hours_per_day=Decimal(8),
    inactive_time=None,
    identity_subject="",
    time_zone="",
    version=1,
    create_time=NOW,
    update_time=NOW,
)


def day_at(number: int) -> date:
    """A day by its number: 0 = the Monday that the tests begin with."""
    return MONDAY + timedelta(days=number)


def place_of(project_id: str, percent: int, first: int = -10_000, last: int | None = None) -> TeamMember:
    return TeamMember(project_id, "E1", percent, day_at(first), None if last is None else day_at(last))


def pto_of(first: int, last: int, *, from_midday: bool = False, until_midday: bool = False, number: int = 1) -> Pto:
    return Pto(UUID(int=number), "E1", day_at(first), day_at(last), from_midday, until_midday, "Away", NOW)


def member_of(
    place: TeamMember, *pto: Pto, hours: str = "8", inactive_date: date | None = None, skills: Sequence[str] = ()
) -> Member:
    return Member(place, Decimal(hours), tuple(skills), inactive_date, pto)


def holiday_on(number: int) -> Holiday:
    return Holiday(day_at(number), "Day off", HolidayKind.COMPANY)


times_off = st.builds(
    lambda first, length, from_midday, until_midday: pto_of(
        first, first + length, from_midday=from_midday, until_midday=until_midday
    ),
    st.integers(0, 12),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
).filter(lambda pto: pto.first_half < pto.end_half)
