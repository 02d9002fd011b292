"""What sprints reserved: one row per sprint, which serialises the calls about it, and one per task."""

from collections.abc import Sequence

from psycopg.rows import class_row, scalar_row

from services.backlog.domain.course import Release
from services.backlog.domain.task import Task
from services.kit.data.database import ReadHandle, WriteHandle

# The update of nothing locks the row that is there already.
_LOCK = """
    INSERT INTO reservation AS r (sprint_id, state) VALUES (%(sprint_id)s, %(state)s)
    ON CONFLICT (sprint_id) DO UPDATE SET state = r.state RETURNING state
"""
_END = """
    INSERT INTO reservation AS r (sprint_id, state) SELECT unnest(%(sprint_ids)s::text[]), 'RELEASED'
    ON CONFLICT (sprint_id) DO UPDATE SET state = 'RELEASED'
"""
_KEEP = """
    INSERT INTO reserved_task (sprint_id, task_id, assignee_id, progress_percent)
    SELECT %(sprint_id)s, * FROM unnest(%(task_ids)s::text[], %(assignee_ids)s::text[], %(percents)s::int[])
    ON CONFLICT (sprint_id, task_id) DO UPDATE
    SET assignee_id = excluded.assignee_id, progress_percent = excluded.progress_percent
"""
_KEPT = """
    SELECT task_id, 0 AS version, assignee_id, progress_percent FROM reserved_task WHERE sprint_id = %(sprint_id)s
"""
_IDS = "SELECT task_id FROM reserved_task WHERE sprint_id = %(sprint_id)s"
_FORGET = "DELETE FROM reserved_task WHERE sprint_id = %(sprint_id)s AND task_id = ANY(%(task_ids)s)"


async def lock_reservation(tx: WriteHandle, sprint_id: str, new_state: str = "RESERVED") -> str:
    """The state of a sprint's reservation, locked; one that is not there is made in `new_state`."""
    return str(await tx.value(_LOCK, {"sprint_id": sprint_id, "state": new_state}))


async def end_reservations(tx: WriteHandle, sprint_ids: Sequence[str]) -> None:
    """Let nothing be reserved for these sprints any more."""
    await tx.execute(_END, {"sprint_ids": list(sprint_ids)})


async def keep_reserved(tx: WriteHandle, sprint_id: str, tasks: Sequence[Task]) -> None:
    """Keep which tasks were taken, and their assignee and progress before."""
    params = {
        "sprint_id": sprint_id,
        "task_ids": [task.task_id for task in tasks],
        "assignee_ids": [task.course.assignee_id for task in tasks],
        "percents": [task.course.progress_percent for task in tasks],
    }
    await tx.execute(_KEEP, params)


async def kept_before(read: ReadHandle, sprint_id: str) -> dict[str, Release]:
    """Assignee and progress of a sprint's tasks before it took them."""
    rows = await read.all(_KEPT, {"sprint_id": sprint_id}, row=class_row(Release))
    return {row.task_id: row for row in rows}


async def reserved_ids(read: ReadHandle, sprint_id: str) -> set[str]:
    """The tasks that a sprint reserved and has not given back."""
    return set(await read.all(_IDS, {"sprint_id": sprint_id}, row=scalar_row))


async def forget_reserved(tx: WriteHandle, sprint_id: str, task_ids: Sequence[str]) -> None:
    """Tasks that a sprint gave back."""
    await tx.execute(_FORGET, {"sprint_id": sprint_id, "task_ids": list(task_ids)})
