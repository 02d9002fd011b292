"""The contract as its descriptor set has it: linked descriptors, and the comment above each element."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NoReturn

from google.protobuf import message_factory
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from google.protobuf.descriptor_pool import DescriptorPool

_OWN_PACKAGES = "dsm."
# Where descriptor.proto keeps what, by field number: the path of an element in its file begins so.
_FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_MESSAGE, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE = _SERVICE_METHOD = 2

_Path = tuple[int, ...]
_Named = Iterator[tuple[_Path, str]]


@dataclass(frozen=True)
class Contract:
    """Every service of DSM, and every comment by the full name of its element."""

    services: list[ServiceDescriptor]
    reasons: EnumDescriptor
    comments: dict[str, str]
    pool: DescriptorPool

    def access(self, method: MethodDescriptor) -> tuple[str, list[str]]:
        """The role that a call needs, and the fields that name its projects. Read by the contract's own descriptors:
        the generated code may be older than the contract.
        """
        extension: Any = self.pool.FindExtensionByName("dsm.common.v1.access")
        options_type = message_factory.GetMessageClass(self.pool.FindMessageTypeByName("google.protobuf.MethodOptions"))
        options: Any = options_type.FromString(method.GetOptions().SerializeToString())
        access = options.Extensions[extension]
        roles = extension.message_type.fields_by_name["role"].enum_type.values_by_number
        return roles[access.role].name, list(access.project)

    def comment(self, full_name: str) -> str:
        """The comment above an element, a paragraph a line; empty if it has none."""
        return self.comments.get(full_name, "")


def load(descriptor_set: bytes) -> Contract:
    """Link a descriptor set that was built with imports and comments."""
    pool = DescriptorPool()
    services: list[ServiceDescriptor] = []
    comments: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(descriptor_set).file:
        pool.AddSerializedFile(file.SerializeToString())
        comments |= _comments(file)
        if file.package.startswith(_OWN_PACKAGES):
            linked = pool.FindFileByName(file.name)
            services += linked.services_by_name.values()
    services.sort(key=lambda service: service.full_name)
    reasons = pool.FindEnumTypeByName("dsm.common.v1.ErrorReason")
    return Contract(services, reasons, comments, pool)


def message_of(field: FieldDescriptor) -> Descriptor:
    """The message that is a field's type."""
    if field.message_type is None:
        refuse(field.full_name, "a scalar where the HTTP rule needs a message")
    return field.message_type


def refuse(name: str, what: str) -> NoReturn:
    """Stop: the document would say less than the contract."""
    raise SystemExit(f"{name}: scripts/openapi does not know {what}; teach it.")


def _comments(file: FileDescriptorProto) -> dict[str, str]:
    texts = {tuple(location.path): location.leading_comments for location in file.source_code_info.location}
    return {name: _unwrapped(texts[path]) for path, name in _elements(file) if texts.get(path)}


def _unwrapped(comment: str) -> str:
    paragraphs = "\n".join(line.strip() for line in comment.strip().splitlines()).split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _elements(file: FileDescriptorProto) -> _Named:
    for i, message in enumerate(file.message_type):
        yield from _in_message(message, file.package, (_FILE_MESSAGE, i))
    for i, enum in enumerate(file.enum_type):
        yield from _in_enum(enum, file.package, (_FILE_ENUM, i))
    for i, service in enumerate(file.service):
        yield from _in_service(service, file.package, (_FILE_SERVICE, i))


def _in_message(message: DescriptorProto, parent: str, path: _Path) -> _Named:
    name = f"{parent}.{message.name}"
    yield path, name
    for i, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELD, i), f"{name}.{field.name}"
    for i, nested in enumerate(message.nested_type):
        yield from _in_message(nested, name, (*path, _MESSAGE_MESSAGE, i))
    for i, enum in enumerate(message.enum_type):
        yield from _in_enum(enum, name, (*path, _MESSAGE_ENUM, i))


def _in_enum(enum: EnumDescriptorProto, parent: str, path: _Path) -> _Named:
    name = f"{parent}.{enum.name}"
    yield path, name
    for i, value in enumerate(enum.value):
        yield (*path, _ENUM_VALUE, i), f"{name}.{value.name}"


def _in_service(service: ServiceDescriptorProto, parent: str, path: _Path) -> _Named:
    name = f"{parent}.{service.name}"
    yield path, name
    for i, method in enumerate(service.method):
        yield (*path, _SERVICE_METHOD, i), f"{name}.{method.name}"
