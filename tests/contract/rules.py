"""The contract's rules, broken one at a time: every way to break a request comes from the field options.

A Break goes to its place in a good request, fills what is missing on the way and breaks one rule there. What is good
and what is broken is checked against protovalidate itself, so that a Break that breaks nothing, or too much, fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from tests.contract.methods import inner, is_map

_validator = protovalidate.Validator()

_DAY = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
# A text that matches each pattern of the contract; a new pattern needs one here.
MATCHING = {
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*$": "AB-1",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-TASK[0-9]{3,}$": "AB-1-TASK001",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-STORY[0-9]{3,}$": "AB-1-STORY001",
    "^[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-S[0-9]{2,}$": "AB-1-S01",
    "^[A-Z]{2}$": "US",
    "^[A-Z0-9]{1,6}$": "CA",
    _DAY: "2026-01-05",
    r"\S": "text",
}
_UUID = "00000000-0000-4000-8000-000000000000"
_FLAGS = ("uuid", "email", "finite", "unique", "defined_only")


@dataclass(frozen=True)
class Step:
    """One field on the way down from a request."""

    field: FieldDescriptor

    @property
    def path(self) -> str:
        """How the step is written in a field path."""
        return f"{self.field.name}[0]" if self.field.is_repeated else self.field.name


@dataclass(frozen=True)
class Place:
    """A message inside a request, by the steps that lead there."""

    steps: tuple[Step, ...] = ()

    def path(self, last: str = "") -> str:
        """ "tasks[0].title" for the field `title` of the place."""
        return ".".join([*(step.path for step in self.steps), *([last] if last else [])])

    def of(self, request: Message) -> Message:
        """The message itself; what is missing on the way is filled in."""
        at: Any = request
        for step in self.steps:
            at = _child(at, step.field)
        found: Message = at
        return found

    def is_in(self, request: Message, name: str) -> bool:
        """True if a request has the field `name` of this place, or is on the way to it."""
        first = self.steps[0].field.name if self.steps else name.partition("[")[0]
        return first in request.DESCRIPTOR.fields_by_name and request.HasField(first)


@dataclass(frozen=True)
class Break:
    """One rule of one field, and the values that break it."""

    place: Place
    name: str
    rule: str
    ways: tuple[Callable[[Any], None], ...]

    @property
    def path(self) -> str:
        """The field that a refusal must name."""
        return self.place.path(self.name)

    def __str__(self) -> str:
        return f"{self.path[:80]}-{self.rule}"

    def request(self, good: Message) -> Message:
        """A copy of a good request with this rule broken and no other field wrong."""
        base = copy_of(good)
        self.place.of(base)
        assert not _broken(base), f"not good before {self} is broken: {_broken(base)}\n{base}"
        broken = [self._with(way, base) for way in self.ways]
        for request in broken:
            if self._only({self.path}, request):
                return request
        # A rule over several fields, which has no path, may have to be broken with it.
        for request in broken:
            if self._only({self.path, ""}, request):
                return request
        raise AssertionError(f"{self} could not be broken alone: {[_broken(request) for request in broken]}")

    def _with(self, way: Callable[[Any], None], base: Message) -> Message:
        request: Message = copy_of(base)
        way(self.place.of(request))
        return request

    def _only(self, paths: set[str], request: Message) -> bool:
        broken = _broken(request)
        mine = any(path == self.path and _names(rule, self.rule) for path, rule in broken)
        return mine and {path for path, _ in broken} <= paths


@dataclass(frozen=True)
class Cel:
    """A rule over several fields, written in CEL."""

    place: Place
    rule_id: str
    message: str

    def __str__(self) -> str:
        return f"{self.place.path()}{'.' if self.place.steps else ''}{self.rule_id}"


def breaks(message: Descriptor) -> list[Break]:
    """Every standard rule of a request and of the messages inside it."""
    return [found for place, descriptor in places(message) for found in _of_message(place, descriptor)]


def cels(message: Descriptor) -> list[Cel]:
    """Every CEL rule of a request and of the messages inside it."""
    found = []
    for place, descriptor in places(message):
        for rule in _message_rules(descriptor).cel:
            found.append(Cel(place, rule.id, rule.message))
        for field in descriptor.fields:
            assert not _rules(field).cel, f"{field.full_name}: rules of a field in CEL are not walked yet"
    return found


def is_good(request: Message) -> bool:
    """True if a request keeps every rule."""
    return not _broken(request)


def fill(message: Any) -> None:
    """Set what a message must have, as shortly as may be."""
    for field in message.DESCRIPTOR.fields:
        rules = _rules(field)
        if rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE or field.containing_oneof:
            continue
        if field.is_repeated:
            while not is_map(field) and len(getattr(message, field.name)) < rules.repeated.min_items:
                _append(message, field)
        elif field.message_type:
            if rules.required:
                _child(message, field)
        elif not field.has_presence:
            setattr(message, field.name, good_value(field, rules))


def good_value(field: FieldDescriptor, rules: Any) -> Any:
    """A value of a scalar field that keeps its rules; the zero value if that does."""
    match field.type:
        case FieldDescriptor.TYPE_STRING:
            return _good_text(rules.string)
        case FieldDescriptor.TYPE_BYTES:
            return b"x" * rules.bytes.min_len
        case FieldDescriptor.TYPE_ENUM:
            numbers = [number for number in _numbers(field) if number not in rules.enum.not_in]
            return [*getattr(rules.enum, "in"), *numbers][0]
        case FieldDescriptor.TYPE_BOOL:
            return False
    bounds = getattr(rules, _kind(rules), None) if _kind(rules) else None
    least = max(getattr(bounds, "gte", 0), 0) if bounds is not None else 0
    return least + 1 if bounds is not None and bounds.HasField("gt") else least


# --- where rules are -----------------------------------------------------------------------------


def places(message: Descriptor) -> Iterator[tuple[Place, Descriptor]]:
    """A request and every message of the contract inside it, each once on its way down."""
    waiting: list[tuple[Place, Descriptor, tuple[str, ...]]] = [(Place(), message, (message.full_name,))]
    while waiting:
        place, descriptor, above = waiting.pop(0)
        yield place, descriptor
        for field in descriptor.fields:
            child = inner(field)
            if child and child.full_name not in above:
                further = replace(place, steps=(*place.steps, Step(field)))
                waiting.append((further, child, (*above, child.full_name)))


def _of_message(place: Place, descriptor: Descriptor) -> Iterator[Break]:
    for oneof in descriptor.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield Break(place, oneof.name, "required", (_clear_oneof(oneof),))
    for field in descriptor.fields:
        yield from _of_field(place, field, _rules(field))


def _of_field(place: Place, field: FieldDescriptor, rules: Any) -> Iterator[Break]:
    def found(rule: str, values: Sequence[Any], put: Callable[[Any], Callable[[Any], None]], name: str) -> Break:
        return Break(place, name, rule, tuple(put(value) for value in values))

    if rules.required:
        yield Break(place, field.name, "required", (lambda message: message.ClearField(field.name),))
    kind = _kind(rules)
    if kind == "repeated":
        items = rules.repeated
        for rule in _set(items):
            if rule != "items":
                yield Break(place, field.name, f"repeated.{rule}", (_wrong_number(field, rules, rule),))
        for rule, values in _bad(items.items, field):
            yield found(f"items.{rule}", values, _put_item(field), f"{field.name}[0]")
    elif kind == "map":
        yield from _of_map(place, field, rules.map)
    else:
        for rule, values in _bad(rules, field):
            yield found(rule, values, _put(field), field.name)


def _of_map(place: Place, field: FieldDescriptor, rules: Any) -> Iterator[Break]:
    entry: Any = field.message_type
    key, value = entry.fields_by_name["key"], entry.fields_by_name["value"]
    good_key, good = good_value(key, rules.keys), good_value(value, rules.values)

    def too_many(message: Any) -> None:
        entries = getattr(message, field.name)
        entries.clear()
        for number in range(rules.max_pairs + 1):
            entries[f"k{number}"] = good

    if rules.max_pairs:
        yield Break(place, field.name, "map.max_pairs", (too_many,))
    for rule, [bad, *_] in _bad(rules.keys, key):
        yield Break(place, f"{field.name}[{bad}]", f"keys.{rule}", (_put_entry(field, bad, good),))
    for rule, values in _bad(rules.values, value):
        ways = tuple(_put_entry(field, good_key, bad) for bad in values)
        yield Break(place, f"{field.name}[{good_key}]", f"values.{rule}", ways)


# --- how rules are broken ------------------------------------------------------------------------


def _bad(rules: Any, field: FieldDescriptor) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each rule of a scalar or Duration with values of which one at least breaks it alone."""
    kind = _kind(rules)
    if not kind:
        return
    bounds = getattr(rules, kind)
    skips_zero = rules.ignore == validate_pb2.IGNORE_IF_ZERO_VALUE
    for rule in _set(bounds):
        if rule in _FLAGS and not getattr(bounds, rule):
            continue
        values = _values(kind, rule, bounds, field)
        yield f"{kind}.{rule}", [value for value in values if value or not skips_zero]


def _values(kind: str, rule: str, bounds: Any, field: FieldDescriptor) -> Sequence[Any]:
    limit = getattr(bounds, rule)
    match kind, rule:
        case "string", "min_len":
            return ["x" * (limit - 1)]
        case "string", "max_len":
            return [unit * (limit + 1) for unit in ("x", "0", "A")] + [_long(bounds, limit)]
        case "string", "pattern":
            # "!" sorts before every day and "~" after, so that an order of two days stays kept.
            return ["!", "~", " "]
        case "string", "uuid":
            return ["not-a-uuid"]
        case "string", "email":
            return ["nobody"]
        case "bytes", "min_len":
            return [b"x" * (limit - 1)]
        case "bytes", "max_len":
            return [b"x" * (limit + 1)]
        case "enum", "defined_only":
            return [max(_numbers(field)) + 1000]
        case "enum", "not_in":
            return list(limit)
        case "enum", "in":
            return [number for number in _numbers(field) if number not in limit]
        case "duration", ("gte" | "gt"):
            return [limit.seconds - 1]
        case "duration", ("lte" | "lt"):
            return [limit.seconds + 1]
        case _, "gte":
            return [limit - 1]
        case _, "lte":
            return [limit + 1]
        case _, "gt":
            return [limit, limit - 1]
        case _, "lt":
            return [limit, limit + 1]
        case "double" | "float", "finite":
            return [math.inf, -math.inf, math.nan]
    raise AssertionError(f"{field.full_name}: {kind}.{rule} is a rule that nobody taught this test to break")


def _long(bounds: Any, limit: int) -> str:
    """A text too long whose end still matches: ids end in a number."""
    text = _good_text(bounds)
    return "A" * (limit + 1 - len(text)) + text if bounds.pattern else f"{'a' * 60}@{'b' * limit}.org"


def _put(field: FieldDescriptor) -> Callable[[Any], Callable[[Any], None]]:
    return lambda value: lambda message: _assign(message, field, value)


def _assign(message: Any, field: FieldDescriptor, value: Any) -> None:
    if field.message_type:
        getattr(message, field.name).Clear()
        getattr(message, field.name).seconds = value
    else:
        setattr(message, field.name, value)


def _put_item(field: FieldDescriptor) -> Callable[[Any], Callable[[Any], None]]:
    def put(value: Any) -> Callable[[Any], None]:
        def way(message: Any) -> None:
            message.ClearField(field.name)
            if field.message_type:
                getattr(message, field.name).add(seconds=value)
            else:
                getattr(message, field.name).append(value)

        return way

    return put


def _put_entry(field: FieldDescriptor, key: Any, value: Any) -> Callable[[Any], None]:
    def way(message: Any) -> None:
        getattr(message, field.name).clear()
        getattr(message, field.name)[key] = value

    return way


def _wrong_number(field: FieldDescriptor, rules: Any, rule: str) -> Callable[[Any], None]:
    """Too few, too many, or the same twice."""

    def way(message: Any) -> None:
        wanted = {"min_items": rules.repeated.min_items - 1, "unique": 2}.get(rule, rules.repeated.max_items + 1)
        if not getattr(message, field.name):
            _append(message, field)
        [first, *_] = getattr(message, field.name)
        kept = copy_of(first) if field.message_type else first
        message.ClearField(field.name)
        getattr(message, field.name).extend([kept] * wanted)

    return way


def _clear_oneof(oneof: OneofDescriptor) -> Callable[[Any], None]:
    def way(message: Any) -> None:
        for field in oneof.fields:
            message.ClearField(field.name)

    return way


# --- filling -------------------------------------------------------------------------------------


def _child(message: Any, field: FieldDescriptor) -> Any:
    """The message in a field, or the first of several; filled in if there is none."""
    if field.is_repeated:
        if not getattr(message, field.name):
            _append(message, field)
        return getattr(message, field.name)[0]
    if not message.HasField(field.name):
        getattr(message, field.name).SetInParent()
        fill(getattr(message, field.name))
    return getattr(message, field.name)


def _append(message: Any, field: FieldDescriptor) -> None:
    if field.message_type:
        fill(getattr(message, field.name).add())
    else:
        getattr(message, field.name).append(good_value(field, _rules(field).repeated.items))


def _good_text(rules: Any) -> str:
    if rules.uuid:
        return _UUID
    if rules.pattern:
        return MATCHING[rules.pattern]
    return "x" * int(rules.min_len)


# --- protovalidate -------------------------------------------------------------------------------


def _broken(request: Message) -> list[tuple[str, str]]:
    """Path and rule of each violation; no path for a rule over several fields."""
    found = []
    for violation in _validator.collect_violations(request):
        proto: Any = violation.proto
        over_several = proto.rule is None and proto.rule_id != "required"
        found.append(("" if over_several else _path(proto.field), proto.rule_id))
    return found


def _path(path: Any) -> str:
    elements = path.elements if path else ()
    return ".".join(e.field_name + (f"[{e.subscript.value}]" if e.subscript else "") for e in elements)


def _names(rule_id: str, rule: str) -> bool:
    """True if a violation's "int32.gte_lte" is of the rule "int32.gte", or of "items.int32.gte"."""
    kind, _, name = rule.removeprefix("items.").removeprefix("keys.").removeprefix("values.").partition(".")
    given, _, part = rule_id.partition(".")
    return given == kind and (part == name or part.startswith((f"{name}_", "gte_lt", "gt_lt")))


def _numbers(field: Any) -> list[int]:
    """The values of an enum field."""
    return [value.number for value in field.enum_type.values]


def _rules(field: FieldDescriptor) -> Any:
    return field.GetOptions().Extensions[validate_pb2.field]


def _message_rules(message: Descriptor) -> Any:
    return message.GetOptions().Extensions[validate_pb2.message]


def _kind(rules: Any) -> str:
    return rules.WhichOneof("type") or ""


def _set(rules: Any) -> list[str]:
    return [field.name for field, _ in rules.ListFields()]


def copy_of(message: Any) -> Any:
    """A message just like another."""
    copied = type(message)()
    copied.CopyFrom(message)
    return copied
