"""Between the contract's messages and the domain."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid5

from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import note_pb2
from dsm.events.v1 import event_pb2
from dsm.project.v1 import calendar_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.convert import from_date, from_points, from_time, to_date_or_none, to_time
from services.kit.errors import InvalidArgument
from services.sprint.domain.assigning import Candidate, PersonLoad, Reassignment
from services.sprint.domain.burndown import BurndownDay
from services.sprint.domain.closing import Ending
from services.sprint.domain.outside import OutsideReport, impediment_in
from services.sprint.domain.planning import Asked, Reserved
from services.sprint.domain.progress import Impediment
from services.sprint.domain.scrum import LONGEST_TEXT, PersonReport, Report, TaskReport
from services.sprint.domain.sprint import DEFAULT_WEEKS, Member, Sprint, SprintTask, Statistics, TaskSummary, last_day

State = dict[str, Any]

_TASK_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-TASK[0-9]{3,}")
_LONGEST = {
    "task_id": 64,
    "sprint_id": 48,
    "employee_id": 32,
    "yesterday_work": LONGEST_TEXT,
    "today_work": LONGEST_TEXT,
    "impediments": LONGEST_TEXT,
}


def to_days(request: pb.StartSprintRequest, today: date) -> tuple[date, date, int]:
    """First and last day and length in weeks of the sprint asked for."""
    start = to_date_or_none(request.start_date, "start_date") or today
    weeks = request.duration_weeks or DEFAULT_WEEKS
    return start, last_day(start, weeks), weeks


def to_asked(request: pb.StartSprintRequest) -> Asked:
    """The limits that the caller set."""
    points = Decimal(str(request.max_points)) if request.HasField("max_points") else None
    return Asked(request.max_tasks, points, tuple(request.task_ids))


def to_member(message: calendar_pb2.MemberCapacity) -> Member:
    """A person's part in a sprint."""
    skills = frozenset(skill.casefold() for skill in message.skills)
    return Member(message.employee_id, to_person_days(message.person_days), skills)


def to_person_days(value: float) -> Decimal:
    """Person-days as kept: four decimals."""
    return Decimal(str(value)).quantize(Decimal("0.0001")).normalize()


def to_reserved(message: task_pb2.Task) -> Reserved:
    """A task that the backlog reserved. Its etag is its version, with a letter before it."""
    tags = frozenset(tag.casefold() for tag in message.tags)
    points = Decimal(str(message.points)) if message.HasField("points") else None
    version = message.etag.removeprefix("v")
    return Reserved(
        Candidate(message.task_id, points, message.assignee_id, tags),
        title=message.title,
        progress_percent=message.progress_percent,
        version=message.sprint_version,
        backlog_version=int(version) if version.isdecimal() else 0,
    )


def reserved_out(task: Reserved) -> State:
    """A reserved task as a saga keeps it."""
    points = task.candidate.points
    return {
        "task_id": task.candidate.task_id,
        "points": None if points is None else str(points),
        "assignee_id": task.candidate.assignee_id,
        "tags": sorted(task.candidate.tags),
        "title": task.title,
        "progress_percent": task.progress_percent,
        "version": task.version,
        "backlog_version": task.backlog_version,
    }


def reserved_in(kept: State) -> Reserved:
    """A reserved task from what a saga kept."""
    points = None if kept["points"] is None else Decimal(kept["points"])
    candidate = Candidate(kept["task_id"], points, kept["assignee_id"], frozenset(kept["tags"]))
    return Reserved(candidate, kept["title"], kept["progress_percent"], kept["version"], kept["backlog_version"])


def to_outside_report(event: event_pb2.Event, now: datetime) -> OutsideReport:
    """Progress reported by an event; InvalidArgument names the field that breaks a rule.

    A report without a time of its own, or with one in the future, was made now.
    """
    said = event.task_progressed
    if not _TASK_ID.fullmatch(said.task_id):
        raise InvalidArgument("task_id", "must be the id of a task, as TEST-001-TASK001", said.task_id)
    if not 0 <= said.new_total_progress <= 100:
        raise InvalidArgument("new_total_progress", "must be from 0 to 100", said.new_total_progress)
    for field, longest in _LONGEST.items():
        if len(getattr(said, field)) > longest:
            raise InvalidArgument(field, f"must have at most {longest} characters")
    time = to_time(event.event_time) if event.HasField("event_time") else now
    return OutsideReport(
        event_id=event.event_id,
        task_id=said.task_id,
        sprint_id=said.sprint_id,
        progress_percent=said.new_total_progress,
        employee_id=said.employee_id,
        work_note=said.yesterday_work,
        plan=said.today_work,
        impediment=impediment_in(said.impediments),
        work_date=to_date_or_none(said.work_date, "work_date"),
        time=min(time, now),
    )


def from_sprint(sprint: Sprint, summary: TaskSummary, tasks: Sequence[SprintTask] = ()) -> sprint_pb2.Sprint:
    """The sprint as sent."""
    return sprint_pb2.Sprint(
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        name=sprint.name,
        goal=sprint.goal,
        state=sprint_pb2.SprintState.Value(f"SPRINT_STATE_{sprint.state}"),
        start_date=from_date(sprint.start_date),
        end_date=from_date(sprint.end_date),
        duration_weeks=sprint.duration_weeks,
        close_date=from_date(sprint.close_date),
        time_zone=sprint.time_zone,
        capacity_person_days=float(sprint.capacity_person_days),
        tasks=map(from_task, tasks),
        task_summary=from_summary(summary),
        statistics=from_statistics(sprint.statistics) if sprint.statistics else None,
        retrospective_id=sprint.retrospective_id,
        planning_note_id=sprint.planning_note_id,
        create_time=from_time(sprint.create_time),
        update_time=from_time(sprint.update_time),
        version=sprint.version,
    )


def from_task(task: SprintTask) -> sprint_pb2.SprintTask:
    """The task as sent."""
    outcome = f"SPRINT_TASK_OUTCOME_{task.outcome or 'UNSPECIFIED'}"
    return sprint_pb2.SprintTask(
        task_id=task.task_id,
        sprint_id=task.sprint_id,
        title=task.title,
        points=from_points(task.points),
        state=task_pb2.TaskState.Value(f"TASK_STATE_{task.state}"),
        assignee_id=task.assignee_id,
        progress_percent=task.progress_percent,
        version=task.version,
        complete_date=from_date(task.complete_date),
        add_date=from_date(task.add_date),
        outcome=sprint_pb2.SprintTaskOutcome.Value(outcome),
        position=task.position,
        update_time=from_time(task.update_time),
    )


def from_summary(summary: TaskSummary) -> sprint_pb2.TaskSummary:
    """The counts as sent."""
    return sprint_pb2.TaskSummary(
        total_tasks=summary.total_tasks,
        completed_tasks=summary.completed_tasks,
        pending_tasks=summary.pending_tasks,
        blocked_tasks=summary.blocked_tasks,
        in_progress_tasks=summary.in_progress_tasks,
        total_points=float(summary.total_points),
        completed_points=float(summary.completed_points),
        pending_points=float(summary.pending_points),
    )


def from_statistics(figures: Statistics) -> note_pb2.SprintStatistics:
    """The frozen figures as sent."""
    return note_pb2.SprintStatistics(
        planned_tasks=figures.planned_tasks,
        planned_points=float(figures.planned_points),
        completed_tasks=figures.completed_tasks,
        completed_points=float(figures.completed_points),
        released_tasks=figures.released_tasks,
        released_points=float(figures.released_points),
        added_tasks=figures.added_tasks,
        removed_tasks=figures.removed_tasks,
        capacity_person_days=float(figures.capacity_person_days),
        completion_rate=from_points(figures.completion_rate),
        points_per_person_day=from_points(figures.points_per_person_day),
        impediments_raised=figures.impediments_raised,
        impediments_resolved=figures.impediments_resolved,
        team_size=figures.team_size,
        working_days=figures.working_days,
    )


def from_impediment(impediment: Impediment) -> sprint_pb2.Impediment:
    """The impediment as sent."""
    return sprint_pb2.Impediment(
        impediment_id=impediment.impediment_id,
        project_id=impediment.project_id,
        sprint_id=impediment.sprint_id,
        task_id=impediment.task_id,
        raised_by=impediment.raised_by,
        owner_id=impediment.owner_id,
        text=impediment.text,
        state=sprint_pb2.ImpedimentState.Value(f"IMPEDIMENT_STATE_{impediment.state}"),
        raise_date=from_date(impediment.raise_date),
        raise_time=from_time(impediment.raise_time),
        resolve_time=from_time(impediment.resolve_time),
        resolution=impediment.resolution,
        resolve_date=from_date(impediment.resolve_date),
    )


def from_reassignment(moved: Reassignment) -> sprint_pb2.Reassignment:
    """A task that changed hands, as sent."""
    return sprint_pb2.Reassignment(
        task_id=moved.task_id,
        from_employee_id=moved.from_employee_id,
        to_employee_id=moved.to_employee_id,
        reason=moved.reason,
    )


def from_load(load: PersonLoad) -> sprint_pb2.PersonLoad:
    """What one person got, as sent."""
    return sprint_pb2.PersonLoad(
        employee_id=load.employee_id,
        person_days=float(load.person_days),
        tasks=load.tasks,
        points=float(load.points),
    )


def from_burndown_day(day: BurndownDay) -> sprint_pb2.BurndownDay:
    """A day of the burndown as sent."""
    return sprint_pb2.BurndownDay(
        date=from_date(day.day),
        working_day=day.working_day,
        remaining_tasks=day.remaining_tasks,
        remaining_points=from_points(day.remaining_points),
        ideal_points=float(day.ideal_points),
        ideal_tasks=float(day.ideal_tasks),
        added_tasks=day.added_tasks,
        removed_tasks=day.removed_tasks,
        scope_change_points=float(day.scope_change_points),
    )


def from_planning(sprint: Sprint, tasks: Sequence[SprintTask]) -> note_pb2.PlanningNote:
    """The planning note of a sprint that starts."""
    return note_pb2.PlanningNote(
        note_id=sprint.planning_note_id,
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        sprint_name=sprint.name,
        sprint_goal=sprint.goal,
        start_date=from_date(sprint.start_date),
        end_date=from_date(sprint.end_date),
        duration_weeks=sprint.duration_weeks,
        planned_tasks=[
            note_pb2.PlannedTask(
                task_id=task.task_id, title=task.title, assignee_id=task.assignee_id, points=from_points(task.points)
            )
            for task in tasks
        ],
        capacity_person_days=float(sprint.capacity_person_days),
    )


def from_report(
    report: Report, sprint: Sprint, day: date, report_id: str, *, simulated: bool, now: datetime
) -> note_pb2.DailyScrumReport:
    """The report of a day as sent."""
    counts = report.counts
    return note_pb2.DailyScrumReport(
        report_id=report_id,
        project_id=sprint.project_id,
        sprint_id=sprint.sprint_id,
        report_date=from_date(day),
        summary=report.summary,
        summary_metrics=note_pb2.SummaryMetrics(
            total_team_members=report.team_size,
            total_tasks=counts.total_tasks,
            completed_tasks=counts.completed_tasks,
            pending_tasks=counts.pending_tasks,
            blocked_tasks=counts.blocked_tasks,
            total_points=float(counts.total_points),
            completed_points=float(counts.completed_points),
        ),
        reports=map(_from_person, report.people),
        simulated=simulated,
        create_time=from_time(now),
    )


def from_retrospective(
    ending: Ending, retrospective_id: str, facilitator_id: str, now: datetime
) -> note_pb2.Retrospective:
    """The retrospective of a sprint that ends. Without an id, as on a dry run, its action items have none either."""
    sprint = ending.sprint
    return note_pb2.Retrospective(
        retrospective_id=retrospective_id,
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        sprint_name=sprint.name,
        start_date=from_date(sprint.start_date),
        end_date=from_date(sprint.end_date),
        duration_weeks=sprint.duration_weeks,
        what_went_well=ending.lessons.well,
        what_could_be_improved=ending.lessons.improve,
        action_items=[
            note_pb2.ActionItem(
                action_item_id=str(uuid5(UUID(retrospective_id), str(number))) if retrospective_id else "",
                description=item.description,
                state=note_pb2.ACTION_ITEM_STATE_OPEN,
                owner_id=item.owner_id,
                impediment_id=item.impediment_id,
            )
            for number, item in enumerate(ending.lessons.actions, start=1)
        ],
        facilitator_id=facilitator_id,
        attendee_ids=[member.employee_id for member in sprint.team],
        tasks_summary=[
            note_pb2.RetrospectiveTask(
                task_id=task.task_id,
                description=task.title,
                status=task.state,
                employee_id=task.assignee_id,
                progress_percent=task.progress_percent,
                points=from_points(task.points),
            )
            for task in ending.tasks
        ],
        statistics=from_statistics(sprint.statistics) if sprint.statistics else None,
        create_time=from_time(now),
    )


def _from_person(person: PersonReport) -> note_pb2.PersonReport:
    return note_pb2.PersonReport(
        employee_id=person.employee_id, tasks=map(_from_task_report, person.tasks), away=person.away
    )


def _from_task_report(report: TaskReport) -> note_pb2.TaskReport:
    return note_pb2.TaskReport(
        task_id=report.task_id,
        title=report.title,
        yesterday_work=report.yesterday_work,
        today_work=report.today_work,
        impediments=report.impediments,
        progress_percent=report.progress_percent,
        create_time=from_time(report.create_time),
    )
