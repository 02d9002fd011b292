"""The contract's messages as JSON Schema, by the proto3 JSON mapping."""

from __future__ import annotations

from collections.abc import Collection

from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor

from scripts.openapi import rules
from scripts.openapi.contract import Contract, refuse
from scripts.openapi.rules import Json

_SCALARS: dict[int, Json] = {
    FieldDescriptor.TYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.TYPE_STRING: {"type": "string"},
    FieldDescriptor.TYPE_BYTES: {"type": "string", "contentEncoding": "base64"},
    FieldDescriptor.TYPE_INT32: {"type": "integer", "format": "int32"},
    FieldDescriptor.TYPE_UINT32: {"type": "integer", "format": "int64", "minimum": 0},
    FieldDescriptor.TYPE_INT64: {"type": "string", "format": "int64", "pattern": "^-?[0-9]+$"},
    FieldDescriptor.TYPE_UINT64: {"type": "string", "format": "uint64", "pattern": "^[0-9]+$"},
    FieldDescriptor.TYPE_DOUBLE: {"type": "number", "format": "double"},
    FieldDescriptor.TYPE_FLOAT: {"type": "number", "format": "float"},
}
_WELL_KNOWN: dict[str, Json] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,9})?s$"},
    "google.protobuf.FieldMask": {"type": "string"},
}
_OUTPUT_ONLY = "output only"


class Schemas:
    """The schemas under `components`; each is made when first referred to."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract
        self.components: dict[str, Json] = {}

    def reference(self, described: Descriptor | EnumDescriptor) -> Json:
        """Refer to the component of a message or enum."""
        name = described.full_name
        if name not in self.components:
            self.components[name] = {}  # A message may hold itself.
            made = self._enum(described) if isinstance(described, EnumDescriptor) else self._message(described)
            self.components[name] = made
        return {"$ref": f"#/components/schemas/{name}"}

    def body(self, request: Descriptor, elsewhere: Collection[str]) -> Json:
        """Refer to a request as a body, without the fields that are in the path."""
        if request.full_name in self.components:
            refuse(request.full_name, "requests that are a body twice")
        self.components[request.full_name] = self._message(request, elsewhere)
        return self.reference(request)

    def field(self, field: FieldDescriptor, *, given: bool = False) -> Json:
        """The schema of a field, with its comment; one that is always given has no zero to be let through."""
        own = validate_pb2.FieldRules()
        own.CopyFrom(rules.of(field))
        if given:
            own.ClearField("ignore")
        schema = self._shape(field, own)
        comment = self._contract.comment(field.full_name)
        if comment:
            schema["description"] = comment
        if _OUTPUT_ONLY in comment.lower():
            schema["readOnly"] = True
        if field.GetOptions().deprecated:
            schema["deprecated"] = True
        return schema

    def is_text(self, field: FieldDescriptor) -> bool:
        """Whether a value of the field is no JSON object, so that a query can hold it."""
        return field.message_type is None or field.message_type.full_name in _WELL_KNOWN

    def _shape(self, field: FieldDescriptor, own: validate_pb2.FieldRules) -> Json:
        if not field.is_repeated:
            return self._value(field, own)
        if field.message_type and field.message_type.GetOptions().map_entry:
            value = self._value(field.message_type.fields_by_name["value"], own.map.values)
            shape = {"type": "object", "additionalProperties": value}
            if keys := rules.keywords(own.map.keys, field.full_name):
                shape["propertyNames"] = keys
        else:
            shape = {"type": "array", "items": self._value(field, own.repeated.items)}
        return shape | rules.keywords(own, field.full_name)

    def _value(self, field: FieldDescriptor, own: validate_pb2.FieldRules) -> Json:
        """The schema of one value: of the field itself, or of an item of it."""
        said = rules.keywords(own, field.full_name, field.enum_type)
        if field.enum_type:
            return self.reference(field.enum_type) | said
        if field.type in _SCALARS:
            return _SCALARS[field.type] | said
        if field.message_type is None:
            refuse(field.full_name, "fields of this type")
        if field.message_type.full_name in _WELL_KNOWN:
            return _WELL_KNOWN[field.message_type.full_name] | said
        if field.message_type.full_name.startswith("google."):
            refuse(field.full_name, f"how JSON writes {field.message_type.full_name}")
        return self.reference(field.message_type) | said

    def _message(self, message: Descriptor, elsewhere: Collection[str] = ()) -> Json:
        fields = [field for field in message.fields if field.name not in elsewhere]
        schema: Json = {"type": "object"}
        text = [self._contract.comment(message.full_name), *rules_in_words(message)]
        if any(text):
            schema["description"] = "\n".join(filter(None, text))
        schema["properties"] = {field.json_name: self.field(field) for field in fields}
        if required := [field.json_name for field in fields if rules.must_be_given(field)]:
            schema["required"] = required
        if choices := _choices(message):
            schema["allOf"] = choices
        return schema

    def _enum(self, enum: EnumDescriptor) -> Json:
        lines = [self._contract.comment(enum.full_name)]
        for value in enum.values:
            comment = self._contract.comment(f"{enum.full_name}.{value.name}")
            lines.append(f"- `{value.name}`: {comment}" if comment else f"- `{value.name}`")
        names = [value.name for value in enum.values]
        return {"type": "string", "description": "\n".join(line for line in lines if line), "enum": names}


def rules_in_words(message: Descriptor) -> list[str]:
    """The rules over several fields of a message, in the words that a refusal uses."""
    return [f"- {cel.message}" for cel in message.GetOptions().Extensions[validate_pb2.message].cel]


def _choices(message: Descriptor) -> list[Json]:
    """At most one field of each oneof, or just one where it must be given."""
    choices: list[Json] = []
    for oneof in message.oneofs:
        names = [field.json_name for field in oneof.fields]
        if len(names) == 1 and oneof.name == f"_{oneof.fields[0].name}":
            continue  # How proto3 notes an `optional` field.
        alternatives: list[Json] = [{"required": [name]} for name in names]
        if not oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            alternatives.append({"not": {"anyOf": list(alternatives)}})
        choices.append({"oneOf": alternatives})
    return choices
