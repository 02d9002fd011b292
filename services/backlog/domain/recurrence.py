"""Recurrence rules, checked by the library that will compute their dates."""

import re
from datetime import UTC, datetime

from dateutil.rrule import rrulestr

from services.backlog.domain.errors import RecurrenceRuleInvalid

_PARTS = re.compile(r"[A-Z]+=[A-Z0-9,+-]+(;[A-Z]+=[A-Z0-9,+-]+)*")
# The library takes both for granted, though RFC 5545 asks for at least 1, and never ends at an interval of 0.
_NOT_POSITIVE = re.compile(r"(^|;)(INTERVAL|COUNT)=0+(;|$)")


def check_recurrence_rule(rule: str, field: str) -> None:
    """RecurrenceRuleInvalid if the text is not the value of an RRULE, such as "FREQ=WEEKLY;BYDAY=MO"."""
    if not _PARTS.fullmatch(rule) or _NOT_POSITIVE.search(rule):
        raise RecurrenceRuleInvalid(field, rule)
    # UNTIL is an instant in UTC or a day; the library wants a start of the same kind.
    start = datetime(2000, 1, 1, tzinfo=UTC if re.search(r"UNTIL=\w*Z", rule) else None)
    try:
        rrulestr(rule, dtstart=start)
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError):
        raise RecurrenceRuleInvalid(field, rule) from None
