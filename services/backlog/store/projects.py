"""What the backlog knows of projects, and each project's counters."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import class_row

from services.kit.data.database import ReadHandle, WriteHandle

_STATUS = "SELECT status FROM project_state WHERE project_id = %(project_id)s"
_LEARN = """
    INSERT INTO project_state (project_id, status, version) VALUES (%(project_id)s, %(status)s, 0)
    ON CONFLICT (project_id) DO NOTHING
"""
_FOLLOW = """
    INSERT INTO project_state AS p (project_id, status, version)
    SELECT DISTINCT ON (e.project_id) e.project_id, e.status, e.version
    FROM unnest(%(project_ids)s::text[], %(statuses)s::text[], %(versions)s::bigint[])
        AS e(project_id, status, version)
    ORDER BY e.project_id, e.version DESC
    ON CONFLICT (project_id) DO UPDATE SET status = excluded.status, version = excluded.version
    WHERE p.version < excluded.version
"""
_COUNT_UP = """
    INSERT INTO project_counter AS c (project_id, last_task, last_story, last_rank)
    VALUES (%(project_id)s, %(tasks)s, %(stories)s, %(tasks)s * %(step)s::bigint)
    ON CONFLICT (project_id) DO UPDATE SET
        last_task = c.last_task + %(tasks)s,
        last_story = c.last_story + %(stories)s,
        last_rank = c.last_rank + %(tasks)s * %(step)s::bigint
    RETURNING last_task, last_story, last_rank
"""
_COUNT_AT_LEAST = """
    INSERT INTO project_counter AS c (project_id, last_task, last_story, last_rank)
    VALUES (%(project_id)s, %(tasks)s, %(stories)s, %(rank)s)
    ON CONFLICT (project_id) DO UPDATE SET
        last_task = greatest(c.last_task, excluded.last_task),
        last_story = greatest(c.last_story, excluded.last_story),
        last_rank = greatest(c.last_rank, excluded.last_rank)
"""


@dataclass(frozen=True)
class Counters:
    """The last numbers given in a project, and the last rank."""

    last_task: int
    last_story: int
    last_rank: int


async def project_status(read: ReadHandle, project_id: str) -> str | None:
    """The status as far as known here; None for a project never heard of."""
    value = await read.value(_STATUS, {"project_id": project_id})
    return None if value is None else str(value)


async def learn_project(tx: WriteHandle, project_id: str, status: str) -> None:
    """Keep what the project service answered; its events know better."""
    await tx.execute(_LEARN, {"project_id": project_id, "status": status})


async def follow_projects(tx: WriteHandle, versions: Sequence[tuple[str, str, int]]) -> None:
    """Take in (project id, status, version), the newest of each."""
    ids, statuses, numbers = zip(*versions, strict=True)
    await tx.execute(_FOLLOW, {"project_ids": list(ids), "statuses": list(statuses), "versions": list(numbers)})


async def count_up(tx: WriteHandle, project_id: str, *, tasks: int = 0, stories: int = 0, step: int = 0) -> Counters:
    """Take numbers and ranks for new tasks and stories; also the lock under which a project's backlog grows.

    What is rolled back gives its numbers back; a number that was committed is never given again.
    """
    params = {"project_id": project_id, "tasks": tasks, "stories": stories, "step": step}
    return await tx.one(_COUNT_UP, params, row=class_row(Counters))


async def count_at_least(tx: WriteHandle, project_id: str, *, tasks: int = 0, stories: int = 0, rank: int = 0) -> None:
    """Give no number or rank again up to these."""
    params = {"project_id": project_id, "tasks": tasks, "stories": stories, "rank": rank}
    await tx.execute(_COUNT_AT_LEAST, params)
