"""Recovery: the effects of this service's own events, for a database that was restored to before them.

Events hold the sprint and the task as they were after the change, with versions; so the newest wins, and what is told
twice changes nothing. What no event tells is lost: notes and plans of work, and the skills of a sprint's team.
"""

from collections.abc import Iterable
from datetime import date
from decimal import Decimal

from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.sprint.v1 import sprint_pb2

from services.kit.convert import to_date, to_date_or_none, to_time
from services.kit.data.database import WriteHandle
from services.kit.operations.recovery import Contradiction
from services.sprint import convert
from services.sprint.domain.progress import Impediment, ImpedimentState
from services.sprint.domain.scope import gained, lost
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import Member, Outcome, Sprint, SprintState, SprintTask, Statistics, TaskState
from services.sprint.store import impediments as impediment_store
from services.sprint.store import scrums as scrum_store
from services.sprint.store import sprints as sprint_store
from services.sprint.store import tasks as task_store

_WHOLE = {"planned_tasks", "completed_tasks", "released_tasks", "added_tasks", "removed_tasks"}
_WHOLE |= {"impediments_raised", "impediments_resolved", "team_size", "working_days"}


async def take_back(tx: WriteHandle, event: event_pb2.Event) -> None:
    """Have the effect of one event that was lost."""
    match event.WhichOneof("payload"):
        case "sprint_started":
            started = event.sprint_started
            await _put_back(tx, _started(started), started.tasks)
        case "sprint_closed":
            ended = event.sprint_closed
            await _put_back(tx, _sprint(ended.sprint), (*ended.completed_tasks, *ended.released_tasks))
        case "sprint_abandoned":
            await _put_back(tx, _sprint(event.sprint_abandoned.sprint), ())
        case "sprint_task_updated":
            await _take_back_work(tx, event.sprint_task_updated, event.project_id)
        case "scrum_reported":
            await _take_back_report(tx, event.scrum_reported.report)
        case "impediment_raised":
            await impediment_store.put_back(tx, _impediment(event.impediment_raised.impediment))
        case "impediment_resolved":
            await impediment_store.put_back(tx, _impediment(event.impediment_resolved.impediment))


async def _put_back(tx: WriteHandle, sprint: Sprint, tasks: Iterable[sprint_pb2.SprintTask]) -> None:
    known = await sprint_store.find(tx, sprint.sprint_id)
    if known and known.create_time != sprint.create_time:
        raise Contradiction(f"{sprint.sprint_id} was given again.")
    await sprint_store.put_back(tx, sprint)
    await task_store.put_back(tx, [_task(task, sprint.project_id) for task in tasks])


async def _take_back_work(tx: WriteHandle, payload: sprint_events_pb2.SprintTaskUpdated, project_id: str) -> None:
    """A changed task, with what its sprint counts of it: the work done on it, or that it came in or went out."""
    task = _task(payload.task, project_id)
    before = await task_store.find(tx, task.sprint_id, task.task_id)
    if before and before.version >= task.version:
        return
    await task_store.put_back(tx, [task])
    day = to_date_or_none(payload.work_date, "work_date")
    if before is None or (before.outcome and task.outcome is None):
        await task_store.change_scope(tx, task.sprint_id, task.task_id, gained(task, task.add_date))
    elif task.outcome in (Outcome.REMOVED, Outcome.CANCELLED) and before.outcome is None:
        gone = lost(task, await sprint_store.day_of(tx, task.sprint_id, task.update_time))
        await task_store.change_scope(tx, task.sprint_id, task.task_id, gone, payload.reason)
    elif day:
        await task_store.add_entries(tx, [(task.sprint_id, _entry(payload, before, task, day))])


async def _take_back_report(tx: WriteHandle, report: note_pb2.DailyScrumReport) -> None:
    day = to_date(report.report_date, "report_date")
    worked = sum(bool(task.yesterday_work) for person in report.reports for task in person.tasks)
    stored = scrum_store.StoredReport(report.report_id, day, worked, report.SerializeToString())
    await scrum_store.put_back(tx, report.sprint_id, stored, to_time(report.create_time))
    entries = await task_store.unreported(tx, report.sprint_id, day)
    await task_store.mark_reported(tx, [entry.entry_id for entry in entries], day)


def _started(payload: sprint_events_pb2.SprintStarted) -> Sprint:
    dates = tuple(to_date(day, "working_dates") for day in payload.working_dates)
    members = tuple(Member(it.employee_id, convert.to_person_days(it.person_days)) for it in payload.members)
    return _sprint(payload.sprint, dates, members, [_points(task) for task in payload.tasks])


def _sprint(
    message: sprint_pb2.Sprint,
    working_dates: tuple[date, ...] = (),
    members: tuple[Member, ...] = (),
    planned: list[Decimal | None] | None = None,
) -> Sprint:
    statistics = _statistics(message.statistics) if message.HasField("statistics") else None
    points = [it for it in planned or () if it is not None]
    return Sprint(
        sprint_id=message.sprint_id,
        project_id=message.project_id,
        number=int(message.sprint_id.rpartition("-S")[2]),
        name=message.name,
        goal=message.goal,
        state=SprintState(sprint_pb2.SprintState.Name(message.state).removeprefix("SPRINT_STATE_")),
        start_date=to_date(message.start_date, "start_date"),
        end_date=to_date(message.end_date, "end_date"),
        duration_weeks=message.duration_weeks,
        time_zone=message.time_zone,
        capacity_person_days=convert.to_person_days(message.capacity_person_days),
        working_dates=working_dates,
        members=members,
        planned_tasks=statistics.planned_tasks if statistics else len(planned or ()),
        planned_points=statistics.planned_points if statistics else sum(points, Decimal(0)),
        planning_note_id=message.planning_note_id,
        close_date=to_date_or_none(message.close_date, "close_date"),
        retrospective_id=message.retrospective_id,
        statistics=statistics,
        version=message.version,
        create_time=to_time(message.create_time),
        update_time=to_time(message.update_time),
    )


def _statistics(message: note_pb2.SprintStatistics) -> Statistics:
    figures = {name: getattr(message, name) for name in _WHOLE}
    for name in Statistics.__dataclass_fields__.keys() - _WHOLE:
        known = not message.DESCRIPTOR.fields_by_name[name].has_presence or message.HasField(name)  # type: ignore[arg-type]
        figures[name] = Decimal(str(getattr(message, name))) if known else None
    return Statistics(**figures)


def _task(message: sprint_pb2.SprintTask, project_id: str) -> SprintTask:
    outcome = sprint_pb2.SprintTaskOutcome.Name(message.outcome).removeprefix("SPRINT_TASK_OUTCOME_")
    return SprintTask(
        sprint_id=message.sprint_id,
        task_id=message.task_id,
        project_id=project_id,
        title=message.title,
        points=_points(message),
        state=TaskState(task_pb2.TaskState.Name(message.state).removeprefix("TASK_STATE_")),
        assignee_id=message.assignee_id,
        progress_percent=message.progress_percent,
        version=message.version,
        position=message.position,
        add_date=to_date(message.add_date, "add_date"),
        complete_date=to_date_or_none(message.complete_date, "complete_date"),
        outcome=None if message.outcome == sprint_pb2.SPRINT_TASK_OUTCOME_UNSPECIFIED else Outcome(outcome),
        update_time=to_time(message.update_time),
        report_time=to_time(message.update_time),
    )


def _points(message: sprint_pb2.SprintTask) -> Decimal | None:
    return Decimal(str(message.points)) if message.HasField("points") else None


def _entry(payload: sprint_events_pb2.SprintTaskUpdated, before: SprintTask, after: SprintTask, day: date) -> Entry:
    return Entry(
        task_id=after.task_id,
        employee_id=payload.employee_id,
        work_date=day,
        from_percent=before.progress_percent,
        to_percent=after.progress_percent,
        work_note="",
        plan="",
        create_time=after.update_time,
    )


def _impediment(message: sprint_pb2.Impediment) -> Impediment:
    return Impediment(
        impediment_id=message.impediment_id,
        project_id=message.project_id,
        sprint_id=message.sprint_id,
        task_id=message.task_id,
        raised_by=message.raised_by,
        owner_id=message.owner_id,
        text=message.text,
        state=ImpedimentState(sprint_pb2.ImpedimentState.Name(message.state).removeprefix("IMPEDIMENT_STATE_")),
        raise_date=to_date(message.raise_date, "raise_date"),
        raise_time=to_time(message.raise_time),
        resolve_time=to_time(message.resolve_time) if message.HasField("resolve_time") else None,
        resolve_date=to_date_or_none(message.resolve_date, "resolve_date"),
        resolution=message.resolution,
    )
