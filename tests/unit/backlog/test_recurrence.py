"""Recurrence rules of RFC 5545."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.backlog.domain.errors import RecurrenceRuleInvalid
from services.backlog.domain.recurrence import check_recurrence_rule


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=DAILY",
        "FREQ=WEEKLY;BYDAY=MO,WE;INTERVAL=2",
        "FREQ=MONTHLY;BYDAY=-1FR;COUNT=12",
        "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
        "FREQ=DAILY;UNTIL=20261231",
        "FREQ=DAILY;UNTIL=20261231T235959Z",
    ],
)
def test_recurrence_rules_of_rfc_5545_are_taken(rule: str) -> None:
    check_recurrence_rule(rule, "f")


@pytest.mark.parametrize(
    "rule",
    [
        "daily",
        "FREQ=NOW",
        "INTERVAL=2",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;COUNT=00",
        "FREQ=WEEKLY;BYDAY=XX",
        "FREQ=MONTHLY;BYMONTHDAY=40",
        "FREQ=YEARLY;BYMONTH=13",
        "FREQ=DAILY;BYHOUR=-1",
        "FREQ=DAILY;UNTIL=never",
        "RRULE:FREQ=DAILY",
        "DTSTART:20260101T000000\nRRULE:FREQ=DAILY",
        "FREQ=DAILY;FOO=1",
        " ",
    ],
)
def test_other_rules_are_refused(rule: str) -> None:
    with pytest.raises(RecurrenceRuleInvalid):
        check_recurrence_rule(rule, "f")


@given(st.text(max_size=60))
def test_no_text_breaks_the_check_of_rules(rule: str) -> None:
    with suppress(RecurrenceRuleInvalid):
        check_recurrence_rule(rule, "f")
