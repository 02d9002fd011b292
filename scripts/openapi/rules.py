"""The contract's protovalidate rules in the words of JSON Schema."""

from __future__ import annotations

import re
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from scripts.openapi.contract import refuse

Json = dict[str, Any]

_KEYWORDS = {
    "min_len": "minLength",
    "max_len": "maxLength",
    "pattern": "pattern",
    "gte": "minimum",
    "gt": "exclusiveMinimum",
    "lte": "maximum",
    "lt": "exclusiveMaximum",
    "min_items": "minItems",
    "max_items": "maxItems",
    "unique": "uniqueItems",
    "min_pairs": "minProperties",
    "max_pairs": "maxProperties",
}
_FORMATS = ("uuid", "email")
_NUMBERS = ("int32", "uint32", "double", "float")
# proto3 JSON writes these as strings, which JSON Schema cannot bound.
_LONG_NUMBERS = ("int64", "uint64")


def of(field: FieldDescriptor) -> validate_pb2.FieldRules:
    """The rules of a field; empty if it has none."""
    return field.GetOptions().Extensions[validate_pb2.field]


def zero_is_let_through(rules: validate_pb2.FieldRules) -> bool:
    """Whether a value that is not given is not checked."""
    return rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE


def keywords(rules: validate_pb2.FieldRules, name: str, enum: EnumDescriptor | None = None) -> Json:
    """What a rule set says about one value, list or map, as JSON Schema; a zero that is let through stays allowed."""
    kind = rules.WhichOneof("type")
    if rules.cel or rules.cel_expression:
        refuse(name, "CEL on a field")
    if kind is None:
        return {}
    said = {rule.name: value for rule, value in getattr(rules, kind).ListFields()}
    schema = _keywords(kind, said, name, enum)
    return _with_zero(schema, kind, enum) if zero_is_let_through(rules) else schema


def _keywords(kind: str, said: Json, name: str, enum: EnumDescriptor | None) -> Json:
    if kind == "enum" and enum is not None:
        return _choice(said, name, enum)
    if kind == "duration":
        return _duration(said, name)
    if kind == "bytes":
        return _base64(said, name)
    if kind in _LONG_NUMBERS:
        return _long(said, name)
    if kind not in ("string", "repeated", "map", *_NUMBERS):
        refuse(name, f"rules for {kind}")
    schema: Json = {}
    for rule, value in said.items():
        if rule in _KEYWORDS:
            schema[_KEYWORDS[rule]] = value
        elif rule in _FORMATS:
            schema["format"] = rule
        elif rule not in ("finite", "items", "keys", "values"):
            refuse(name, f"the rule {kind}.{rule}")
    # JSON knows no difference between 1 and 1.0; the shorter is easier on the eyes.
    return {
        key: int(value) if isinstance(value, float) and value.is_integer() else value for key, value in schema.items()
    }


def _choice(said: Json, name: str, enum: EnumDescriptor) -> Json:
    if unknown := said.keys() - {"defined_only", "in", "not_in"}:
        refuse(name, f"the rule enum.{min(unknown)}")
    allowed = said.get("in") or [value.number for value in enum.values]
    chosen = [
        value.name for value in enum.values if value.number in allowed and value.number not in said.get("not_in", ())
    ]
    return {"enum": chosen} if len(chosen) < len(enum.values) else {}


def _duration(said: dict[str, Message], name: str) -> Json:
    """Only the sign: a text cannot be bounded otherwise, so the comment's words must do."""
    if unknown := said.keys() - {"gte", "lte"}:
        refuse(name, f"the rule duration.{min(unknown)}")
    return {"pattern": r"^[0-9]+(\.[0-9]{1,9})?s$"} if "gte" in said else {}


def _base64(said: dict[str, int], name: str) -> Json:
    """Lengths in bytes as lengths of their base64 text."""
    if unknown := said.keys() - {"min_len", "max_len"}:
        refuse(name, f"the rule bytes.{min(unknown)}")
    return {_KEYWORDS[rule]: -(-length // 3) * 4 for rule, length in said.items()}


def _long(said: dict[str, int], name: str) -> Json:
    if unknown := said.keys() - {"gte"}:
        refuse(name, f"the rule int64.{min(unknown)}")
    return {"pattern": "^[0-9]+$"} if said.get("gte", -1) >= 0 else {}


def _with_zero(schema: Json, kind: str, enum: EnumDescriptor | None) -> Json:
    """The same rules for a value whose zero says 'not given'."""
    relaxed = dict(schema)
    if kind == "string":
        relaxed.pop("minLength", None)
        if "pattern" in relaxed and not re.search(relaxed["pattern"], ""):
            relaxed["pattern"] = f"^$|{relaxed['pattern']}"
    elif kind == "enum" and "enum" in relaxed and enum is not None:
        zero = enum.values_by_number[0].name
        relaxed["enum"] = [value.name for value in enum.values if value.name in {zero, *relaxed["enum"]}]
    elif kind in _NUMBERS:
        whole_from_one = kind.endswith("int32") and relaxed.get("minimum") == 1
        if whole_from_one or relaxed.get("exclusiveMinimum") == 0:
            relaxed.pop("exclusiveMinimum", None)
            relaxed["minimum"] = 0
        elif refuses_zero_number(relaxed):
            relaxed = {"anyOf": [{"const": 0}, relaxed]}
    elif kind in ("repeated", "map"):
        relaxed = {key: value for key, value in relaxed.items() if key not in ("minItems", "minProperties")}
    return relaxed


def refuses_zero_number(schema: Json) -> bool:
    """Whether bounds leave zero out."""
    return bool(
        schema.get("minimum", 0) > 0
        or schema.get("maximum", 0) < 0
        or schema.get("exclusiveMinimum", -1) >= 0
        or schema.get("exclusiveMaximum", 1) <= 0
    )


def must_be_given(field: FieldDescriptor) -> bool:
    """Whether a message without the field breaks a rule of that field."""
    rules = of(field)
    if rules.required:
        return True
    if field.has_presence or zero_is_let_through(rules):
        return False
    schema = keywords(rules, field.full_name, field.enum_type)
    if field.enum_type and "enum" in schema:
        return field.enum_type.values_by_number[0].name not in schema["enum"]
    if "minItems" in schema or "minProperties" in schema or "minLength" in schema or "format" in schema:
        return True
    if rules.WhichOneof("type") == "string" and "pattern" in schema:
        return re.search(schema["pattern"], "") is None
    return refuses_zero_number(schema)
