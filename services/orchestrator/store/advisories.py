"""Advisories: those that wait, and what came of them."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from pydantic import TypeAdapter

from services.kit.data.database import WriteHandle
from services.orchestrator.domain.advisory import Advisory
from services.orchestrator.domain.episode import Record
from services.orchestrator.store.rows import advisory_json

_RECORD = TypeAdapter(Record)
# Whoever claims one has it for a while, so that two processes do not ask for the same.
_CLAIM = """
    UPDATE decision SET advisory_retry_time = %(now)s + make_interval(secs => %(seconds)s)
    WHERE decision_id IN (
        -- What was done belongs to what is reviewed.
        SELECT decision_id FROM decision WHERE advisory_retry_time <= %(now)s AND NOT pending
        ORDER BY advisory_retry_time LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING decision_id, record
"""
_SETTLE = """
    UPDATE decision SET advisory = %(advisory)s, advisory_retry_time = NULL
    WHERE decision_id = %(decision_id)s AND advisory_retry_time IS NOT NULL
"""
_POSTPONE = """
    UPDATE decision SET advisory_retry_time = %(retry_time)s
    WHERE decision_id = %(decision_id)s AND advisory_retry_time IS NOT NULL
"""
_GIVE_UP = """
    UPDATE decision SET advisory = advisory || '{"state": "UNAVAILABLE"}', advisory_retry_time = NULL
    WHERE advisory_retry_time IS NOT NULL AND decision_time < %(before)s
"""


@dataclass(frozen=True)
class Waiting:
    """A decision whose review is to be asked for."""

    decision_id: UUID
    record: Record


async def claim(tx: WriteHandle, now: datetime, seconds: float, limit: int) -> list[Waiting]:
    """Take decisions that wait for their review, for so many seconds; nobody else gets them meanwhile."""
    rows = await tx.rows(_CLAIM, {"now": now, "seconds": seconds, "limit": limit})
    return [Waiting(row["decision_id"], _RECORD.validate_python(row["record"])) for row in rows]


async def settle(tx: WriteHandle, decision_id: UUID, advisory: Advisory) -> None:
    """Store a review."""
    await tx.execute(_SETTLE, {"decision_id": decision_id, "advisory": advisory_json(advisory)})


async def postpone(tx: WriteHandle, decision_id: UUID, retry_time: datetime) -> None:
    """Let a review be asked for again, not before a time."""
    await tx.execute(_POSTPONE, {"decision_id": decision_id, "retry_time": retry_time})


async def give_up(tx: WriteHandle, before: datetime) -> int:
    """Let reviews of decisions that are older stay out for good; how many those are."""
    return await tx.execute(_GIVE_UP, {"before": before})
