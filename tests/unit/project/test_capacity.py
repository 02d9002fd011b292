"""Capacity by day and person, and the conflicts that lessen it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.project.domain.calendar import Days, Holiday, Pto, PtoOverlap, check_pto
from services.project.domain.capacity import ConflictKind, Member, capacity, conflicts
from tests.unit.project.projects import PROJECT, WEEK, day_at, holiday_on, member_of, place_of, pto_of, times_off

members = st.builds(
    lambda percent, first, length, hundredths, away, inactive: member_of(
        place_of("P", percent, first, None if length is None else first + length),
        *_without_overlap(away),
        hours=str(Decimal(hundredths) / 100),
        inactive_date=None if inactive is None else day_at(inactive),
    ),
    st.integers(1, 100),
    st.integers(-3, 12),
    st.none() | st.integers(0, 12),
    st.integers(1, 2400),
    st.lists(times_off, max_size=3),
    st.none() | st.integers(-2, 15),
)


def _without_overlap(times: Sequence[Pto]) -> list[Pto]:
    kept: list[Pto] = []
    for pto in times:
        try:
            check_pto(pto, kept)
        except PtoOverlap:
            continue
        kept.append(pto)
    return kept


@pytest.mark.parametrize(
    ("member", "holidays", "person_days", "hours"),
    [
        (member_of(place_of("P", 100)), [], 5, 40),
        (member_of(place_of("P", 100)), [holiday_on(0)], 4, 32),
        # A holiday on the weekend takes nothing.
        (member_of(place_of("P", 100)), [holiday_on(5)], 5, 40),
        (member_of(place_of("P", 35), hours="7.7"), [], 1.75, 13.475),
        (member_of(place_of("P", 50), pto_of(1, 1, until_midday=True)), [], 2.25, 18),
        # Two halves of one day.
        (member_of(place_of("P", 100), pto_of(0, 1, until_midday=True), pto_of(1, 1, from_midday=True)), [], 3, 24),
        # Time off on a holiday or a weekend costs nothing more.
        (member_of(place_of("P", 100), pto_of(0, 6)), [holiday_on(2)], 0, 0),
        (member_of(place_of("P", 100), pto_of(4, 7, from_midday=True)), [], 4.5, 36),
        (member_of(place_of("P", 100, 3)), [], 2, 16),
        (member_of(place_of("P", 100, -50, 1)), [], 2, 16),
        (member_of(place_of("P", 100), inactive_date=day_at(2)), [], 2, 16),
        (member_of(place_of("P", 100), inactive_date=day_at(-1)), [], 0, 0),
    ],
)
def test_capacity_by_hand(member: Member, holidays: list[Holiday], person_days: float, hours: float) -> None:
    found = capacity(PROJECT, WEEK, holidays, [member])
    assert (found.total.person_days, found.total.hours) == (person_days, hours)
    assert found.members[0].total == found.total


def test_who_has_nothing_left_is_listed_with_every_day_on_the_team() -> None:
    found = capacity(
        PROJECT, WEEK, [holiday_on(1)], [member_of(place_of("P", 100, 1, 3), pto_of(0, 6), skills=["SQL"])]
    )
    (member,) = found.members
    assert [day for day, _ in member.days] == [day_at(2), day_at(3)]
    assert all(amount.person_days == 0 for _, amount in member.days)
    assert member.skills == ("SQL",)
    assert [day for day, _ in found.days] == [day_at(0), day_at(2), day_at(3), day_at(4)]


def test_who_is_not_on_the_team_then_is_not_listed() -> None:
    assert (
        capacity(PROJECT, WEEK, [], [member_of(place_of("P", 100, 7)), member_of(place_of("P", 100, -5, -1))]).members
        == ()
    )


@given(
    st.lists(members, max_size=5),
    st.sets(st.integers(0, 13), max_size=4),
    st.sets(st.integers(1, 7), min_size=1),
)
def test_capacity_is_the_sum_of_its_half_days(team: list[Member], off: set[int], weekdays: set[int]) -> None:
    project = replace(PROJECT, working_days=tuple(sorted(weekdays)))
    found = capacity(project, Days(day_at(0), day_at(13)), [holiday_on(number) for number in sorted(off)], team)
    expected_days = expected_hours = Fraction(0)
    for member in team:
        for number in range(14):
            day = day_at(number)
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


@given(st.integers(1, 99), times_off)
def test_a_person_on_two_projects_counts_once(percent: int, pto: Pto) -> None:
    days = Days(day_at(0), day_at(20))
    one = capacity(PROJECT, days, [], [member_of(place_of("P", percent), pto)])
    other = capacity(PROJECT, days, [], [member_of(place_of("Q", 100 - percent), pto)])
    whole = capacity(PROJECT, days, [], [member_of(place_of("P", 100), pto)])
    assert one.total.day_parts + other.total.day_parts == whole.total.day_parts


# --- availability -------------------------------------------------------------------------------


def test_every_conflict_is_listed_by_date_and_person() -> None:
    team = [
        member_of(replace(place_of("P", 100), employee_id="E2"), pto_of(0, 0, from_midday=True), pto_of(5, 7)),
        member_of(replace(place_of("P", 100), employee_id="E1"), pto_of(0, 1)),
    ]
    found = conflicts(PROJECT, Days(day_at(0), day_at(7)), [holiday_on(1), holiday_on(6)], team)
    assert [(c.kind, c.date, c.employee_id, c.halves) for c in found] == [
        (ConflictKind.PTO, day_at(0), "E1", 2),
        (ConflictKind.PTO, day_at(0), "E2", 1),
        (ConflictKind.HOLIDAY, day_at(1), "", 2),
        (ConflictKind.PTO, day_at(1), "E1", 2),
        (ConflictKind.PTO, day_at(7), "E2", 2),
    ]


def test_who_is_not_at_work_anyway_has_no_conflict() -> None:
    team = [
        member_of(place_of("P", 100, 3), pto_of(0, 2)),
        member_of(place_of("P", 100), pto_of(0, 2), inactive_date=day_at(0)),
    ]
    assert conflicts(PROJECT, WEEK, [], team) == []


@given(st.lists(members, min_size=1, max_size=3), st.sets(st.integers(0, 13), max_size=3))
def test_without_conflicts_nothing_is_lost(team: list[Member], off: set[int]) -> None:
    days = Days(day_at(0), day_at(13))
    holidays = [holiday_on(number) for number in sorted(off)]
    assume(not conflicts(PROJECT, days, holidays, team))
    free = [replace(member, pto=()) for member in team]
    assert capacity(PROJECT, days, holidays, team) == capacity(PROJECT, days, [], free)
