"""Between the contract's messages and the chronicle's own types, by kind of note."""

from datetime import datetime
from uuid import UUID

from google.protobuf.message import Message

from services.kit.convert import to_time
from services.kit.errors import InvalidArgument


def canonical_id(given: str) -> str:
    """A UUID as PostgreSQL writes it; ValueError for what is none."""
    return str(UUID(given))


def time_of(message: Message, field: str) -> datetime | None:
    """An instant of a message; None if it is not set, InvalidArgument if it is out of the calendar."""
    if not message.HasField(field):
        return None
    try:
        return to_time(getattr(message, field))
    except (ValueError, OverflowError):
        raise InvalidArgument(field, "must be an instant of the years 1 to 9999") from None
