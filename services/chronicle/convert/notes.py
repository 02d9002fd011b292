"""Free notes."""

from datetime import datetime

from dsm.chronicle.v1 import note_pb2 as pb

from services.chronicle.domain.notes import FreeNote
from services.kit.convert import from_time


def decode(message: pb.FreeNote, note_id: str, now: datetime) -> FreeNote:
    """A new note; the message's own id and time are not looked at."""
    return FreeNote(
        note_id=note_id,
        project_id=message.project_id,
        sprint_id=message.sprint_id,
        task_id=message.task_id,
        text=message.text,
        author_id=message.author_id,
        create_time=now,
    )


def encode(note: FreeNote) -> pb.FreeNote:
    """The note as sent."""
    return pb.FreeNote(
        note_id=note.note_id,
        project_id=note.project_id,
        sprint_id=note.sprint_id,
        task_id=note.task_id,
        text=note.text,
        author_id=note.author_id,
        create_time=from_time(note.create_time),
    )
