"""Impediments."""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from psycopg.rows import kwargs_row

from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.paging import Page
from services.kit.data.rows import plain
from services.sprint.domain.progress import Impediment, ImpedimentNotFound, ImpedimentState

_LOCK = "SELECT * FROM impediment WHERE impediment_id = %(impediment_id)s FOR UPDATE"
_OF_SPRINT = "SELECT * FROM impediment WHERE sprint_id = %(sprint_id)s ORDER BY raise_time, impediment_id"
_OPEN_OF_TASK = """
    SELECT count(*) FROM impediment
    WHERE task_id = %(task_id)s AND sprint_id = %(sprint_id)s AND state = 'OPEN'
"""
_OPEN_TEXTS = "SELECT task_id, text FROM impediment WHERE task_id = ANY(%(task_ids)s) AND state = 'OPEN'"
_PAGE = """
    SELECT * FROM impediment WHERE true {filters}
    ORDER BY raise_time DESC, impediment_id DESC LIMIT %(limit)s
"""
_FILTERS = ("project_id", "sprint_id", "task_id", "state")
_INSERT = """
    INSERT INTO impediment (impediment_id, project_id, sprint_id, task_id, raised_by, owner_id, text, state,
                            raise_date, raise_time, resolve_time, resolve_date, resolution)
    VALUES (%(impediment_id)s, %(project_id)s, %(sprint_id)s, %(task_id)s, %(raised_by)s, %(owner_id)s, %(text)s,
            %(state)s, %(raise_date)s, %(raise_time)s, %(resolve_time)s, %(resolve_date)s, %(resolution)s)
"""
# Once resolved, it stays so.
_PUT_BACK = (
    _INSERT
    + """
    ON CONFLICT (impediment_id) DO UPDATE
    SET state = excluded.state, resolve_time = excluded.resolve_time, resolve_date = excluded.resolve_date,
        resolution = excluded.resolution
    WHERE excluded.state = 'RESOLVED'
"""
)
_RESOLVE = """
    UPDATE impediment SET state = %(state)s, resolve_time = %(resolve_time)s, resolve_date = %(resolve_date)s,
                          resolution = %(resolution)s
    WHERE impediment_id = %(impediment_id)s
"""


async def lock(tx: WriteHandle, impediment_id: str, project_id: str) -> Impediment:
    """One impediment, which nobody else changes until the transaction ends; ImpedimentNotFound, also if it belongs to
    another project than the one given, if any is.
    """
    found = await tx.maybe(_LOCK, {"impediment_id": impediment_id}, row=_row)
    if found is None or project_id not in ("", found.project_id):
        raise ImpedimentNotFound(impediment_id)
    return found


async def of_sprint(db: ReadHandle, sprint_id: str) -> list[Impediment]:
    """Every impediment raised in a sprint, oldest first."""
    return await db.all(_OF_SPRINT, {"sprint_id": sprint_id}, row=_row)


async def open_count(db: ReadHandle, sprint_id: str, task_id: str) -> int:
    """How many impediments of a task were raised in a sprint and are still open."""
    return int(await db.value(_OPEN_OF_TASK, {"sprint_id": sprint_id, "task_id": task_id}))


async def open_texts(db: ReadHandle, task_ids: Collection[str]) -> set[tuple[str, str]]:
    """What blocks some tasks, as (task id, text)."""
    rows = await db.rows(_OPEN_TEXTS, {"task_ids": list(task_ids)})
    return {(row["task_id"], row["text"]) for row in rows}


async def page(db: ReadHandle, page: Page, **wanted: str) -> list[Impediment]:
    """A page of impediments, last raised first; `wanted` are project_id, sprint_id, task_id and state, "" = any."""
    filters = " ".join(f"AND {name} = %({name})s" for name in _FILTERS if wanted[name])
    filters += " AND (raise_time, impediment_id) < (%(raise_time)s, %(impediment_id)s)" if page.after else ""
    raise_time, impediment_id = page.after or (None, None)
    params: dict[str, Any] = {**wanted, "limit": page.limit, "impediment_id": impediment_id}
    params["raise_time"] = raise_time and datetime.fromisoformat(raise_time)
    return await db.all(_PAGE.format(filters=filters), params, row=_row)


async def insert(tx: WriteHandle, impediment: Impediment) -> None:
    """Store a new impediment."""
    await tx.execute(_INSERT, plain(impediment))


async def put_back(tx: WriteHandle, impediment: Impediment) -> None:
    """Store an impediment that was lost, or that is resolved since."""
    await tx.execute(_PUT_BACK, plain(impediment))


async def resolve(tx: WriteHandle, impediment: Impediment) -> None:
    """Store that an impediment is out of the way."""
    await tx.execute(_RESOLVE, plain(impediment))


def _impediment(*, impediment_id: object, state: str, **plain: Any) -> Impediment:
    return Impediment(impediment_id=str(impediment_id), state=ImpedimentState(state), **plain)


_row = kwargs_row(_impediment)
