"""What the chronicle takes in and tells.

In come notes, impediments and decisions, the titles of tasks (to know what a backlog is about) and that a person is to
be forgotten; out goes that a note was recorded or an action item moved.
"""

from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog
import uuid_utils
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2
from dsm.events.v1.chronicle_events_pb2 import ActionItemUpdated, NoteKind, NoteRecorded
from dsm.events.v1.sprint_events_pb2 import SprintClosed

from services.chronicle.convert import decisions, impediments, plannings, retrospectives, scrums
from services.chronicle.domain.decisions import DecisionNote
from services.chronicle.domain.figures import Figures, figures_of, figures_of_sprint
from services.chronicle.domain.notes import (
    FreeNote,
    PlanningNote,
    Retrospective,
    ScrumReport,
    check_planning,
    check_report,
    check_retrospective,
)
from services.chronicle.domain.topics import SampledTitle, sample_key
from services.chronicle.store import decisions as decision_store
from services.chronicle.store import erasure as erasure_store
from services.chronicle.store import figures
from services.chronicle.store import impediments as impediment_store
from services.chronicle.store import notes as note_store
from services.chronicle.store import plannings as planning_store
from services.chronicle.store import retrospectives as retrospective_store
from services.chronicle.store import scrums as scrum_store
from services.chronicle.store import topics as topic_store
from services.kit.clock import utc_now
from services.kit.convert import to_time
from services.kit.data.database import WriteHandle

log = structlog.get_logger()

NOTHING = Figures()

Note = PlanningNote | ScrumReport | Retrospective | DecisionNote | FreeNote

FROM_SPRINT = (
    "dsm.sprint.v1.sprint.started",
    "dsm.sprint.v1.sprint.closed",
    "dsm.sprint.v1.scrum.reported",
    "dsm.sprint.v1.impediment.raised",
    "dsm.sprint.v1.impediment.resolved",
)
FROM_ORCHESTRATOR = ("dsm.orchestrator.v1.decision.made",)
FROM_BACKLOG = (
    "dsm.backlog.v1.task.created",
    "dsm.backlog.v1.task.updated",
    "dsm.backlog.v1.task.deleted",
)
FROM_PROJECT = ("dsm.project.v1.employee.erased",)


def new_id() -> str:
    """An id for what its sender gave none: a UUIDv7."""
    return str(uuid_utils.uuid7())


def changes_title(event: event_pb2.Event) -> bool:
    """Whether the backlog's titles are others after an event: most changes of tasks are progress."""
    return not event.HasField("task_updated") or "title" in event.task_updated.changed_fields


async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Take in events; each kind with a few statements, however many there are."""
    by_kind: defaultdict[str, list[event_pb2.Event]] = defaultdict(list)
    for event in events:
        by_kind[event.WhichOneof("payload") or ""].append(event)
    await figures.lock(tx, {event.project_id for event in events if event.project_id})
    for kinds, take in _TAKE.items():
        if found := [event for kind in kinds for event in by_kind[kind]]:
            await take(tx, found)


async def record_plannings(tx: WriteHandle, notes: Sequence[PlanningNote]) -> set[str]:
    """Store planning notes and tell of the new ones, whose ids are returned."""
    for note in notes:
        check_planning(note)
    await figures.lock(tx, {note.project_id for note in notes})
    new = await planning_store.add(tx, notes)
    await _count(tx, [note for note in notes if note.note_id in new])
    _announce(tx, NoteKind.NOTE_KIND_SPRINT_PLANNING, {note.note_id: note for note in notes}, new)
    return new


async def record_scrums(tx: WriteHandle, reports: Sequence[ScrumReport]) -> set[str]:
    """Store daily scrum reports and tell of the new ones, whose ids are returned."""
    for report in reports:
        check_report(report)
    await figures.lock(tx, {report.project_id for report in reports})
    new = await scrum_store.add(tx, reports)
    await erasure_store.forget_in_reports(tx, new)
    added = [report for report in reports if report.report_id in new]
    await _count(tx, added, Figures(reports=1), reported=True)
    _announce(tx, NoteKind.NOTE_KIND_DAILY_SCRUM, {report.report_id: report for report in reports}, new)
    return new


async def record_retrospectives(tx: WriteHandle, notes: Sequence[Retrospective]) -> set[str]:
    """Store retrospectives and tell of the new ones, whose ids are returned."""
    for note in notes:
        check_retrospective(note)
    await figures.lock(tx, {note.project_id for note in notes})
    new, closed = await retrospective_store.add(tx, notes)
    added = [note for note in notes if note.retrospective_id in new]
    await _count(tx, added)
    # Two retrospectives of one sprint in a batch: the first one with statistics is what was stored.
    outcomes = {note.sprint_id: note for note in reversed(notes) if note.sprint_id in closed and note.statistics}
    await figures.add(
        tx,
        [
            *((note.project_id, figures_of(note)) for note in added),
            *((note.project_id, figures_of_sprint(note.statistics)) for note in outcomes.values() if note.statistics),
        ],
    )
    _announce(tx, NoteKind.NOTE_KIND_RETROSPECTIVE, {note.retrospective_id: note for note in notes}, new)
    return new


async def record_decisions(tx: WriteHandle, notes: Sequence[DecisionNote]) -> set[str]:
    """Store copies of decisions, of each the newest, and tell of the new ones, whose ids are returned."""
    newest = {note.audit_id: note for note in sorted(notes, key=lambda note: note.version)}
    await figures.lock(tx, {note.project_id for note in notes})
    new = await decision_store.put(tx, list(newest.values()))
    told = [newest[audit_id] for audit_id in new]
    await figures.add(tx, [(n.project_id, Figures(decisions=1, last_note_time=n.create_time)) for n in told])
    _announce(tx, NoteKind.NOTE_KIND_DECISION, newest, new)
    return new


async def record_note(tx: WriteHandle, note: FreeNote) -> None:
    """Store a free note and tell of it."""
    await note_store.add(tx, note)
    await figures.add(tx, [(note.project_id, Figures(last_note_time=note.create_time))])
    note_recorded(tx, NoteKind.NOTE_KIND_FREE, note.note_id, note)


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


async def _count(
    tx: WriteHandle,
    notes: Sequence[PlanningNote | ScrumReport | Retrospective],
    each: Figures = NOTHING,
    *,
    reported: bool = False,
) -> None:
    """Count new notes, and their sprints if nothing was known of them."""
    sprints = {note.sprint_id: note.project_id for note in notes}
    known = await figures.know_sprints(tx, sprints, reported=reported)
    await figures.add(
        tx, [*known, *((note.project_id, replace(each, last_note_time=note.create_time)) for note in notes)]
    )


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


async def _take_titles(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    told = [(event, getattr(event, event.WhichOneof("payload") or "").task) for event in events]
    titles = [
        SampledTitle(task.task_id, task.project_id, sample_key(task.task_id), task.title, event.aggregate_version)
        for event, task in sorted(told, key=lambda pair: pair[0].aggregate_version)
    ]
    # Of a task that is told of twice, the newest is last in the dict.
    await topic_store.put(tx, list({title.task_id: title for title in titles}.values()))


async def _drop_titles(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    await topic_store.drop(tx, [event.task_deleted.task_id for event in events])


async def _forget_people(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    await erasure_store.forget(tx, {event.employee_erased.employee_id: _time(event) for event in events})


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
    ("task_created", "task_updated"): _take_titles,
    ("task_deleted",): _drop_titles,
    ("employee_erased",): _forget_people,
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
