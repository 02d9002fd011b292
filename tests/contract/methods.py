"""Every call of the contract, read from the descriptors, and the reasons for which its comment says it fails."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from dsm.backlog.v1 import backlog_service_pb2
from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.common.v1 import admin_service_pb2, error_reason_pb2, status_service_pb2
from dsm.embedding.v1 import embedding_service_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2
from dsm.project.v1 import project_service_pb2
from dsm.sprint.v1 import daily_scrum_service_pb2, sprint_service_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor, MethodDescriptor, ServiceDescriptor

from scripts.openapi.contract import load

_FILES: tuple[Any, ...] = (
    backlog_service_pb2,
    chronicle_service_pb2,
    admin_service_pb2,
    status_service_pb2,
    embedding_service_pb2,
    orchestrator_service_pb2,
    project_service_pb2,
    daily_scrum_service_pb2,
    sprint_service_pb2,
)


def _services() -> Iterator[ServiceDescriptor]:
    for file in _FILES:
        yield from file.DESCRIPTOR.services_by_name.values()


METHODS = [method for service in _services() for method in service.methods]

REASONS = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118

# Any call can fail for these, and no comment names them: numbers below 100, but for what only some calls can meet.
_SPECIAL = {"ETAG_MISMATCH", "DEPENDENCY_UNAVAILABLE", "SERVICE_NOT_FOUND", "DEAD_LETTER_NOT_FOUND"}
_GENERAL = {name for name in REASONS if error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{name}") < 100} - _SPECIAL
_CONTRACT = load((Path(__file__).parents[2] / "gen" / "descriptor" / "dsm.binpb").read_bytes())


@cache
def named_reasons(method: MethodDescriptor) -> frozenset[str]:
    """The reasons that a call's comment names after 'Errors:', with those of a call that it refers to by 'as …', and
    those that its service's comment names; what any call can fail for is among them.
    """
    service = method.containing_service
    errors = _CONTRACT.comment(method.full_name).partition("Errors:")[2]
    others = (service.methods_by_name.get(name) for name in re.findall(r"\bas ([A-Z]\w+)", errors))
    inherited = frozenset[str]().union(*(named_reasons(other) for other in others if other))
    words = re.findall(r"[A-Z_]{3,}", errors + _CONTRACT.comment(service.full_name))
    return inherited | (REASONS & set(words)) | _GENERAL


def short(method: MethodDescriptor) -> str:
    """ "SprintService.StartSprint": how tests name a call."""
    return f"{method.containing_service.name}.{method.name}"


def is_read(method: MethodDescriptor) -> bool:
    """True if the call says that it changes nothing."""
    level = method.GetOptions().idempotency_level
    return level == method.GetOptions().NO_SIDE_EFFECTS


def is_map(field: FieldDescriptor) -> bool:
    """True if a field is a map, which descriptors show as repeated entries."""
    return field.is_repeated and field.message_type is not None and field.message_type.GetOptions().map_entry


def inner(field: FieldDescriptor) -> Descriptor | None:
    """The contract's own message that a field holds; None for scalars, maps and Google's types."""
    message = field.message_type
    ours = message is not None and message.file.package.startswith("dsm.") and not is_map(field)
    return message if ours else None
