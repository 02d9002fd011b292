"""What the cells of another system's export mean."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation

from services.backlog.domain.importing.errors import RowRefused
from services.backlog.domain.task import Priority, TaskState

# Longest texts, in characters.
TITLE, DESCRIPTION, TYPE, KEY, URL, STATUS, CUSTOM, TAG = 500, 50_000, 50, 200, 2_000, 100, 2_000, 50

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# 04/Mar/14 11:32 AM, 4/Mar/2014 23:32, 04/Mar/14
_JIRA_TIME = re.compile(r"(\d{1,2})/([A-Za-z]{3})/(\d{4}|\d\d)(?:,? (\d{1,2}):(\d\d)(?::(\d\d))?(?: ?([AaPp][Mm]))?)?")

_PRIORITIES = {
    "blocker": Priority.URGENT,
    "critical": Priority.URGENT,
    "highest": Priority.URGENT,
    "urgent": Priority.URGENT,
    "high": Priority.HIGH,
    "major": Priority.MEDIUM,
    "medium": Priority.MEDIUM,
    "normal": Priority.MEDIUM,
    "minor": Priority.LOW,
    "low": Priority.LOW,
    "lowest": Priority.LOW,
    "trivial": Priority.LOW,
    "none": Priority.NONE,
    "": Priority.NONE,
}
# Words of states and resolutions, without case and apostrophes.
_GIVEN_UP = {
    "abandoned",
    "as designed",
    "canceled",
    "cancelled",
    "cannot reproduce",
    "cant reproduce",
    "declined",
    "duplicate",
    "duplicated",
    "incomplete",
    "invalid",
    "not a bug",
    "not a problem",
    "not applicable",
    "not planned",
    "not reproducible",
    "obsolete",
    "rejected",
    "unable to reproduce",
    "will not do",
    "will not fix",
    "wont do",
    "wont fix",
    "wontdo",
    "wontfix",
    "works as designed",
    "works for me",
}
_DONE = {
    "accepted",
    "closed",
    "complete",
    "completed",
    "delivered",
    "deployed",
    "done",
    "finished",
    "fixed",
    "implemented",
    "merged",
    "released",
    "resolved",
    "shipped",
    "verified",
}
_BEGUN = {
    "blocked",
    "code review",
    "developing",
    "doing",
    "in development",
    "in progress",
    "in qa",
    "in review",
    "in test",
    "in testing",
    "qa",
    "review",
    "started",
    "testing",
    "under review",
}
# Resolutions that decide nothing: the work is still to be done.
_UNDECIDED = {"", "deferred", "later", "none", "postponed", "remind", "reopened", "to do", "unresolved"}


def state_of(status: str, resolution: str, status_map: Mapping[str, TaskState]) -> TaskState:
    """The state that an origin's status and resolution mean; `status_map` (casefolded names) goes before all else.

    What either calls given up is CANCELLED. A status that means nothing here leaves it to the resolution: any that
    decides something is COMPLETED, else the task is UNASSIGNED.
    """
    mapped = status_map.get(status.strip().casefold())
    if mapped is not None:
        return mapped
    status, resolution = _words(status), _words(resolution)
    if status in _GIVEN_UP or resolution in _GIVEN_UP:
        return TaskState.CANCELLED
    if status in _DONE:
        return TaskState.COMPLETED
    if status in _BEGUN:
        return TaskState.IN_PROGRESS
    return TaskState.UNASSIGNED if resolution in _UNDECIDED else TaskState.COMPLETED


def priority_of(text: str) -> Priority | None:
    """A priority by any name that trackers use; None for a name that is not known."""
    return _PRIORITIES.get(text.strip().casefold())


def time_of(text: str, field: str) -> datetime | None:
    """An instant as Jira or ISO 8601 writes it; one without a zone is in UTC. None for an empty cell."""
    text = text.strip()
    if not text:
        return None
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        moment = _jira_time(text, field)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def day_of(text: str, field: str) -> date | None:
    """A day, of which the time of day is forgotten."""
    moment = time_of(text, field)
    return moment.date() if moment else None


def points_of(text: str, field: str) -> Decimal | None:
    """Points, 0 to 10,000 with at most two decimals; None for an empty cell."""
    return _number(text, field, 2)


def hours_of(text: str, field: str) -> timedelta | None:
    """Hours, 0 to 10,000; None for an empty cell."""
    hours = _number(text, field, 6)
    return None if hours is None else timedelta(hours=float(hours))


def tags_of(cells: list[str], separators: str, field: str) -> tuple[str, ...]:
    """The labels of one or several cells, each once: at most 50 of at most 50 characters."""
    found = [tag.strip() for cell in cells for tag in re.split(f"[{separators}]", cell)]
    tags = tuple(dict.fromkeys(tag for tag in found if tag))
    if len(tags) > 50:
        raise RowRefused(field, "must be at most 50 tags", len(tags))
    for tag in tags:
        text_of(tag, field, TAG)
    return tags


def text_of(text: str, field: str, limit: int) -> str:
    """A text that can be kept: not too long, and without null characters and halves of characters."""
    if len(text) > limit:
        raise RowRefused(field, f"must be at most {limit:,} characters", storable(text))
    if "\0" in text:
        raise RowRefused(field, "must not contain null characters", storable(text))
    if not text.isascii() and storable(text) != text:
        raise RowRefused(field, "must not contain halves of characters (surrogates)", storable(text))
    return text


def storable(text: str) -> str:
    """The text with signs in the place of null characters and halves of characters, which no message can hold."""
    return text.replace("\0", "␀").encode("utf-8", "replace").decode()


def _number(text: str, field: str, decimals: int) -> Decimal | None:
    text = text.strip()
    if not text:
        return None
    try:
        number = Decimal(text)
        if not number.is_finite():
            raise InvalidOperation
    except InvalidOperation:
        raise RowRefused(field, "must be a number", text) from None
    if not 0 <= number <= 10_000:
        raise RowRefused(field, "must be 0 to 10,000", text)
    number = number.normalize() + 0
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -decimals:
        raise RowRefused(field, f"must have at most {decimals} decimals", text)
    return number


def _jira_time(text: str, field: str) -> datetime:
    match = _JIRA_TIME.fullmatch(text)
    try:
        if match is None:
            raise ValueError(text)
        day, month, year, hour, minute, second, half = match.groups(default="")
        hours = int(hour or 0)
        if half:
            if not 1 <= hours <= 12:
                raise ValueError(text)
            hours = hours % 12 + (12 if half.lower() == "pm" else 0)
        years = int(year) + (2000 if len(year) == 2 else 0)
        return datetime(years, _MONTHS.index(month.lower()) + 1, int(day), hours, int(minute or 0), int(second or 0))  # noqa: DTZ001  # the caller gives the zone
    except ValueError:
        raise RowRefused(field, "must be a date as 2014-03-04 11:32 or 04/Mar/14 11:32 AM", text) from None


def _words(text: str) -> str:
    return re.sub(r"['’]", "", text).strip().casefold()
