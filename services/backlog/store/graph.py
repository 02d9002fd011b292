"""How tasks hang together: what waits for what, and what is part of what."""

from collections.abc import Sequence

from psycopg.rows import scalar_row, tuple_row

from services.backlog.domain.graph import Edges
from services.kit.data.database import ReadHandle

# What a task may wait for without being held up: what is completed, and what is not there any more.
_SATISFIED = """
    SELECT d.task_id FROM unnest(%(task_ids)s::text[]) AS d(task_id)
    LEFT JOIN task t ON t.task_id = d.task_id AND t.delete_time IS NULL
    WHERE t.task_id IS NULL OR t.state = 'COMPLETED' OR (t.sprint_id <> '' AND t.sprint_id = %(sprint_id)s)
"""
_DEPENDENCIES = """
    WITH RECURSIVE reached AS (
        SELECT task_id, depends_on AS targets FROM task WHERE task_id = ANY(%(task_ids)s)
        UNION
        SELECT t.task_id, t.depends_on FROM reached r JOIN task t ON t.task_id = ANY(r.targets)
    ) SELECT task_id, targets FROM reached
"""
_PARENTS = """
    WITH RECURSIVE reached AS (
        SELECT task_id, parent_task_id AS target FROM task WHERE task_id = ANY(%(task_ids)s)
        UNION
        SELECT t.task_id, t.parent_task_id FROM reached r JOIN task t ON t.task_id = r.target
    ) SELECT task_id, ARRAY[target] FROM reached WHERE target <> ''
"""


async def satisfied_dependencies(read: ReadHandle, task_ids: Sequence[str], sprint_id: str) -> set[str]:
    """Which of these tasks hold nobody up: completed, deleted, or in the sprint already."""
    params = {"task_ids": list(task_ids), "sprint_id": sprint_id}
    return set(await read.all(_SATISFIED, params, row=scalar_row))


async def dependency_edges(read: ReadHandle, task_ids: Sequence[str]) -> Edges:
    """What can be reached by dependencies from some tasks."""
    return await _edges(read, _DEPENDENCIES, task_ids)


async def parent_edges(read: ReadHandle, task_ids: Sequence[str]) -> Edges:
    """What can be reached by parents from some tasks."""
    return await _edges(read, _PARENTS, task_ids)


async def _edges(read: ReadHandle, sql: str, task_ids: Sequence[str]) -> Edges:
    rows = await read.all(sql, {"task_ids": list(task_ids)}, row=tuple_row)
    return {task_id: tuple(targets) for task_id, targets in rows}
