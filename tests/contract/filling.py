"""Good messages, as short as the rules of their fields let them be."""

from __future__ import annotations

from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from tests.contract.methods import is_map

# A text that matches each pattern of the contract; a new pattern needs one here.
MATCHING = {
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*$": "AB-1",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-TASK[0-9]{3,}$": "AB-1-TASK001",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-STORY[0-9]{3,}$": "AB-1-STORY001",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-S[0-9]{2,}$": "AB-1-S01",
    "^[A-Z]{2}$": "US",
    "^[A-Z0-9]{1,6}$": "CA",
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}$": "2026-01-05",
    r"\S": "text",
}
_UUID = "00000000-0000-4000-8000-000000000000"


def fill(message: Any) -> None:
    """Set what a message must have, as shortly as may be."""
    for field in message.DESCRIPTOR.fields:
        rules = rules_of(field)
        if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE or field.containing_oneof:
            continue
        if field.is_repeated:
            while not is_map(field) and len(getattr(message, field.name)) < rules.repeated.min_items:
                append_to(message, field)
        elif field.message_type:
            if rules.required:
                child_of(message, field)
        elif not field.has_presence:
            setattr(message, field.name, good_value(field, rules))


def good_value(field: FieldDescriptor, rules: Any) -> Any:
    """A value of a scalar field that keeps its rules; the zero value if that does."""
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return good_text(rules.string)
        case FieldDescriptor.TYPE_BYTES:
            return b"x" * rules.bytes.min_len
        case FieldDescriptor.TYPE_ENUM:
            numbers = [number for number in numbers_of(field) if number not in rules.enum.not_in]
            return [*getattr(rules.enum, "in"), *numbers][0]
        case FieldDescriptor.TYPE_BOOL:
            return False
    bounds = getattr(rules, kind_of(rules), None) if kind_of(rules) else None
    least = max(getattr(bounds, "gte", 0), 0) if bounds is not None else 0
    return least + 1 if bounds is not None and bounds.HasField("gt") else least


def child_of(message: Any, field: FieldDescriptor) -> Any:
    """The message in a field, or the first of several; filled in if there is none."""
    if field.is_repeated:
        if not getattr(message, field.name):
            append_to(message, field)
        return getattr(message, field.name)[0]
    if not message.HasField(field.name):
        getattr(message, field.name).SetInParent()
        fill(getattr(message, field.name))
    return getattr(message, field.name)


def append_to(message: Any, field: FieldDescriptor) -> None:
    """Add a good item to a repeated field."""
    if field.message_type:
        fill(getattr(message, field.name).add())
    else:
        getattr(message, field.name).append(good_value(field, rules_of(field).repeated.items))


def good_text(rules: Any) -> str:
    """A text that keeps its rules."""
    if rules.uuid:
        return _UUID
    if rules.pattern:
        return MATCHING[rules.pattern]
    return "x" * int(rules.min_len)


def copy_of(message: Any) -> Any:
    """A message just like another."""
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def numbers_of(field: Any) -> list[int]:
    """The values of an enum field."""
    return [value.number for value in field.enum_type.values]


def rules_of(field: FieldDescriptor) -> Any:
    """The rules of a field."""
    return field.GetOptions().Extensions[validate_pb2.field]


def kind_of(rules: Any) -> str:
    """Of what type the rules are, "string" or "repeated"; empty if there are none."""
    return rules.WhichOneof("type") or ""
