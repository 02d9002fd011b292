"""Events: the envelope, and which subject and stream a payload belongs to."""

from datetime import datetime

import uuid_utils
from dsm.common.v1 import options_pb2
from dsm.events.v1 import event_pb2
from google.protobuf.message import Message

from services.kit import call
from services.kit.telemetry import trace

_PAYLOADS = {
    field.name: field.message_type
    for field in event_pb2.Event.DESCRIPTOR.oneofs_by_name["payload"].fields
    if field.message_type
}
_FIELD_OF = {message.full_name: name for name, message in _PAYLOADS.items()}
_SUBJECT_OF_FIELD = {name: message.GetOptions().Extensions[options_pb2.subject] for name, message in _PAYLOADS.items()}
# Every subject of the contract, by the full name of its payload.
SUBJECTS = {message.full_name: _SUBJECT_OF_FIELD[name] for name, message in _PAYLOADS.items()}


def new_event(
    payload: Message,
    *,
    source: str,
    aggregate: tuple[str, str],
    version: int,
    now: datetime,
    project_id: str = "",
) -> event_pb2.Event:
    """Wrap a payload. `aggregate` is (type, id); `version` is the aggregate's after the change."""
    at_hand = call.current()
    event = event_pb2.Event(
        event_id=str(uuid_utils.uuid7()),
        aggregate_type=aggregate[0],
        aggregate_id=aggregate[1],
        aggregate_version=version,
        actor=at_hand.actor if at_hand.method else f"service:{source}",
        correlation_id=at_hand.correlation_id,
        causation_id=at_hand.correlation_id,
        source_service=source,
        project_id=project_id,
        traceparent=trace.cause_of(aggregate[1]),
    )
    event.event_time.FromDatetime(now)
    getattr(event, _FIELD_OF[payload.DESCRIPTOR.full_name]).CopyFrom(payload)
    return event


def subject_of(event: event_pb2.Event) -> str:
    """The subject that an event is published under; empty if it has no payload known here."""
    return _SUBJECT_OF_FIELD.get(event.WhichOneof("payload") or "", "")


def stream_of(subject: str) -> str:
    """The stream that keeps a subject: dsm.sprint.v1.… is in DSM_SPRINT, dsm.in.sprint.v1.… in DSM_SPRINT_IN."""
    parts = subject.split(".")
    return f"DSM_{parts[2].upper()}_IN" if parts[1] == "in" else f"DSM_{parts[1].upper()}"


def stream_subjects(stream: str) -> str:
    """The subjects that a stream of stream_of() keeps, as a wildcard."""
    service = stream.removeprefix("DSM_").lower()
    return f"dsm.in.{service.removesuffix('_in')}.>" if service.endswith("_in") else f"dsm.{service}.>"


def consumer_name(service: str, stream: str) -> str:
    """What a service's consumer of a stream is called there."""
    return f"{service}-{stream.lower()}"
