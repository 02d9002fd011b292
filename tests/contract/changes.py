"""Changes to a good request that keep it well-formed: ids that nothing has, and another body."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from buf.validate import validate_pb2
from google.protobuf.descriptor import FieldDescriptor

from tests.contract.methods import inner
from tests.contract.places import Place, Step
from tests.contract.rules import is_good

_UNKNOWN_UUID = "ffffffff-ffff-4fff-8fff-ffffffffffff"
# By the end of the field's name; the first that fits.
_UNKNOWN = {
    "task_id": "NONE-404-TASK404",
    "task_ids": "NONE-404-TASK404",
    "depends_on": "NONE-404-TASK404",
    "story_id": "NONE-404-STORY404",
    "sprint_id": "NONE-404-S04",
    "service": "nobody",
    "cron_job_name": "nobody",
    "_id": "NONE-404",
    "_ids": "NONE-404",
}


def id_places(request: Any, place: Place = Place()) -> Iterator[tuple[Place, FieldDescriptor]]:  # noqa: B008
    """Every field that names a thing, in a request and the messages that it has."""
    for field in request.DESCRIPTOR.fields:
        value = getattr(request, field.name)
        if inner(field):
            held = value[0] if field.is_repeated and value else None if field.is_repeated else value
            if held is not None and (field.is_repeated or request.HasField(field.name)):
                yield from id_places(held, Place((*place.steps, Step(field))))
        elif _unknown(field) and field.name not in ("request_id", "etag"):
            yield place, field


def with_unknown(request: Any, place: Place, field: FieldDescriptor) -> Any:
    """A copy whose field names something that does not exist; well-formed."""
    changed = type(request)()
    changed.CopyFrom(request)
    holder: Any = place.of(changed)
    if field.is_repeated:
        holder.ClearField(field.name)
        getattr(holder, field.name).append(_unknown(field))
    else:
        setattr(holder, field.name, _unknown(field))
    _name_in_mask(changed, place, field)
    assert is_good(changed), f"no well-formed id for {place.path(field.name)}"
    return changed


def _name_in_mask(request: Any, place: Place, field: FieldDescriptor) -> None:
    """An update heeds only what its mask names, beside the id of what it changes."""
    if not place.steps:
        return
    *above, resource = place.steps
    update = Place(tuple(above)).of(request)
    if "update_mask" in update.DESCRIPTOR.fields_by_name and field.name != f"{resource.field.name}_id":
        update.ClearField("update_mask")
        update.update_mask.paths.append(field.name)  # type: ignore[attr-defined]  # it has one, as just seen


def with_another_body(request: Any) -> Any:
    """A copy that differs in one field and breaks no rule; what comes last in the message first."""
    for field in reversed(request.DESCRIPTOR.fields):
        for change in () if field.name == "request_id" else _changes(request, field):
            changed = type(request)()
            changed.CopyFrom(request)
            change(changed)
            if changed != request and is_good(changed):
                return changed
    raise AssertionError(f"no other body found for {request}")


def _changes(request: Any, field: FieldDescriptor) -> Iterator[Any]:
    if inner(field) and not field.is_repeated:
        yield lambda changed: _replace(changed, field, with_another_body(getattr(request, field.name)))
    elif field.is_repeated:
        if text := _unknown(field):
            yield lambda changed: getattr(changed, field.name).append(text)
    elif field.message_type:
        if field.message_type.name == "Timestamp":
            yield lambda changed: setattr(getattr(changed, field.name), "nanos", 1000)
    elif field.type == FieldDescriptor.TYPE_STRING:
        for text in ("x", "2025-03-07", _unknown(field) or "y"):
            yield lambda changed, text=text: setattr(changed, field.name, text)
    elif field.type == FieldDescriptor.TYPE_BOOL:
        yield lambda changed: setattr(changed, field.name, not getattr(changed, field.name))
    else:
        yield lambda changed: setattr(changed, field.name, getattr(changed, field.name) + 1)


def _replace(message: Any, field: FieldDescriptor, value: Any) -> None:
    getattr(message, field.name).CopyFrom(value)


def _unknown(field: FieldDescriptor) -> str:
    if field.type != FieldDescriptor.TYPE_STRING:
        return ""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    fitting = (text for end, text in _UNKNOWN.items() if field.name.endswith(end))
    found = next(fitting, "")
    return _UNKNOWN_UUID if found and (rules.string.uuid or rules.repeated.items.string.uuid) else found
