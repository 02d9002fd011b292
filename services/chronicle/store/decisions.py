"""Copies of decisions. What came of one is looked up by its sprint, so that no order of arrival can lose it."""

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

from psycopg.rows import dict_row

from services.chronicle.domain.decisions import DecisionNote, Outcome
from services.chronicle.domain.notes import Statistics
from services.chronicle.store.sql import where
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import plain

_COLUMNS = "audit_id, project_id, sprint_id, decision_source, decision_time, record, version, create_time"
# Of a decision that is there, only what is newer is taken; xmax is 0 for a row that this statement has inserted.
_PUT = f"""
    INSERT INTO decision_note ({_COLUMNS})
    SELECT * FROM unnest(
        %(audit_id)s::uuid[], %(project_id)s::text[], %(sprint_id)s::text[], %(decision_source)s::text[],
        %(decision_time)s::timestamptz[], %(record)b::bytea[], %(version)s::bigint[], %(create_time)s::timestamptz[])
    ON CONFLICT (audit_id) DO UPDATE SET
        sprint_id = excluded.sprint_id, decision_source = excluded.decision_source, record = excluded.record,
        version = excluded.version
    WHERE decision_note.version < excluded.version
    RETURNING audit_id::text, xmax = 0 AS new
"""
_OUTCOME = ", ".join(f"outcome.{field.name}" for field in fields(Statistics))
_SELECT = f"""
    SELECT note.audit_id, note.project_id, note.sprint_id, note.decision_source, note.decision_time, note.record,
        note.version, note.create_time, outcome.close_time, {_OUTCOME}
    FROM decision_note note LEFT JOIN sprint_outcome outcome ON outcome.sprint_id = note.sprint_id
"""
_FIND = f"{_SELECT} WHERE note.audit_id = %(audit_id)s"
_FILTERS = {
    "project_id": "note.project_id = %(project_id)s",
    # The index on sprints leaves out decisions without one, which the planner must be told.
    "sprint_id": "note.sprint_id = %(sprint_id)s AND note.sprint_id <> ''",
    "audit_id": "note.audit_id = %(audit_id)s",
    "decision_source": "note.decision_source = %(decision_source)s",
    "start_date": "note.decision_time >= %(start_date)s::timestamp AT TIME ZONE 'UTC'",
    "end_date": "note.decision_time < (%(end_date)s::date + 1)::timestamp AT TIME ZONE 'UTC'",
    "after_id": "(note.decision_time, note.audit_id) > (%(after_time)s::timestamptz, %(after_id)s::uuid)",
}
_ORDER = "ORDER BY note.decision_time, note.audit_id LIMIT %(limit)s"


async def put(tx: WriteHandle, notes: Sequence[DecisionNote]) -> set[str]:
    """Store decisions and newer versions of stored ones, each id at most once; the ids of those that are new."""
    rows = [plain(note) for note in notes]
    params = {name: [row[name] for row in rows] for name in _COLUMNS.split(", ")}
    return {row["audit_id"] for row in await tx.rows(_PUT, params) if row["new"]}


async def stored(read: ReadHandle, note: DecisionNote) -> DecisionNote:
    """What is there after put(): the copy with this one's id."""
    return _note(await read.one(_FIND, {"audit_id": note.audit_id}, row=dict_row))


async def page(read: ReadHandle, params: dict[str, Any]) -> list[DecisionNote]:
    """Copies that match, oldest first."""
    rows = await read.rows(f"{_SELECT} {where(_FILTERS, params)} {_ORDER}", params)
    return [_note(row) for row in rows]


def _note(row: dict[str, Any]) -> DecisionNote:
    figures = {field.name: row.pop(field.name) for field in fields(Statistics)}
    close_time = row.pop("close_time")
    outcome = Outcome(row["sprint_id"], Statistics(**figures), close_time) if close_time else None
    return DecisionNote(
        **(row | {"audit_id": str(row["audit_id"]), "record": bytes(row["record"]), "outcome": outcome})
    )
