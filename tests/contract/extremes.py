"""Values at the far ends of what a request may hold: the contract's rules let them pass, and nothing may break."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from tests.contract.filling import MATCHING, copy_of
from tests.contract.methods import inner, is_map
from tests.contract.places import Place, places
from tests.contract.rules import is_good

_NUMBERS = {
    FieldDescriptor.TYPE_INT32: (-(2**31), 1, 2**31 - 1),
    FieldDescriptor.TYPE_INT64: (-(2**63), 1, 2**63 - 1),
    FieldDescriptor.TYPE_DOUBLE: (0.001, 1e308, math.nan, math.inf),
    FieldDescriptor.TYPE_BOOL: (True,),
}
# A null character, which PostgreSQL cannot keep; blanks; signs that mean something to SQL, templates and terminals.
_TEXTS = ("a\0b", " ", "'; -- %s %(x)s {} \u202e\ud7ff\U0001f984")
_DAYS = ("0001-01-01", "9999-12-31", "2026-02-30")
_TIMES = (
    {"seconds": -62135596800},
    {"seconds": 253402300799, "nanos": 999999999},
    {"seconds": 2**62},
    {"nanos": -1},
)
_MASKS = ({"paths": [""]}, {"paths": ["*"]}, {"paths": ["no.such"]}, {"paths": ["a\0b"]})
# The longest text tried, in characters.
_LONG = 2000


@dataclass(frozen=True)
class Extreme:
    """One field of a request set to something strange."""

    place: Place
    field: FieldDescriptor
    number: int
    set: Callable[[Any], None]

    def __str__(self) -> str:
        return f"{self.place.path(self.field.name)}-{self.number}"

    def request(self, good: Any) -> Any | None:
        """A copy of a good request with the field set; None if a rule forbids it."""
        request = copy_of(good)
        self.set(self.place.of(request))
        return request if is_good(request) else None


def extremes(message: Any) -> Iterator[Extreme]:
    """Everything strange to try on a request, field by field."""
    for place, descriptor in places(message):
        for field in descriptor.fields:
            if field.name != "request_id":
                for number, way in enumerate(_ways(field)):
                    yield Extreme(place, field, number, way)


def _ways(field: FieldDescriptor) -> Iterator[Callable[[Any], None]]:
    if is_map(field):
        entry: Any = field.message_type
        value = "a\0b" if entry.fields_by_name["value"].type == FieldDescriptor.TYPE_STRING else 1
        yield lambda message: getattr(message, field.name).update({"a\0b": value})
    elif inner(field):
        yield lambda message: message.ClearField(field.name)
    elif field.is_repeated:
        yield lambda message: message.ClearField(field.name)
        for value in _values(field):
            yield _only_item(field, value)
    else:
        for value in _values(field):
            yield _value(field, value)


def _values(field: FieldDescriptor) -> Iterator[Any]:
    if field.type == FieldDescriptor.TYPE_STRING:
        yield from _texts(field)
    elif field.type == FieldDescriptor.TYPE_ENUM:
        enum: Any = field.enum_type
        yield from (value.number for value in enum.values)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        yield b"\xff\xfe\x00"
    elif field.message_type:
        yield from _MASKS if field.message_type.name == "FieldMask" else _TIMES
    else:
        yield from _NUMBERS[field.type]


def _texts(field: FieldDescriptor) -> Iterator[str]:
    rules = field.GetOptions().Extensions[validate_pb2.field]
    text = rules.repeated.items.string if field.is_repeated else rules.string
    if text.uuid:
        yield "ABCDEFAB-ABCD-4ABC-8ABC-ABCDEFABCDEF"
    elif "[0-9]{4}" in text.pattern:
        yield from _DAYS
    elif text.pattern.endswith(",}$"):
        # The longest number that fits, and the longest project.
        shortest = MATCHING[text.pattern]
        yield shortest + "9" * (text.max_len - len(shortest))
        yield "A" * (text.max_len - len(shortest)) + shortest
    else:
        yield from _TEXTS
        yield "é" * min(text.max_len, _LONG)


def _value(field: FieldDescriptor, value: Any) -> Callable[[Any], None]:
    def way(message: Any) -> None:
        if field.message_type:
            getattr(message, field.name).CopyFrom(_message(field, value))
        else:
            setattr(message, field.name, value)

    return way


def _only_item(field: FieldDescriptor, value: Any) -> Callable[[Any], None]:
    def way(message: Any) -> None:
        message.ClearField(field.name)
        getattr(message, field.name).extend([_message(field, value) if field.message_type else value])

    return way


def _message(field: FieldDescriptor, value: Any) -> Any:
    descriptor: Any = field.message_type
    return descriptor._concrete_class(**value)
