"""Impediments, which only come in by events."""

from datetime import datetime

from dsm.sprint.v1 import sprint_pb2 as pb

from services.chronicle.convert import canonical_id, time_of
from services.chronicle.domain.impediments import Impediment
from services.kit.convert import to_date_or_none


def decode(message: pb.Impediment, state: str, event_time: datetime) -> Impediment:
    """The impediment after the event that told of it; `event_time` stands in for instants that are not given."""
    resolved = time_of(message, "resolve_time") or event_time
    return Impediment(
        impediment_id=canonical_id(message.impediment_id),
        project_id=message.project_id,
        sprint_id=message.sprint_id,
        task_id=message.task_id,
        raised_by=message.raised_by,
        owner_id=message.owner_id,
        text=message.text,
        state=state,
        raise_date=to_date_or_none(message.raise_date, "impediment.raise_date"),
        raise_time=time_of(message, "raise_time") or event_time,
        resolve_time=resolved if state == "RESOLVED" else None,
        resolve_date=to_date_or_none(message.resolve_date, "impediment.resolve_date"),
        resolution=message.resolution,
    )
