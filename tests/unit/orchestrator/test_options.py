"""What a caller may ask of an orchestration."""

from datetime import date

import pytest

from services.orchestrator.domain.errors import DateOutOfRange, ScheduleInvalid
from services.orchestrator.domain.situation import Options, check_options
from tests.unit.orchestrator.situations import TODAY


def test_a_day_to_come_cannot_count_as_today() -> None:
    assert check_options(Options(as_of_date=date(2026, 3, 1)), TODAY) == date(2026, 3, 1)
    assert check_options(Options(), TODAY) == TODAY
    with pytest.raises(DateOutOfRange) as caught:
        check_options(Options(as_of_date=date(2026, 3, 3)), TODAY)
    assert caught.value.metadata["field"] == "options.as_of_date"


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("0 14 * * 1-5", True),
        ("*/15 8-17/2 1,15 JAN-jun mon-FRI", True),
        ("0 0 31 12 7", True),
        ("0 14 * *", False),
        ("60 14 * * *", False),
        ("0 24 * * *", False),
        ("0 14 0 * *", False),
        ("0 14 * 13 *", False),
        ("0 14 * * 8", False),
        ("0 14 * * 5-1", False),
        ("*/0 * * * *", False),
        ("daily", False),
        ("a b c d e", False),
        ("1,,2 * * * *", False),
        ("0 0 30 2 *", False),
        ("0 0 L * *", False),
        ("0 0 LW * *", False),
        ("0 0 * * 5L", False),
        ("0 0 * * MON#2", False),
        ("0 0 0 14 * *", False),
        ("@daily", False),
    ],
)
def test_schedules_are_cron_expressions_of_five_fields(text: str, good: bool) -> None:
    if good:
        assert check_options(Options(schedule=text), TODAY) == TODAY
    else:
        with pytest.raises(ScheduleInvalid):
            check_options(Options(schedule=text), TODAY)
