"""Events of the sprint service: what it says, and what it does with those of others."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from uuid import uuid4

from dsm.backlog.v1 import backlog_service_pb2
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.project.v1 import project_pb2
from google.protobuf.message import Message

from services.kit.clock import utc_now
from services.kit.convert import from_date, from_time, to_points, to_time
from services.kit.data.database import WriteHandle
from services.kit.errors import InvalidArgument
from services.kit.events.inbox import BadEvent
from services.sprint import convert
from services.sprint.domain.closing import Ending
from services.sprint.domain.outside import OutsideReport, Verdict, day_of, judge, take
from services.sprint.domain.progress import Impediment, ImpedimentState, changed_fields, raised
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import Sprint, SprintTask, summarize
from services.sprint.store import contents
from services.sprint.store import impediments as impediment_store
from services.sprint.store import projects as project_store
from services.sprint.store import reports as report_store
from services.sprint.store import tasks as task_store

TASKS = ("dsm.backlog.v1.task.updated",)
PROJECTS = ("dsm.project.v1.project.created", "dsm.project.v1.project.updated")
_FOLLOWED = {"title", "points"}
PROGRESS = ("dsm.in.sprint.v1.task.progressed",)


def task_updated(
    before: SprintTask, after: SprintTask, *, work_date: date | None = None, employee_id: str = "", reason: str = ""
) -> sprint_events_pb2.SprintTaskUpdated:
    """A task of a sprint has changed, by work on a day if one is given."""
    payload = task_changed(after, changed_fields(before, after))
    payload.work_date, payload.employee_id, payload.reason = from_date(work_date), employee_id, reason
    return payload


def task_joined(task: SprintTask) -> sprint_events_pb2.SprintTaskUpdated:
    """A task has come into a sprint under way."""
    return task_changed(task, ("sprint_id", "state", "assignee_id"))


def task_changed(task: SprintTask, fields: Sequence[str]) -> sprint_events_pb2.SprintTaskUpdated:
    """Some fields of a task have changed."""
    return sprint_events_pb2.SprintTaskUpdated(
        task=convert.from_task(task), changed_fields=fields, change_time=from_time(task.update_time)
    )


def emit_task(tx: WriteHandle, task: SprintTask, payload: Message) -> None:
    """Publish a change of a task."""
    tx.emit(payload, aggregate=("task", task.task_id), version=task.version, project_id=task.project_id)


def emit_started(tx: WriteHandle, sprint: Sprint, tasks: Sequence[SprintTask]) -> None:
    """Publish that a sprint has begun, with its planning note."""
    payload = sprint_events_pb2.SprintStarted(
        sprint=convert.from_sprint(sprint, summarize(tasks)),
        tasks=map(convert.from_task, tasks),
        planning_note=convert.from_planning(sprint, tasks),
        working_dates=map(from_date, sprint.working_dates),
        members=[
            sprint_events_pb2.SprintMember(employee_id=it.employee_id, person_days=float(it.person_days))
            for it in sprint.members
        ],
    )
    _emit_sprint(tx, sprint, payload)


def emit_abandoned(tx: WriteHandle, sprint: Sprint) -> None:
    """Publish that a planning was undone."""
    payload = sprint_events_pb2.SprintAbandoned(
        sprint=convert.from_sprint(sprint, summarize([])), reason="The planning failed, or broke off, and was undone."
    )
    _emit_sprint(tx, sprint, payload)


def emit_closed(
    tx: WriteHandle,
    ending: Ending,
    policy: backlog_service_pb2.ReleasePolicy.ValueType,
    retrospective: note_pb2.Retrospective,
) -> None:
    """Publish that a sprint has ended."""
    payload = sprint_events_pb2.SprintClosed(
        sprint=convert.from_sprint(ending.sprint, summarize(ending.ended)),
        completed_tasks=map(convert.from_task, ending.completed),
        released_tasks=map(convert.from_task, ending.released),
        policy=policy,
        retrospective=retrospective,
    )
    _emit_sprint(tx, ending.sprint, payload)


def emit_report(tx: WriteHandle, report: note_pb2.DailyScrumReport) -> None:
    """Publish a daily scrum report; it never changes, so its version is 1."""
    payload = sprint_events_pb2.ScrumReported(report=report)
    tx.emit(payload, aggregate=("daily_scrum", report.report_id), version=1, project_id=report.project_id)


def emit_impediment(tx: WriteHandle, impediment: Impediment) -> None:
    """Publish that an impediment was raised, or resolved."""
    message = convert.from_impediment(impediment)
    resolved = impediment.state is ImpedimentState.RESOLVED
    payload = (
        sprint_events_pb2.ImpedimentResolved(impediment=message)
        if resolved
        else sprint_events_pb2.ImpedimentRaised(impediment=message)
    )
    aggregate = ("impediment", impediment.impediment_id)
    tx.emit(payload, aggregate=aggregate, version=2 if resolved else 1, project_id=impediment.project_id)


async def apply_projects(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the projects' status."""
    versions = []
    for event in events:
        payload = event.project_created if event.HasField("project_created") else event.project_updated
        status = project_pb2.ProjectStatus.Name(payload.project.status).removeprefix("PROJECT_STATUS_")
        versions.append((payload.project.project_id, status, event.aggregate_version))
    await project_store.follow(tx, versions)


def changes_content(event: event_pb2.Event) -> bool:
    """Whether a sprint's task has another title or estimate: most changes are its own progress, come back."""
    updated = event.task_updated
    return bool(updated.task.sprint_id) and not _FOLLOWED.isdisjoint(updated.changed_fields)


async def apply_tasks(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the backlog's titles and points; the sprint's own version of a task is not touched by that."""
    tasks = [event.task_updated.task for event in events]
    columns = {
        "task_ids": [task.task_id for task in tasks],
        "titles": [task.title for task in tasks],
        "points": [to_points(task.points, "points") if task.HasField("points") else None for task in tasks],
        "versions": [event.aggregate_version for event in events],
    }
    await contents.follow(tx, columns, max(to_time(event.event_time) for event in events))


async def apply_progress(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Take in progress reported from outside; each report is kept, with what became of it."""
    now = utc_now()
    try:
        await _take(tx, [convert.to_outside_report(event, now) for event in events], now)
    except InvalidArgument as error:
        # No number of tries makes it good.
        raise BadEvent(error.message) from error


async def _take(tx: WriteHandle, reports: Sequence[OutsideReport], now: datetime) -> None:
    task_ids = {report.task_id for report in reports}
    present = await task_store.lock_all_current(tx, task_ids)
    known = await impediment_store.open_texts(tx, task_ids)
    judged: list[tuple[OutsideReport, Verdict]] = []
    entries: list[tuple[str, Entry]] = []
    for report in reports:
        found = present.get(report.task_id)
        verdict = (
            judge(report, found.task, found.sprint_state, archived=found.archived) if found else Verdict.NOT_IN_SPRINT
        )
        judged.append((report, verdict))
        if found is None or verdict is not Verdict.APPLIED:
            continue
        day = day_of(report, found.start_date, found.end_date, found.time_zone, now)
        after, entry = take(report, found.task, day, now)
        entries.append((after.sprint_id, entry))
        emit_task(tx, after, task_updated(found.task, after, work_date=day, employee_id=entry.employee_id))
        if report.impediment and (after.task_id, report.impediment) not in known:
            known.add((after.task_id, report.impediment))
            impediment = raised(str(uuid4()), after, report.impediment, entry.employee_id, day, now)
            await impediment_store.insert(tx, impediment)
            emit_impediment(tx, impediment)
        present[after.task_id] = replace(found, task=after)
    await task_store.save(tx, [present[task_id].task for task_id in sorted({e.task_id for _, e in entries})])
    await task_store.add_entries(tx, entries)
    await report_store.keep(tx, judged)


def _emit_sprint(tx: WriteHandle, sprint: Sprint, payload: Message) -> None:
    aggregate = ("sprint", sprint.sprint_id)
    tx.emit(payload, aggregate=aggregate, version=sprint.version, project_id=sprint.project_id)
