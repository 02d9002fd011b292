"""The days of a sprint: its last one, and to which one work and closing belong."""

from datetime import date

import pytest

from services.sprint.domain.sprint import DateOutOfRange, day_of_closing, day_of_work, last_day
from tests.unit.sprint.sprints import MONDAY, make_sprint


@pytest.mark.parametrize(("weeks", "end"), [(1, date(2026, 1, 11)), (2, date(2026, 1, 18)), (6, date(2026, 2, 15))])
def test_a_sprint_ends_on_the_last_day_of_its_weeks(weeks: int, end: date) -> None:
    assert last_day(MONDAY, weeks) == end


@pytest.mark.parametrize(
    ("given_day", "today", "expected"),
    [
        (None, date(2026, 1, 7), date(2026, 1, 7)),
        (None, date(2026, 5, 1), date(2026, 1, 18)),
        (date(2026, 1, 6), date(2026, 1, 7), date(2026, 1, 6)),
        (date(2026, 1, 18), date(2026, 1, 18), date(2026, 1, 18)),
    ],
)
def test_work_belongs_to_a_day_of_the_sprint(given_day: date | None, today: date, expected: date) -> None:
    sprint = make_sprint()
    assert day_of_work(given_day, sprint.start_date, sprint.end_date, today, "work_date") == expected


@pytest.mark.parametrize(
    ("given_day", "today"),
    [
        (date(2026, 1, 4), date(2026, 1, 7)),
        (date(2026, 1, 19), date(2026, 2, 1)),
        (date(2026, 1, 8), date(2026, 1, 7)),
        (None, date(2026, 1, 1)),
    ],
)
def test_no_work_outside_the_sprint_or_in_the_future(given_day: date | None, today: date) -> None:
    sprint = make_sprint()
    with pytest.raises(DateOutOfRange) as caught:
        day_of_work(given_day, sprint.start_date, sprint.end_date, today, "work_date")
    assert caught.value.metadata["field"] == "work_date"


def test_a_sprint_closes_in_it_or_after_it() -> None:
    assert day_of_closing(None, make_sprint(), date(2026, 3, 1)) == date(2026, 3, 1)
    assert day_of_closing(MONDAY, make_sprint(), date(2026, 3, 1)) == MONDAY
    for day, today in ((date(2026, 1, 4), date(2026, 3, 1)), (date(2026, 1, 8), date(2026, 1, 7))):
        with pytest.raises(DateOutOfRange):
            day_of_closing(day, make_sprint(), today)
