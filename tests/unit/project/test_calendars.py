"""Calendars: ranges of days, public and company holidays, weekdays, time off."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest
from hypothesis import given

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
from services.project.domain.project import HolidayCalendar
from tests.unit.project.projects import PROJECT, WEEK, day_at, pto_of, times_off


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
    assert worked_weekdays(PROJECT, WEEK) == [day_at(number) for number in range(5)]
    gulf = replace(PROJECT, working_days=(1, 2, 3, 4, 7))
    assert worked_weekdays(gulf, WEEK) == [day_at(number) for number in (0, 1, 2, 3, 6)]


@pytest.mark.parametrize(
    ("asked", "other", "field"),
    [
        (pto_of(0, 0), pto_of(1, 1), None),
        (pto_of(2, 4), pto_of(0, 2), "pto.start_date"),
        (pto_of(0, 2), pto_of(2, 4), "pto.end_date"),
        (pto_of(0, 9), pto_of(3, 4), "pto.end_date"),
        (pto_of(3, 4), pto_of(0, 9), "pto.start_date"),
        # One ends at midday, the other begins then.
        (pto_of(2, 4, from_midday=True), pto_of(0, 2, until_midday=True), None),
        (pto_of(0, 2, until_midday=True), pto_of(2, 4, from_midday=True), None),
        (pto_of(2, 4, from_midday=True), pto_of(0, 2), "pto.start_date"),
        (pto_of(2, 4), pto_of(0, 2, until_midday=True), "pto.start_date"),
        (pto_of(2, 2, until_midday=True), pto_of(2, 2, from_midday=True), None),
        (pto_of(2, 2, from_midday=True), pto_of(2, 2, from_midday=True), "pto.start_date"),
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


@given(times_off, times_off)
def test_an_overlap_is_a_half_day_that_both_have(one: Pto, other: Pto) -> None:
    halves = set(range(one.first_half, one.end_half)) & set(range(other.first_half, other.end_half))
    try:
        check_pto(one, [other])
    except PtoOverlap:
        assert halves
    else:
        assert not halves


@given(times_off)
def test_halves_add_up_to_the_time_off(pto: Pto) -> None:
    assert sum(pto.halves_on(day_at(number)) for number in range(-1, 20)) == pto.end_half - pto.first_half
