"""What the chronicle takes in and tells: notes that arrive with events, and that a note was recorded."""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

import structlog
import uuid_utils
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2
from dsm.events.v1.chronicle_events_pb2 import ActionItemUpdated, NoteKind, NoteRecorded
from dsm.events.v1.sprint_events_pb2 import SprintClosed

from services.chronicle.convert import decisions, impediments, plannings, retrospectives, scrums
from services.chronicle.domain.decisions import DecisionNote
from services.chronicle.domain.notes import (
    FreeNote,
    PlanningNote,
    Retrospective,
    ScrumReport,
    check_planning,
    check_report,
    check_retrospective,
)
from services.chronicle.store import decisions as decision_store
from services.chronicle.store import impediments as impediment_store
from services.chronicle.store import plannings as planning_store
from services.chronicle.store import retrospectives as retrospective_store
from services.chronicle.store import scrums as scrum_store
from services.kit.clock import utc_now
from services.kit.convert import to_time
from services.kit.database import WriteHandle

log = structlog.get_logger()

Note = PlanningNote | ScrumReport | Retrospective | DecisionNote | FreeNote

FROM_SPRINT = (
    "dsm.sprint.v1.sprint.started",
    "dsm.sprint.v1.sprint.closed",
    "dsm.sprint.v1.scrum.reported",
    "dsm.sprint.v1.impediment.raised",
    "dsm.sprint.v1.impediment.resolved",
)
FROM_ORCHESTRATOR = ("dsm.orchestrator.v1.decision.made",)


def new_id() -> str:
    """An id for what its sender gave none: a UUIDv7."""
    return str(uuid_utils.uuid7())


async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Take in events; each kind with a few statements, however many there are."""
    by_kind: defaultdict[str, list[event_pb2.Event]] = defaultdict(list)
    for event in events:
        by_kind[event.WhichOneof("payload") or ""].append(event)
    for kinds, take in _TAKE.items():
        if found := [event for kind in kinds for event in by_kind[kind]]:
            await take(tx, found)


async def record_plannings(tx: WriteHandle, notes: Sequence[PlanningNote]) -> set[str]:
    """Store planning notes and tell of the new ones, whose ids are returned."""
    for note in notes:
        check_planning(note)
    new = await planning_store.add(tx, notes)
    _announce(tx, NoteKind.NOTE_KIND_SPRINT_PLANNING, {note.note_id: note for note in notes}, new)
    return new


async def record_scrums(tx: WriteHandle, reports: Sequence[ScrumReport]) -> set[str]:
    """Store daily scrum reports and tell of the new ones, whose ids are returned."""
    for report in reports:
        check_report(report)
    new = await scrum_store.add(tx, reports)
    _announce(tx, NoteKind.NOTE_KIND_DAILY_SCRUM, {report.report_id: report for report in reports}, new)
    return new


async def record_retrospectives(tx: WriteHandle, notes: Sequence[Retrospective]) -> set[str]:
    """Store retrospectives and tell of the new ones, whose ids are returned."""
    for note in notes:
        check_retrospective(note)
    new = await retrospective_store.add(tx, notes)
    _announce(tx, NoteKind.NOTE_KIND_RETROSPECTIVE, {note.retrospective_id: note for note in notes}, new)
    return new


async def record_decisions(tx: WriteHandle, notes: Sequence[DecisionNote]) -> set[str]:
    """Store copies of decisions, of each the newest, and tell of the new ones, whose ids are returned."""
    newest = {note.audit_id: note for note in sorted(notes, key=lambda note: note.version)}
    new = await decision_store.put(tx, list(newest.values()))
    _announce(tx, NoteKind.NOTE_KIND_DECISION, newest, new)
    return new


def note_recorded(tx: WriteHandle, kind: NoteKind.ValueType, note_id: str, note: Note) -> None:
    """Tell that history has a new note."""
    payload = NoteRecorded(kind=kind, note_id=note_id, project_id=note.project_id, sprint_id=note.sprint_id)
    tx.emit(payload, aggregate=("note", note_id), version=1, project_id=note.project_id)


def action_item_updated(
    tx: WriteHandle, item: note_pb2.ActionItem, version: int, retrospective_id: str, project_id: str
) -> None:
    """Tell that an action item moved."""
    payload = ActionItemUpdated(action_item=item, retrospective_id=retrospective_id, project_id=project_id)
    tx.emit(payload, aggregate=("action_item", item.action_item_id), version=version, project_id=project_id)


def _announce(tx: WriteHandle, kind: NoteKind.ValueType, notes: Mapping[str, Note], new: set[str]) -> None:
    for note_id in sorted(new):
        note_recorded(tx, kind, note_id, notes[note_id])


async def _take_plannings(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    now = utc_now()
    notes = [plannings.decode(event.sprint_started.planning_note, "", now) for event in events]
    _log_ignored("planning", notes, await record_plannings(tx, notes))


async def _take_scrums(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    reports = [scrums.decode(event.scrum_reported.report, "", _time(event)) for event in events]
    _log_ignored("scrum", reports, await record_scrums(tx, reports))


async def _take_retrospectives(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    notes = [retrospectives.decode(_with_figures(event.sprint_closed), new_id, _time(event)) for event in events]
    _log_ignored("retrospective", notes, await record_retrospectives(tx, notes))


async def _take_decisions(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    now = utc_now()
    notes = [decisions.decode(event.decision_made.decision, event.aggregate_version, now) for event in events]
    await record_decisions(tx, notes)


async def _take_impediments(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    raised = [(event, event.impediment_raised.impediment, "OPEN") for event in events if _is_raised(event)]
    resolved = [(event, event.impediment_resolved.impediment, "RESOLVED") for event in events if not _is_raised(event)]
    # Raised and resolved in one batch: what is last in the dict is how it stands.
    found = [impediments.decode(message, state, _time(event)) for event, message, state in raised + resolved]
    await impediment_store.put(tx, list({impediment.impediment_id: impediment for impediment in found}.values()))


_TAKE: dict[tuple[str, ...], Callable[[WriteHandle, Sequence[event_pb2.Event]], Awaitable[None]]] = {
    ("sprint_started",): _take_plannings,
    ("scrum_reported",): _take_scrums,
    ("sprint_closed",): _take_retrospectives,
    ("impediment_raised", "impediment_resolved"): _take_impediments,
    ("decision_made",): _take_decisions,
}


def _with_figures(closed: SprintClosed) -> note_pb2.Retrospective:
    """The retrospective with the sprint's frozen figures, should it not repeat them."""
    note = note_pb2.Retrospective()
    note.CopyFrom(closed.retrospective)
    if not note.HasField("statistics") and closed.sprint.HasField("statistics"):
        note.statistics.CopyFrom(closed.sprint.statistics)
    return note


def _is_raised(event: event_pb2.Event) -> bool:
    return event.WhichOneof("payload") == "impediment_raised"


def _time(event: event_pb2.Event) -> datetime:
    return to_time(event.event_time)


def _log_ignored(kind: str, notes: Sequence[PlanningNote | ScrumReport | Retrospective], new: set[str]) -> None:
    """Somebody else recorded a note for the sprint first: that one stays, and this is worth knowing."""
    if ignored := len(notes) - len(new):
        log.info("note.ignored", kind=kind, ignored=ignored, sprints=sorted({note.sprint_id for note in notes}))
