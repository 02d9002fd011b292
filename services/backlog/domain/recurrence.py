"""Recurrence rules, checked by the library that will compute their dates and by the ranges of RFC 5545, 3.3.10."""

import re
from datetime import UTC, datetime

from dateutil.rrule import rrulestr

from services.backlog.domain.errors import RecurrenceRuleInvalid

_PARTS = re.compile(r"[A-Z]+=[A-Z0-9,+-]+(;[A-Z]+=[A-Z0-9,+-]+)*")
# Least and greatest number, and whether it may be counted from the end with a minus. The library checks none of them,
# and never comes to an end with some that are wrong.
_RANGES = {
    "INTERVAL": (1, 10_000, False),
    "COUNT": (1, 10_000, False),
    "BYSECOND": (0, 60, False),
    "BYMINUTE": (0, 59, False),
    "BYHOUR": (0, 23, False),
    "BYMONTHDAY": (1, 31, True),
    "BYYEARDAY": (1, 366, True),
    "BYWEEKNO": (1, 53, True),
    "BYMONTH": (1, 12, False),
    "BYSETPOS": (1, 366, True),
}


def check_recurrence_rule(rule: str, field: str) -> None:
    """RecurrenceRuleInvalid if the text is not the value of an RRULE, such as "FREQ=WEEKLY;BYDAY=MO"."""
    if not _PARTS.fullmatch(rule):
        raise RecurrenceRuleInvalid(field, rule)
    try:
        for part in rule.split(";"):
            name, _, numbers = part.partition("=")
            if name in _RANGES and not all(_in_range(number, *_RANGES[name]) for number in numbers.split(",")):
                raise ValueError(part)
        # UNTIL is an instant in UTC or a day; the library wants a start of the same kind.
        rrulestr(rule, dtstart=datetime(2000, 1, 1, tzinfo=UTC if re.search(r"UNTIL=\w*Z", rule) else None))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise RecurrenceRuleInvalid(field, rule) from None


def _in_range(number: str, least: int, greatest: int, signed: bool) -> bool:
    value = int(number)
    return least <= (abs(value) if signed else value) <= greatest
