"""Time as a parameter."""

from collections.abc import Callable
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present instant in UTC; the clock of production."""
    return datetime.now(UTC)


def day_in(now: datetime, time_zone: str) -> date:
    """The calendar day that an instant falls on in an IANA time zone."""
    return now.astimezone(ZoneInfo(time_zone)).date()
