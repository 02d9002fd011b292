"""Impediments."""

from collections.abc import Sequence

from services.chronicle.domain.impediments import Impediment
from services.chronicle.store.sql import insert, json_rows, plain
from services.kit.database import WriteHandle

_COLUMNS = """impediment_id, project_id, sprint_id, task_id, raised_by, owner_id, text, state, raise_date, raise_time,
    resolve_time, resolution"""
# One that is resolved stays so, in whatever order the events come.
_PUT = f"""
    {insert("impediment", _COLUMNS)}
    ON CONFLICT (impediment_id) DO UPDATE SET
        owner_id = excluded.owner_id, text = excluded.text, state = excluded.state,
        resolve_time = excluded.resolve_time, resolution = excluded.resolution
    WHERE impediment.state = 'OPEN'
"""


async def put(tx: WriteHandle, impediments: Sequence[Impediment]) -> None:
    """Store impediments, each id at most once."""
    await tx.execute(_PUT, json_rows([plain(impediment) for impediment in impediments]))
