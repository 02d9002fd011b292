"""Conversions that every service's `convert` needs: days, instants, decimals, masks."""

from collections.abc import Collection
from datetime import UTC, date, datetime
from decimal import Decimal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from services.kit.errors import EtagMismatch, InvalidArgument

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_date(text: str, field: str) -> date:
    """A calendar day; InvalidArgument naming the field if there is no such day, as 2026-02-30."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(field, "must be a day of the calendar, as 2026-01-05", text) from None


def to_date_or_none(text: str, field: str) -> date | None:
    """A calendar day, or None for an empty text."""
    return to_date(text, field) if text else None


def from_date(day: date | None) -> str:
    """ISO 8601; empty for None."""
    return day.isoformat() if day else ""


def to_time(timestamp: Timestamp, field: str = "") -> datetime:
    """An instant in UTC; InvalidArgument naming the field for one that no calendar has."""
    try:
        return timestamp.ToDatetime(tzinfo=UTC)
    except (ValueError, OverflowError):
        given = f"{timestamp.seconds} s {timestamp.nanos} ns"
        raise InvalidArgument(field, "must be a time of the years 1 to 9999", given) from None


def from_time(moment: datetime | None) -> Timestamp | None:
    """A Timestamp; None stays None, which leaves a message's field unset."""
    if moment is None:
        return None
    # By hand: FromDatetime takes eight times as long, and lists are full of instants.
    since = moment - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


def to_points(value: float, field: str) -> Decimal:
    """Points as kept: exactly two decimals at most."""
    points = Decimal(str(value))
    exponent = points.as_tuple().exponent
    if not isinstance(exponent, int) or exponent < -2:
        raise InvalidArgument(field, "must have at most two decimals", value)
    return points


def from_points(points: Decimal | None) -> float | None:
    """Points as sent."""
    return None if points is None else float(points)


def check_time_zone(name: str, field: str) -> str:
    """The name, if IANA has such a zone."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidArgument(field, "must be an IANA time zone, as Europe/Berlin", name) from None
    return name


def masked_paths(mask: FieldMask, allowed: Collection[str], resource: str) -> list[str]:
    """The fields that an update names; InvalidArgument for one that cannot be set that way."""
    if not mask.paths:
        raise InvalidArgument("update_mask", "must name at least one field")
    for path in mask.paths:
        if path not in allowed:
            raise InvalidArgument("update_mask", f"names no field of a {resource} that can be updated", path)
    return list(dict.fromkeys(mask.paths))


def etag_of(version: int) -> str:
    """The etag of a version."""
    return f"v{version}"


def check_etag(given: str, version: int) -> None:
    """EtagMismatch if an etag was given and is not the version's."""
    if given and given != etag_of(version):
        raise EtagMismatch(given, etag_of(version))
