"""The contract's rules, broken one at a time: every way to break a request comes from the field options.

A Break goes to its place in a good request, fills what is missing on the way and breaks one rule there. What is good
and what is broken is checked against protovalidate itself, so that a Break that breaks nothing, or too much, fails.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import protovalidate
from buf.validate import validate_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, OneofDescriptor
from google.protobuf.message import Message

from tests.contract.filling import append_to, copy_of, good_text, good_value, kind_of, numbers_of, rules_of
from tests.contract.places import Place, places

_validator = protovalidate.Validator()

_FLAGS = ("uuid", "email", "finite", "unique", "defined_only")


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
            assert not rules_of(field).cel, f"{field.full_name}: rules of a field in CEL are not walked yet"
    return found


def is_good(request: Message) -> bool:
    """True if a request keeps every rule."""
    return not _broken(request)


# --- where rules are -----------------------------------------------------------------------------


def _of_message(place: Place, descriptor: Descriptor) -> Iterator[Break]:
    for oneof in descriptor.oneofs:
        if oneof.GetOptions().Extensions[validate_pb2.oneof].required:
            yield Break(place, oneof.name, "required", (_clear_oneof(oneof),))
    for field in descriptor.fields:
        yield from _of_field(place, field, rules_of(field))


def _of_field(place: Place, field: FieldDescriptor, rules: Any) -> Iterator[Break]:
    def found(rule: str, values: Sequence[Any], put: Callable[[Any], Callable[[Any], None]], name: str) -> Break:
        return Break(place, name, rule, tuple(put(value) for value in values))

    if rules.required:
        yield Break(place, field.name, "required", (lambda message: message.ClearField(field.name),))
    kind = kind_of(rules)
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
    kind = kind_of(rules)
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
            return [max(numbers_of(field)) + 1000]
        case "enum", "not_in":
            return list(limit)
        case "enum", "in":
            return [number for number in numbers_of(field) if number not in limit]
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
    text = good_text(bounds)
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
            append_to(message, field)
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


def _message_rules(message: Descriptor) -> Any:
    return message.GetOptions().Extensions[validate_pb2.message]


def _set(rules: Any) -> list[str]:
    return [field.name for field, _ in rules.ListFields()]
