"""Projects, people, teams, calendars and capacity, without a database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from uuid import UUID

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.kit.errors import InvalidArgument
from services.project.domain.calendar import (
    DateOutOfRange,
    Days,
    Holiday,
    HolidayCalendarUnknown,
    HolidayKind,
    Pto,
    PtoOverlap,
    check_holiday_calendar,
    check_pto,
    days_between,
    holidays_in,
    worked_weekdays,
)
from services.project.domain.capacity import ConflictKind, Member, capacity, conflicts
from services.project.domain.employee import Employee, EmployeeNotFound, check_skills, update_employee
from services.project.domain.project import (
    HolidayCalendar,
    Project,
    ProjectArchived,
    ProjectStatus,
    check_writable,
    update_project,
)
from services.project.domain.team import (
    ALWAYS,
    AllocationExceeded,
    EmployeeNotActive,
    TeamMember,
    assign,
    check_assignments,
)

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


def _day(number: int) -> date:
    """A day by its number: 0 = the Monday that the tests begin with."""
    return MONDAY + timedelta(days=number)


def _place(project_id: str, percent: int, first: int = -10_000, last: int | None = None) -> TeamMember:
    return TeamMember(project_id, "E1", percent, _day(first), None if last is None else _day(last))


def _pto(first: int, last: int, *, from_midday: bool = False, until_midday: bool = False, number: int = 1) -> Pto:
    return Pto(UUID(int=number), "E1", _day(first), _day(last), from_midday, until_midday, "Away", NOW)


def _member(
    place: TeamMember, *pto: Pto, hours: str = "8", inactive_date: date | None = None, skills: Sequence[str] = ()
) -> Member:
    return Member(place, Decimal(hours), tuple(skills), inactive_date, pto)


def _holiday(number: int) -> Holiday:
    return Holiday(_day(number), "Day off", HolidayKind.COMPANY)


# --- projects and people ------------------------------------------------------------------------


def test_an_update_counts_only_what_really_changes() -> None:
    changed, fields = update_project(PROJECT, {"name": "Other", "time_zone": "UTC"}, LATER)
    assert fields == ["name"]
    assert (changed.name, changed.version, changed.update_time) == ("Other", 4, LATER)
    assert update_project(PROJECT, {"name": "Project"}, LATER) == (PROJECT, [])


def test_a_name_cannot_be_taken_away() -> None:
    with pytest.raises(InvalidArgument) as project:
        update_project(PROJECT, {"name": ""}, LATER)
    assert project.value.metadata["field"] == "project.name"
    with pytest.raises(InvalidArgument) as employee:
        update_employee(EMPLOYEE, {"name": ""}, LATER)
    assert employee.value.metadata["field"] == "employee.name"


@pytest.mark.parametrize("status", ProjectStatus)
def test_only_an_archived_project_is_read_only(status: ProjectStatus) -> None:
    project = replace(PROJECT, status=status)
    if status is ProjectStatus.ARCHIVED:
        with pytest.raises(ProjectArchived):
            check_writable(project)
    else:
        check_writable(project)


def test_who_is_inactive_is_so_since_the_first_time() -> None:
    inactive, fields = update_employee(EMPLOYEE, {"active": False}, NOW)
    assert (fields, inactive.active, inactive.inactive_time) == (["active"], False, NOW)
    still, fields = update_employee(inactive, {"active": False, "role": "Guest"}, LATER)
    assert (fields, still.inactive_time) == (["role"], NOW)
    again, _ = update_employee(still, {"active": True}, LATER)
    assert again.active
    assert again.version == 4


def test_skills_are_compared_without_case() -> None:
    assert check_skills(["Python", "SQL"]) == ("Python", "SQL")
    with pytest.raises(InvalidArgument) as failed:
        check_skills(["Python", "SQL", "PYTHON"])
    assert failed.value.metadata["field"] == "employee.skills[2]"


# --- teams --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "held", "day", "allocated"),
    [
        (_place("P", 100), [], None, 0),
        (_place("P", 60), [_place("Q", 40)], None, 0),
        (_place("P", 61), [_place("Q", 40)], -10_000, 40),
        # The place on the same team is replaced, so it does not count.
        (_place("P", 100), [_place("P", 100)], None, 0),
        # Days that only touch: one ends the day before the other begins.
        (_place("P", 100, 5, 9), [_place("Q", 100, 0, 4)], None, 0),
        (_place("P", 100, 4, 9), [_place("Q", 100, 0, 4)], 4, 100),
        # The first day with too much may be in the middle of the range.
        (_place("P", 50, 0), [_place("Q", 50, -9, 3), _place("R", 60, 7, 9)], 7, 60),
        (_place("P", 50, 0, 6), [_place("Q", 50, -9, 3), _place("R", 60, 7, 9)], None, 0),
        (_place("P", 50, 10), [_place("Q", 60, 0, 9)], None, 0),
    ],
)
def test_allocations_stay_within_a_persons_time(
    asked: TeamMember, held: list[TeamMember], day: int | None, allocated: int
) -> None:
    if day is None:
        assert assign([asked], {"E1": EMPLOYEE}, held) == ([] if asked in held else [asked])
        return
    with pytest.raises(AllocationExceeded) as failed:
        assign([asked], {"E1": EMPLOYEE}, held)
    assert failed.value.metadata == {
        "employee_id": "E1",
        "date": str(_day(day)),
        "allocated_percent": str(allocated),
        "requested_percent": str(asked.allocation_percent),
    }


_places = st.builds(
    lambda percent, first, length: (percent, first, None if length is None else first + length),
    st.integers(1, 100),
    st.integers(0, 20),
    st.none() | st.integers(0, 10),
)


@given(st.lists(_places, max_size=8))
def test_no_sequence_of_assignments_passes_the_whole_of_a_day(places: list[tuple[int, int, int | None]]) -> None:
    held: list[TeamMember] = []
    for number, (percent, first, last) in enumerate(places):
        asked = _place(f"P{number}", percent, first, last)
        daily = [sum(p.allocation_percent for p in held if p.holds_on(_day(day))) for day in range(40)]
        too_much = [day for day in range(40) if asked.holds_on(_day(day)) and daily[day] + percent > 100]
        if not too_much:
            held += assign([asked], {"E1": EMPLOYEE}, held)
            continue
        with pytest.raises(AllocationExceeded) as failed:
            assign([asked], {"E1": EMPLOYEE}, held)
        assert failed.value.metadata["date"] == str(_day(too_much[0]))
        assert failed.value.metadata["allocated_percent"] == str(daily[too_much[0]])


def test_people_who_cannot_be_assigned_are_named() -> None:
    with pytest.raises(EmployeeNotFound) as missing:
        assign([_place("P", 10)], {}, [])
    assert missing.value.metadata == {"employee_id": "E1"}
    with pytest.raises(EmployeeNotActive) as inactive:
        assign([_place("P", 10)], {"E1": replace(EMPLOYEE, inactive_time=NOW)}, [])
    assert inactive.value.metadata == {"employee_id": "E1"}


def test_an_assignment_is_checked_by_itself() -> None:
    with pytest.raises(InvalidArgument) as twice:
        check_assignments([_place("P", 10), _place("P", 20)])
    assert twice.value.metadata["field"] == "assignments[1].employee_id"
    with pytest.raises(InvalidArgument) as order:
        check_assignments([_place("P", 10, 5, 4)])
    assert order.value.metadata["field"] == "assignments[0].end_date"
    check_assignments([_place("P", 10, 5, 5)])


# --- calendars ----------------------------------------------------------------------------------


def test_a_range_has_at_most_366_days() -> None:
    assert len(list(days_between(date(2028, 1, 1), date(2028, 12, 31)))) == 366
    with pytest.raises(DateOutOfRange) as failed:
        days_between(date(2028, 1, 1), date(2029, 1, 1))
    assert failed.value.metadata["field"] == "end_date"
    assert list(days_between(date(9999, 12, 31), date(9999, 12, 31))) == [date(9999, 12, 31)]


@pytest.mark.parametrize(
    ("country", "subdivision", "day", "name"),
    [
        ("US", "", date(2026, 7, 4), "Independence Day"),
        # A Saturday: the Friday before is off.
        ("US", "", date(2026, 7, 3), "Independence Day (observed)"),
        # Observed in the year before.
        ("US", "", date(2027, 12, 31), "New Year's Day (observed)"),
        ("DE", "", date(2026, 10, 3), "German Unity Day"),
        ("DE", "BY", date(2026, 1, 6), "Epiphany"),
        ("GB", "SCT", date(2026, 1, 2), "New Year Holiday"),
    ],
)
def test_public_holidays_come_from_the_library(country: str, subdivision: str, day: date, name: str) -> None:
    found = holidays_in(Days(day, day), HolidayCalendar(country, subdivision), [])
    assert found == [Holiday(day, name, HolidayKind.PUBLIC)]


def test_a_subdivisions_holiday_is_not_the_countrys() -> None:
    assert holidays_in(Days(date(2026, 1, 6), date(2026, 1, 6)), HolidayCalendar("DE"), []) == []


def test_holidays_are_in_order_over_the_years_end_with_company_days() -> None:
    days = Days(date(2026, 12, 20), date(2027, 1, 5))
    bridge = Holiday(date(2026, 12, 24), "Bridge", HolidayKind.COMPANY)
    party = Holiday(date(2026, 12, 25), "Party", HolidayKind.COMPANY)
    assert [
        (holiday.date.isoformat(), holiday.name) for holiday in holidays_in(days, HolidayCalendar(), [bridge, party])
    ] == [
        ("2026-12-24", "Bridge"),
        ("2026-12-25", "Christmas Day"),
        ("2026-12-25", "Party"),
        ("2027-01-01", "New Year's Day"),
    ]


@pytest.mark.parametrize(("country", "subdivision"), [("XX", ""), ("US", "ZZ"), ("DE", "CA")])
def test_a_calendar_that_nobody_knows_is_refused(country: str, subdivision: str) -> None:
    with pytest.raises(HolidayCalendarUnknown) as failed:
        check_holiday_calendar(HolidayCalendar(country, subdivision))
    assert failed.value.metadata["country"] == country
    assert failed.value.metadata["subdivision"] == subdivision


def test_weekdays_are_the_projects() -> None:
    assert worked_weekdays(PROJECT, WEEK) == [_day(number) for number in range(5)]
    gulf = replace(PROJECT, working_days=(1, 2, 3, 4, 7))
    assert worked_weekdays(gulf, WEEK) == [_day(number) for number in (0, 1, 2, 3, 6)]


@pytest.mark.parametrize(
    ("asked", "other", "field"),
    [
        (_pto(0, 0), _pto(1, 1), None),
        (_pto(2, 4), _pto(0, 2), "pto.start_date"),
        (_pto(0, 2), _pto(2, 4), "pto.end_date"),
        (_pto(0, 9), _pto(3, 4), "pto.end_date"),
        (_pto(3, 4), _pto(0, 9), "pto.start_date"),
        # One ends at midday, the other begins then.
        (_pto(2, 4, from_midday=True), _pto(0, 2, until_midday=True), None),
        (_pto(0, 2, until_midday=True), _pto(2, 4, from_midday=True), None),
        (_pto(2, 4, from_midday=True), _pto(0, 2), "pto.start_date"),
        (_pto(2, 4), _pto(0, 2, until_midday=True), "pto.start_date"),
        (_pto(2, 2, until_midday=True), _pto(2, 2, from_midday=True), None),
        (_pto(2, 2, from_midday=True), _pto(2, 2, from_midday=True), "pto.start_date"),
    ],
)
def test_pto_may_touch_and_not_overlap(asked: Pto, other: Pto, field: str | None) -> None:
    other = replace(other, pto_id=UUID(int=7))
    if field is None:
        check_pto(asked, [other])
        return
    with pytest.raises(PtoOverlap) as failed:
        check_pto(asked, [other])
    assert failed.value.metadata["field"] == field
    assert failed.value.metadata["pto_id"] == str(UUID(int=7))
    assert failed.value.metadata["employee_id"] == "E1"


_times_off = st.builds(
    lambda first, length, from_midday, until_midday: _pto(
        first, first + length, from_midday=from_midday, until_midday=until_midday
    ),
    st.integers(0, 12),
    st.integers(0, 6),
    st.booleans(),
    st.booleans(),
).filter(lambda pto: pto.first_half < pto.end_half)


@given(_times_off, _times_off)
def test_an_overlap_is_a_half_day_that_both_have(one: Pto, other: Pto) -> None:
    halves = set(range(one.first_half, one.end_half)) & set(range(other.first_half, other.end_half))
    try:
        check_pto(one, [other])
    except PtoOverlap:
        assert halves
    else:
        assert not halves


@given(_times_off)
def test_halves_add_up_to_the_time_off(pto: Pto) -> None:
    assert sum(pto.halves_on(_day(number)) for number in range(-1, 20)) == pto.end_half - pto.first_half


# --- capacity -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("member", "holidays", "person_days", "hours"),
    [
        (_member(_place("P", 100)), [], 5, 40),
        (_member(_place("P", 100)), [_holiday(0)], 4, 32),
        # A holiday on the weekend takes nothing.
        (_member(_place("P", 100)), [_holiday(5)], 5, 40),
        (_member(_place("P", 35), hours="7.7"), [], 1.75, 13.475),
        (_member(_place("P", 50), _pto(1, 1, until_midday=True)), [], 2.25, 18),
        # Two halves of one day.
        (_member(_place("P", 100), _pto(0, 1, until_midday=True), _pto(1, 1, from_midday=True)), [], 3, 24),
        # Time off on a holiday or a weekend costs nothing more.
        (_member(_place("P", 100), _pto(0, 6)), [_holiday(2)], 0, 0),
        (_member(_place("P", 100), _pto(4, 7, from_midday=True)), [], 4.5, 36),
        (_member(_place("P", 100, 3)), [], 2, 16),
        (_member(_place("P", 100, -50, 1)), [], 2, 16),
        (_member(_place("P", 100), inactive_date=_day(2)), [], 2, 16),
        (_member(_place("P", 100), inactive_date=_day(-1)), [], 0, 0),
    ],
)
def test_capacity_by_hand(member: Member, holidays: list[Holiday], person_days: float, hours: float) -> None:
    found = capacity(PROJECT, WEEK, holidays, [member])
    assert (found.total.person_days, found.total.hours) == (person_days, hours)
    assert found.members[0].total == found.total


def test_who_has_nothing_left_is_listed_with_every_day_on_the_team() -> None:
    found = capacity(PROJECT, WEEK, [_holiday(1)], [_member(_place("P", 100, 1, 3), _pto(0, 6), skills=["SQL"])])
    (member,) = found.members
    assert [day for day, _ in member.days] == [_day(2), _day(3)]
    assert all(amount.person_days == 0 for _, amount in member.days)
    assert member.skills == ("SQL",)
    assert [day for day, _ in found.days] == [_day(0), _day(2), _day(3), _day(4)]


def test_who_is_not_on_the_team_then_is_not_listed() -> None:
    assert capacity(PROJECT, WEEK, [], [_member(_place("P", 100, 7)), _member(_place("P", 100, -5, -1))]).members == ()


_members = st.builds(
    lambda percent, first, length, hundredths, times_off, inactive: _member(
        _place("P", percent, first, None if length is None else first + length),
        *_without_overlap(times_off),
        hours=str(Decimal(hundredths) / 100),
        inactive_date=None if inactive is None else _day(inactive),
    ),
    st.integers(1, 100),
    st.integers(-3, 12),
    st.none() | st.integers(0, 12),
    st.integers(1, 2400),
    st.lists(_times_off, max_size=3),
    st.none() | st.integers(-2, 15),
)


def _without_overlap(times_off: Sequence[Pto]) -> list[Pto]:
    kept: list[Pto] = []
    for pto in times_off:
        try:
            check_pto(pto, kept)
        except PtoOverlap:
            continue
        kept.append(pto)
    return kept


@given(
    st.lists(_members, max_size=5),
    st.sets(st.integers(0, 13), max_size=4),
    st.sets(st.integers(1, 7), min_size=1),
)
def test_capacity_is_the_sum_of_its_half_days(team: list[Member], off: set[int], weekdays: set[int]) -> None:
    project = replace(PROJECT, working_days=tuple(sorted(weekdays)))
    found = capacity(project, Days(_day(0), _day(13)), [_holiday(number) for number in sorted(off)], team)
    expected_days = expected_hours = Fraction(0)
    for member in team:
        for number in range(14):
            day = _day(number)
            works = day.isoweekday() in weekdays and number not in off and member.place.holds_on(day)
            if works and (member.inactive_date is None or day < member.inactive_date):
                halves = [2 * day.toordinal(), 2 * day.toordinal() + 1]
                free = [h for h in halves if not any(p.first_half <= h < p.end_half for p in member.pto)]
                share = Fraction(len(free), 2) * Fraction(member.place.allocation_percent, 100)
                expected_days += share
                expected_hours += share * Fraction(member.hours_per_day)
    assert found.total.person_days == float(expected_days)
    assert found.total.hours == float(expected_hours)
    assert sum(amount.day_parts for _, amount in found.days) == found.total.day_parts
    assert sum(member.total.hour_parts for member in found.members) == found.total.hour_parts


@given(st.integers(1, 99), _times_off)
def test_a_person_on_two_projects_counts_once(percent: int, pto: Pto) -> None:
    days = Days(_day(0), _day(20))
    one = capacity(PROJECT, days, [], [_member(_place("P", percent), pto)])
    other = capacity(PROJECT, days, [], [_member(_place("Q", 100 - percent), pto)])
    whole = capacity(PROJECT, days, [], [_member(_place("P", 100), pto)])
    assert one.total.day_parts + other.total.day_parts == whole.total.day_parts


# --- availability -------------------------------------------------------------------------------


def test_every_conflict_is_listed_by_date_and_person() -> None:
    team = [
        _member(replace(_place("P", 100), employee_id="E2"), _pto(0, 0, from_midday=True), _pto(5, 7)),
        _member(replace(_place("P", 100), employee_id="E1"), _pto(0, 1)),
    ]
    found = conflicts(PROJECT, Days(_day(0), _day(7)), [_holiday(1), _holiday(6)], team)
    assert [(c.kind, c.date, c.employee_id, c.halves) for c in found] == [
        (ConflictKind.PTO, _day(0), "E1", 2),
        (ConflictKind.PTO, _day(0), "E2", 1),
        (ConflictKind.HOLIDAY, _day(1), "", 2),
        (ConflictKind.PTO, _day(1), "E1", 2),
        (ConflictKind.PTO, _day(7), "E2", 2),
    ]


def test_who_is_not_at_work_anyway_has_no_conflict() -> None:
    team = [
        _member(_place("P", 100, 3), _pto(0, 2)),
        _member(_place("P", 100), _pto(0, 2), inactive_date=_day(0)),
    ]
    assert conflicts(PROJECT, WEEK, [], team) == []


@given(st.lists(_members, min_size=1, max_size=3), st.sets(st.integers(0, 13), max_size=3))
def test_without_conflicts_nothing_is_lost(team: list[Member], off: set[int]) -> None:
    days = Days(_day(0), _day(13))
    holidays = [_holiday(number) for number in sorted(off)]
    assume(not conflicts(PROJECT, days, holidays, team))
    free = [replace(member, pto=()) for member in team]
    assert capacity(PROJECT, days, holidays, team) == capacity(PROJECT, days, [], free)


def test_always_is_before_every_project() -> None:
    assert TeamMember("P", "E1", 100, ALWAYS, None).holds_on(_day(0))
