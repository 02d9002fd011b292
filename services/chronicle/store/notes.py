"""Free notes."""

from typing import Any

from services.chronicle.domain.notes import FreeNote
from services.chronicle.store.sql import where
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import plain

_COLUMNS = "note_id, project_id, sprint_id, task_id, text, author_id, create_time"
_INSERT = f"""
    INSERT INTO free_note ({_COLUMNS})
    VALUES (%(note_id)s, %(project_id)s, %(sprint_id)s, %(task_id)s, %(text)s, %(author_id)s, %(create_time)s)
"""
_FILTERS = {
    "project_id": "project_id = %(project_id)s",
    # The indexes on sprints and tasks leave out notes without one, which the planner must be told.
    "sprint_id": "sprint_id = %(sprint_id)s AND sprint_id <> ''",
    "task_id": "task_id = %(task_id)s AND task_id <> ''",
    "after_id": "(create_time, note_id) < (%(after_time)s::timestamptz, %(after_id)s::uuid)",
}
_ORDER = "ORDER BY create_time DESC, note_id DESC LIMIT %(limit)s"


async def add(tx: WriteHandle, note: FreeNote) -> None:
    """Store a note."""
    await tx.execute(_INSERT, plain(note))


async def page(read: ReadHandle, params: dict[str, Any]) -> list[FreeNote]:
    """Notes that match, newest first."""
    rows = await read.rows(f"SELECT {_COLUMNS} FROM free_note {where(_FILTERS, params)} {_ORDER}", params)
    return [FreeNote(**(row | {"note_id": str(row["note_id"])})) for row in rows]
