"""Copies of decisions."""

from datetime import datetime

from dsm.chronicle.v1 import decision_pb2 as pb
from dsm.orchestrator.v1 import decision_pb2 as orchestrator

from services.chronicle.convert import canonical_id, time_of
from services.chronicle.domain.decisions import DecisionNote, Outcome
from services.kit.convert import from_time
from services.kit.errors import InvalidArgument

_SOURCE = "DECISION_SOURCE_"


def decode(record: orchestrator.DecisionRecord, version: int, now: datetime) -> DecisionNote:
    """The copy of a decision's `version`; InvalidArgument for an instant out of the calendar."""
    return DecisionNote(
        audit_id=canonical_id(record.decision_id),
        project_id=record.project_id,
        sprint_id=record.sprint_id,
        decision_source=source_name(record.decision_source),
        decision_time=_decision_time(record),
        record=record.SerializeToString(deterministic=True),
        version=version,
        create_time=now,
    )


def encode(note: DecisionNote) -> pb.DecisionNote:
    """The copy as sent; what came of the decision is added if the record does not tell it."""
    record = orchestrator.DecisionRecord.FromString(note.record)
    if note.outcome and not record.HasField("outcome"):
        record.outcome.CopyFrom(_encode_outcome(note.outcome))
    return pb.DecisionNote(
        audit_id=note.audit_id,
        decision=record,
        create_time=from_time(note.create_time),
        outcome_time=from_time(note.outcome.close_time) if note.outcome else None,
    )


def source_name(source: orchestrator.DecisionSource.ValueType) -> str:
    """The source as stored; empty for UNSPECIFIED."""
    return orchestrator.DecisionSource.Name(source).removeprefix(_SOURCE) if source else ""


def _decision_time(record: orchestrator.DecisionRecord) -> datetime:
    moment = time_of(record, "decision_time")
    if moment is None:
        raise InvalidArgument("decision.decision_time", "must be set")
    return moment


def _encode_outcome(outcome: Outcome) -> orchestrator.DecisionOutcome:
    statistics = outcome.statistics
    return orchestrator.DecisionOutcome(
        sprint_id=outcome.sprint_id,
        success=outcome.success,
        completion_rate=statistics.completion_rate,
        planned_tasks=statistics.planned_tasks or 0,
        completed_tasks=statistics.completed_tasks,
        planned_points=statistics.planned_points or 0,
        completed_points=statistics.completed_points,
        capacity_person_days=statistics.capacity_person_days or None,
        impediments_raised=statistics.impediments_raised,
        close_time=from_time(outcome.close_time),
    )
