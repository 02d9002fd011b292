"""Teams: nobody is given more than the whole of a day."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kit.errors import InvalidArgument
from services.project.domain.employee import EmployeeNotFound
from services.project.domain.team import (
    ALWAYS,
    AllocationExceeded,
    EmployeeNotActive,
    TeamMember,
    assign,
    check_assignments,
)
from tests.unit.project.projects import EMPLOYEE, NOW, day_at, place_of


@pytest.mark.parametrize(
    ("asked", "held", "day", "allocated"),
    [
        (place_of("P", 100), [], None, 0),
        (place_of("P", 60), [place_of("Q", 40)], None, 0),
        (place_of("P", 61), [place_of("Q", 40)], -10_000, 40),
        # The place on the same team is replaced, so it does not count.
        (place_of("P", 100), [place_of("P", 100)], None, 0),
        # Days that only touch: one ends the day before the other begins.
        (place_of("P", 100, 5, 9), [place_of("Q", 100, 0, 4)], None, 0),
        (place_of("P", 100, 4, 9), [place_of("Q", 100, 0, 4)], 4, 100),
        # The first day with too much may be in the middle of the range.
        (place_of("P", 50, 0), [place_of("Q", 50, -9, 3), place_of("R", 60, 7, 9)], 7, 60),
        (place_of("P", 50, 0, 6), [place_of("Q", 50, -9, 3), place_of("R", 60, 7, 9)], None, 0),
        (place_of("P", 50, 10), [place_of("Q", 60, 0, 9)], None, 0),
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
        "date": str(day_at(day)),
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
        asked = place_of(f"P{number}", percent, first, last)
        daily = [sum(p.allocation_percent for p in held if p.holds_on(day_at(day))) for day in range(40)]
        too_much = [day for day in range(40) if asked.holds_on(day_at(day)) and daily[day] + percent > 100]
        if not too_much:
            held += assign([asked], {"E1": EMPLOYEE}, held)
            continue
        with pytest.raises(AllocationExceeded) as failed:
            assign([asked], {"E1": EMPLOYEE}, held)
        assert failed.value.metadata["date"] == str(day_at(too_much[0]))
        assert failed.value.metadata["allocated_percent"] == str(daily[too_much[0]])


def test_people_who_cannot_be_assigned_are_named() -> None:
    with pytest.raises(EmployeeNotFound) as missing:
        assign([place_of("P", 10)], {}, [])
    assert missing.value.metadata == {"employee_id": "E1"}
    with pytest.raises(EmployeeNotActive) as inactive:
        assign([place_of("P", 10)], {"E1": replace(EMPLOYEE, inactive_time=NOW)}, [])
    assert inactive.value.metadata == {"employee_id": "E1"}


def test_an_assignment_is_checked_by_itself() -> None:
    with pytest.raises(InvalidArgument) as twice:
        check_assignments([place_of("P", 10), place_of("P", 20)])
    assert twice.value.metadata["field"] == "assignments[1].employee_id"
    with pytest.raises(InvalidArgument) as order:
        check_assignments([place_of("P", 10, 5, 4)])
    assert order.value.metadata["field"] == "assignments[0].end_date"
    check_assignments([place_of("P", 10, 5, 5)])


def test_always_is_before_every_project() -> None:
    assert TeamMember("P", "E1", 100, ALWAYS, None).holds_on(day_at(0))
