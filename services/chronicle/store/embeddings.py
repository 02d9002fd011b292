"""Texts that wait for their vectors: impediments and the titles of backlogs, in two tables with the same columns."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.kit.data.database import ReadHandle, Row, WriteHandle


@dataclass(frozen=True, slots=True)
class Texts:
    """A table with texts to embed: its key, its text, and the order in which they wait."""

    table: str
    key: str
    key_type: str
    text: str
    order: str


IMPEDIMENTS = Texts("impediment", "impediment_id", "uuid", "text", "raise_time")
TITLES = Texts("backlog_title", "task_id", "text", "title", "project_id, sample_key")

_WAITING = """
    SELECT {key}::text AS key, project_id, {text} AS text FROM {table}
    WHERE requires_embedding ORDER BY {order} LIMIT %(limit)s
"""
# A text that has changed meanwhile goes on waiting.
_EMBED = """
    UPDATE {table} waiting SET embedding = v.vector::halfvec, requires_embedding = false,
        embedding_model = CASE WHEN v.vector IS NULL THEN '' ELSE %(model)s END
    FROM unnest(%(keys)s::{key_type}[], %(texts)s::text[], %(vectors)s::text[]) AS v (key, text, vector)
    WHERE waiting.{key} = v.key AND waiting.{text} = v.text
"""
_OUTDATE = """
    UPDATE {table} SET requires_embedding = true
    WHERE NOT requires_embedding AND embedding_model NOT IN ('', %(model)s)
"""


async def waiting(read: ReadHandle, of: Texts, limit: int) -> list[Row]:
    """The next texts, with `key`, `project_id` and `text`."""
    return await read.rows(_sql(_WAITING, of), {"limit": limit})


async def embed(
    tx: WriteHandle, of: Texts, rows: Sequence[Row], vectors: Sequence[Sequence[float] | None], model: str
) -> None:
    """Store the vectors of some texts, all by one model; None for what cannot be embedded, which then waits no more."""
    params = {
        "keys": [row["key"] for row in rows],
        "texts": [row["text"] for row in rows],
        "vectors": [vector and "[" + ",".join(map(repr, vector)) + "]" for vector in vectors],
        "model": model,
    }
    await tx.execute(_sql(_EMBED, of), params)


async def outdate(tx: WriteHandle, of: Texts, model: str) -> int:
    """Let every text that another model embedded wait again; how many there are."""
    return await tx.execute(_sql(_OUTDATE, of), {"model": model})


def _sql(template: str, of: Texts) -> str:
    names = {"table": of.table, "key": of.key, "key_type": of.key_type, "text": of.text, "order": of.order}
    return template.format(**names)
