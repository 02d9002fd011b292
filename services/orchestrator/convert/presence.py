"""Fields that may be absent."""

from typing import Any

from google.protobuf.message import Message


def optional(message: Message, field: str) -> Any:
    """The value of an optional field, or None if it is not there."""
    return getattr(message, field) if message.HasField(field) else None
