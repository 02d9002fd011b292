"""Impediments, and how often each wording of them came."""

from collections.abc import Sequence
from typing import Any

from psycopg.rows import kwargs_row

from services.chronicle.domain.impediments import Impediment, Wording
from services.chronicle.store.sql import insert, where
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import json_rows, plain

_COLUMNS = """impediment_id, project_id, sprint_id, task_id, raised_by, owner_id, text, state, raise_date, raise_time,
    resolve_time, resolve_date, resolution"""
# One that is resolved stays so, in whatever order the events come.
_PUT = f"""
    {insert("impediment", _COLUMNS)}
    ON CONFLICT (impediment_id) DO UPDATE SET
        owner_id = excluded.owner_id, text = excluded.text, state = excluded.state,
        resolve_time = excluded.resolve_time, resolve_date = excluded.resolve_date, resolution = excluded.resolution,
        requires_embedding = impediment.requires_embedding OR impediment.text <> excluded.text
    WHERE impediment.state = 'OPEN'
"""

_FILTERS = {
    "sprint_id": "sprint_id = %(sprint_id)s",
    "start_date": "raise_time >= %(start_date)s::timestamp AT TIME ZONE 'UTC'",
    "end_date": "raise_time < (%(end_date)s::date + 1)::timestamp AT TIME ZONE 'UTC'",
}
# One vector per wording: that of an impediment which does not wait for another one, if there is any.
_WORDINGS = """
    SELECT text, count(*) AS frequency, count(*) FILTER (WHERE state = 'OPEN') AS open_count,
        min(raise_time) AS first_raise_time, max(raise_time) AS last_raise_time,
        coalesce(sum(resolve_date - raise_date), 0) AS resolve_days, count(resolve_date - raise_date) AS dated,
        (array_agg(impediment_id::text ORDER BY raise_time DESC, impediment_id))[:%(most_ids)s] AS impediment_ids,
        (array_agg(raise_time ORDER BY raise_time DESC, impediment_id))[:%(most_ids)s] AS raise_times,
        array_agg(DISTINCT sprint_id) AS sprint_ids,
        coalesce((array_agg(embedding_model ORDER BY requires_embedding, impediment_id))[1], '') AS model,
        (array_agg(halfvec_send(embedding) ORDER BY requires_embedding, impediment_id))[1] AS vector
    FROM impediment {where} GROUP BY text ORDER BY frequency DESC, last_raise_time DESC
"""


async def wordings(read: ReadHandle, project_id: str, most_ids: int, params: dict[str, Any]) -> list[Wording]:
    """The different texts of a project's impediments, most frequent first, each with at most `most_ids` ids."""
    clause = where(_FILTERS, params, ["project_id = %(project_id)s"])
    params = params | {"project_id": project_id, "most_ids": most_ids}
    return await read.all(_WORDINGS.replace("{where}", clause), params, row=kwargs_row(_wording))


def _wording(*, vector: bytes | None, **columns: Any) -> Wording:
    return Wording(vector=bytes(vector) if vector else b"", **columns)


async def put(tx: WriteHandle, impediments: Sequence[Impediment]) -> None:
    """Store impediments, each id at most once."""
    await tx.execute(_PUT, json_rows([plain(impediment) for impediment in impediments]))
