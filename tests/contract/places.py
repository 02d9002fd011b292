"""Where the messages inside a request are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from tests.contract.filling import child_of
from tests.contract.methods import inner


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
            at = child_of(at, step.field)
        found: Message = at
        return found

    def is_in(self, request: Message, name: str) -> bool:
        """True if a request has the field `name` of this place, or is on the way to it."""
        first = self.steps[0].field.name if self.steps else name.partition("[")[0]
        return first in request.DESCRIPTOR.fields_by_name and request.HasField(first)


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
