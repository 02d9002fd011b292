"""Rows of decisions and episodes, which are stored and read together."""

from collections.abc import Mapping
from typing import Any

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from services.kit.data.database import Params, Row
from services.orchestrator.domain.advisory import Advisory
from services.orchestrator.domain.episode import Episode, Record
from services.orchestrator.domain.outcome import Outcome

_RECORD = TypeAdapter(Record)
_OUTCOME = TypeAdapter(Outcome)
_ADVISORY = TypeAdapter(Advisory)

# Complete with WHERE and ORDER BY; e = episode, d = decision.
COLUMNS = """
    e.episode_id, e.context_text, e.quality_score, e.quality_findings, e.create_time, e.version, e.requires_embedding,
    e.embedding_model, e.outcome, e.outcome_time, d.record, d.advisory
"""
SELECT = f"SELECT {COLUMNS} FROM episode e JOIN decision d USING (decision_id)"


def to_episode(row: Row) -> Episode:
    """An episode with its decision, from the columns above."""
    return Episode(
        episode_id=row["episode_id"],
        record=_RECORD.validate_python(row["record"]),
        context_text=row["context_text"],
        quality_score=row["quality_score"],
        quality_findings=tuple(row["quality_findings"]),
        create_time=row["create_time"],
        version=row["version"],
        requires_embedding=row["requires_embedding"],
        embedding_model=row["embedding_model"],
        outcome=_OUTCOME.validate_python(row["outcome"]) if row["outcome"] else None,
        outcome_time=row["outcome_time"],
        advisory=_ADVISORY.validate_python(row["advisory"]) if row["advisory"] else None,
    )


def where(conditions: Mapping[str, str], params: Params) -> str:
    """A WHERE clause of the conditions whose parameter is given.

    A condition that is not asked for is left out rather than written as 'or NULL', which no index could serve.
    """
    asked = [condition for name, condition in conditions.items() if params[name]]
    return "WHERE " + " AND ".join(asked) if asked else ""


def record_json(record: Record) -> Jsonb:
    """A record for its jsonb column."""
    return Jsonb(_RECORD.dump_python(record, mode="json"))


def outcome_json(outcome: Outcome) -> Any:
    """An outcome as plain JSON."""
    return _OUTCOME.dump_python(outcome, mode="json")


def advisory_json(advisory: Advisory | None) -> Jsonb | None:
    """An advisory for its jsonb column."""
    return Jsonb(_ADVISORY.dump_python(advisory, mode="json")) if advisory else None
