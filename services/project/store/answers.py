"""Kept answers to request_ids, as far as they speak of a person."""

from collections.abc import Mapping
from uuid import UUID

from services.kit.data.database import WriteHandle

_SPEAKING_OF = """
    SELECT request_id, method, response FROM request_record
    WHERE position(convert_to(%(employee_id)s, 'UTF8') IN response) > 0 FOR UPDATE
"""
_REPLACE = """
    UPDATE request_record r SET response = v.response
    FROM unnest(%(request_ids)s::uuid[], %(responses)b::bytea[]) AS v (request_id, response)
    WHERE r.request_id = v.request_id
"""


async def speaking_of(tx: WriteHandle, employee_id: str) -> list[tuple[UUID, str, bytes]]:
    """The answers of the last day that may hold a person: their request_ids, methods and serialized responses."""
    rows = await tx.rows(_SPEAKING_OF, {"employee_id": employee_id})
    return [(row["request_id"], row["method"], bytes(row["response"])) for row in rows]


async def replace(tx: WriteHandle, responses: Mapping[UUID, bytes]) -> None:
    """Let these request_ids have other answers from now on."""
    await tx.execute(_REPLACE, {"request_ids": list(responses), "responses": list(responses.values())})
