"""Who orchestrates a project at the moment."""

from uuid import UUID

from psycopg.rows import scalar_row

from services.kit.data.database import Database, ReadHandle, WriteHandle

_TAKE = """
    INSERT INTO orchestration_lease (project_id, decision_id, holder, lease_time)
    VALUES (%(project_id)s, %(decision_id)s, %(holder)s, now() + make_interval(secs => %(seconds)s))
    ON CONFLICT (project_id) DO UPDATE
        SET decision_id = excluded.decision_id, holder = excluded.holder, lease_time = excluded.lease_time
        WHERE orchestration_lease.lease_time < now()
    RETURNING true
"""
_RENEW = """
    UPDATE orchestration_lease SET lease_time = now() + make_interval(secs => %(seconds)s)
    WHERE project_id = %(project_id)s AND holder = %(holder)s
"""
_END = "DELETE FROM orchestration_lease WHERE project_id = %(project_id)s AND holder = %(holder)s RETURNING true"
_DECISION = "SELECT decision_id FROM orchestration_lease WHERE project_id = %(project_id)s AND lease_time >= now()"


async def take(database: Database, project_id: str, decision_id: UUID, holder: UUID, seconds: float) -> bool:
    """Take a project for a decision; False if somebody has it."""
    params = {"project_id": project_id, "decision_id": decision_id, "holder": holder, "seconds": seconds}
    return bool(await database.change(_TAKE, params, row=scalar_row, keyed=False))


async def renew(tx: WriteHandle, project_id: str, holder: UUID, seconds: float) -> bool:
    """Keep a project for longer; False if another has taken it meanwhile."""
    params = {"project_id": project_id, "holder": holder, "seconds": seconds}
    return bool(await tx.execute(_RENEW, params))


async def end(database: Database, project_id: str, holder: UUID) -> None:
    """Let a project go."""
    await database.change(_END, {"project_id": project_id, "holder": holder}, row=scalar_row, keyed=False)


async def decision_at_hand(read: ReadHandle, project_id: str) -> UUID | None:
    """The decision for which somebody has the project."""
    found: UUID | None = await read.value(_DECISION, {"project_id": project_id})
    return found
