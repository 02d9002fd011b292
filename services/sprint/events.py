"""Events of the sprint service: what it says, and what it does with those of the backlog."""

from collections.abc import Sequence
from datetime import UTC, date

from dsm.backlog.v1 import backlog_service_pb2
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2, sprint_events_pb2
from google.protobuf.message import Message

from services.kit.convert import from_date, from_time, to_points
from services.kit.database import WriteHandle
from services.sprint import convert
from services.sprint.domain.closing import Ending
from services.sprint.domain.progress import Impediment, ImpedimentState, changed_fields
from services.sprint.domain.sprint import Sprint, SprintTask, summarize
from services.sprint.store import tasks as task_store

FOLLOWED = ("dsm.backlog.v1.task.updated",)


def task_updated(
    before: SprintTask, after: SprintTask, *, work_date: date | None = None, employee_id: str = ""
) -> sprint_events_pb2.SprintTaskUpdated:
    """A task of a sprint has changed, by work on a day if one is given."""
    return sprint_events_pb2.SprintTaskUpdated(
        task=convert.from_task(after),
        changed_fields=changed_fields(before, after),
        work_date=from_date(work_date),
        employee_id=employee_id,
        change_time=from_time(after.update_time),
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


async def apply(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the backlog's titles and points; the sprint's own version of a task is not touched by that."""
    changed = [(event, event.task_updated.task) for event in events]
    await task_store.follow_backlog(
        tx,
        {
            "task_ids": [task.task_id for _, task in changed],
            "titles": [task.title for _, task in changed],
            "points": [to_points(task.points, "points") if task.HasField("points") else None for _, task in changed],
            "versions": [event.aggregate_version for event, _ in changed],
            "now": max(event.event_time.ToDatetime(tzinfo=UTC) for event, _ in changed),
        },
    )


def _emit_sprint(tx: WriteHandle, sprint: Sprint, payload: Message) -> None:
    aggregate = ("sprint", sprint.sprint_id)
    tx.emit(payload, aggregate=aggregate, version=sprint.version, project_id=sprint.project_id)
