"""The contract's own rules (protovalidate): a handler sees only well-formed requests."""

from collections.abc import AsyncIterator
from typing import Any

import protovalidate
from google.protobuf.message import DecodeError, Message

from services.kit.errors import InvalidArgument

_validator = protovalidate.Validator()


def validate(request: Message | DecodeError) -> None:
    """Hold a request against its rules; InvalidArgument with every violation, or the DecodeError that it is."""
    if isinstance(request, DecodeError):
        raise request
    # A field's own rules first: those over several fields are broken too when one of them is missing.
    violations = sorted(_validator.collect_violations(request), key=_is_over_several)
    if not violations:
        return
    found = [_field_and_rule(violation) for violation in violations]
    (field, rule), value = found[0], violations[0].field_value
    error = InvalidArgument(field, rule, "" if value is None or isinstance(value, Message) else value)
    error.violations = found
    raise error


async def validated(requests: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """Each message of a stream, held against its rules as it comes."""
    async for request in requests:
        validate(request)
        yield request


def _is_over_several(violation: Any) -> bool:
    """True for a rule of a message; that one of a oneof's fields is required is the oneof's rule."""
    return violation.proto.rule is None and violation.proto.rule_id != "required"


def _field_and_rule(violation: Any) -> tuple[str, str]:
    field, rule = _field_path(violation.proto.field), violation.proto.message or violation.proto.rule_id
    if not _is_over_several(violation):
        return field, rule
    # The path leads to the message that has the rule; the rule's text begins with the field at fault.
    part, _, rule = rule.partition(" ")
    return f"{field}.{part}" if field else part, rule


def _field_path(path: Any) -> str:
    """ "assignments[0].employee_id" for protovalidate's path elements."""
    elements = path.elements if path else ()
    return ".".join(e.field_name + (f"[{e.subscript.value}]" if e.subscript else "") for e in elements)
