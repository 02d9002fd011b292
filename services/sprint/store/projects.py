"""The projects' status, as their events tell it. A project never heard of takes changes."""

from collections.abc import Sequence

from services.kit.data.database import ReadHandle, WriteHandle
from services.sprint.domain.sprint import ProjectArchived

_ARCHIVED = "SELECT 1 FROM project_state WHERE project_id = %(project_id)s AND status = 'ARCHIVED'"
_FOLLOW = """
    INSERT INTO project_state AS p (project_id, status, version)
    SELECT DISTINCT ON (e.project_id) e.project_id, e.status, e.version
    FROM unnest(%(project_ids)s::text[], %(statuses)s::text[], %(versions)s::bigint[])
        AS e(project_id, status, version)
    ORDER BY e.project_id, e.version DESC
    ON CONFLICT (project_id) DO UPDATE SET status = excluded.status, version = excluded.version
    WHERE p.version < excluded.version
"""


async def check_writable(db: ReadHandle, project_id: str) -> None:
    """ProjectArchived if the project is read-only."""
    if await db.value(_ARCHIVED, {"project_id": project_id}):
        raise ProjectArchived(project_id)


async def follow(tx: WriteHandle, versions: Sequence[tuple[str, str, int]]) -> None:
    """Take in (project id, status, version), the newest of each."""
    ids, statuses, numbers = zip(*versions, strict=True)
    await tx.execute(_FOLLOW, {"project_ids": list(ids), "statuses": list(statuses), "versions": list(numbers)})
