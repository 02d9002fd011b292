"""Keyset pages: a token holds the last row's sort key and a digest of the query that it belongs to."""

import base64
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol, TypeVar

from google.protobuf.message import Message

from services.kit.errors import PageTokenInvalid

T = TypeVar("T")

DEFAULT_SIZE = 50
MAX_SIZE = 250
_SEAL_LENGTH = 16


class ListRequest(Protocol):
    """What every List request has."""

    page_size: int
    page_token: str


@dataclass(frozen=True)
class Page:
    """One page asked for: its size, and the sort key after which it begins (None = at the beginning)."""

    size: int
    after: tuple[Any, ...] | None
    query: str

    @property
    def limit(self) -> int:
        """How many rows to read: one more than fits tells whether there is a next page."""
        return self.size + 1

    def cut(self, rows: Sequence[T], key: Callable[[T], tuple[Any, ...]]) -> tuple[list[T], str]:
        """The rows that fit, and the token of the next page ("" if there is none)."""
        if len(rows) <= self.size:
            return list(rows), ""
        kept = list(rows[: self.size])
        return kept, encode_token(self.query, key(kept[-1]))


def page_of(request: Any) -> Page:
    """The page that a List request asks for; PageTokenInvalid if its token is another query's."""
    size = min(request.page_size or DEFAULT_SIZE, MAX_SIZE)
    query = query_of(request, "page_size", "page_token")
    return Page(size, decode_token(request.page_token, query) if request.page_token else None, query)


def query_of(request: Message, *beside: str) -> str:
    """A digest of what a request asks for, whatever its fields `beside` are."""
    bare = type(request)()
    bare.CopyFrom(request)
    for field in beside:
        bare.ClearField(field)
    body = bare.SerializeToString(deterministic=True)
    return hashlib.sha256(request.DESCRIPTOR.full_name.encode() + body).hexdigest()[:16]


def encode_token(query: str, key: tuple[Any, ...]) -> str:
    """A key as an opaque token that fits its query alone."""
    body = json.dumps([_plain(value) for value in key])
    return base64.urlsafe_b64encode(f"{_seal(query, body)}{body}".encode()).decode().rstrip("=")


def decode_token(token: str, query: str) -> tuple[Any, ...]:
    """The key in a token; PageTokenInvalid if it is damaged or another query's."""
    try:
        text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    except ValueError:
        raise PageTokenInvalid(token) from None
    seal, body = text[:_SEAL_LENGTH], text[_SEAL_LENGTH:]
    if seal != _seal(query, body):
        raise PageTokenInvalid(token)
    return tuple(json.loads(body))


def _seal(query: str, body: str) -> str:
    """Ties a key to its query; a token that somebody changed, or took elsewhere, does not fit."""
    return hashlib.sha256(f"{query}/{body}".encode()).hexdigest()[:_SEAL_LENGTH]


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date | datetime) else value if _is_json(value) else str(value)


def _is_json(value: Any) -> bool:
    return value is None or isinstance(value, str | int | float | bool)
