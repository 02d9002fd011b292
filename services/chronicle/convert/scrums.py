"""Daily scrum reports."""

from collections.abc import Sequence
from datetime import datetime
from itertools import groupby

from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.chronicle.v1 import note_pb2 as pb

from services.chronicle.convert import canonical_id, time_of
from services.chronicle.domain.notes import ScrumPerson, ScrumReport, ScrumTask
from services.kit.convert import from_date, from_time, to_date


def decode(message: pb.DailyScrumReport, report_id: str, now: datetime) -> ScrumReport:
    """The report, with an id and a time for one that has none."""
    figures = message.summary_metrics
    return ScrumReport(
        report_id=canonical_id(message.report_id or report_id),
        project_id=message.project_id,
        sprint_id=message.sprint_id,
        report_date=to_date(message.report_date, "report.report_date"),
        summary=message.summary,
        simulated=message.simulated,
        total_team_members=figures.total_team_members,
        total_tasks=figures.total_tasks,
        completed_tasks=figures.completed_tasks,
        pending_tasks=figures.pending_tasks,
        blocked_tasks=figures.blocked_tasks,
        total_points=figures.total_points,
        completed_points=figures.completed_points,
        create_time=time_of(message, "create_time") or now,
        people=tuple(
            ScrumPerson(person.employee_id, person.away, tuple(_decode_task(task) for task in person.tasks))
            for person in message.reports
        ),
    )


def encode(report: ScrumReport) -> pb.DailyScrumReport:
    """The report as sent: people by employee id, and their tasks by task id."""
    return pb.DailyScrumReport(
        report_id=report.report_id,
        project_id=report.project_id,
        sprint_id=report.sprint_id,
        report_date=from_date(report.report_date),
        summary=report.summary,
        summary_metrics=pb.SummaryMetrics(
            total_team_members=report.total_team_members,
            total_tasks=report.total_tasks,
            completed_tasks=report.completed_tasks,
            pending_tasks=report.pending_tasks,
            blocked_tasks=report.blocked_tasks,
            total_points=report.total_points,
            completed_points=report.completed_points,
        ),
        reports=[
            pb.PersonReport(
                employee_id=person.employee_id, away=person.away, tasks=[_encode_task(task) for task in person.tasks]
            )
            for person in report.people
        ],
        simulated=report.simulated,
        create_time=from_time(report.create_time),
    )


def encode_days(reports: Sequence[ScrumReport]) -> list[chronicle_service_pb2.DailyScrumDay]:
    """Reports that are in order of their dates, grouped by date."""
    return [
        chronicle_service_pb2.DailyScrumDay(report_date=from_date(day), reports=[encode(report) for report in of_day])
        for day, of_day in groupby(reports, key=lambda report: report.report_date)
    ]


def _decode_task(message: pb.TaskReport) -> ScrumTask:
    return ScrumTask(
        task_id=message.task_id,
        title=message.title,
        yesterday_work=message.yesterday_work,
        today_work=message.today_work,
        impediments=message.impediments,
        progress_percent=message.progress_percent,
        create_time=time_of(message, "create_time"),
    )


def _encode_task(task: ScrumTask) -> pb.TaskReport:
    return pb.TaskReport(
        task_id=task.task_id,
        title=task.title,
        yesterday_work=task.yesterday_work,
        today_work=task.today_work,
        impediments=task.impediments,
        progress_percent=task.progress_percent,
        create_time=from_time(task.create_time),
    )
