"""Daily scrum reports."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from services.chronicle.domain.notes import ScrumPerson, ScrumReport, ScrumTask
from services.chronicle.store.sql import insert, where
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import json_rows, plain

_REPORT = """report_id, project_id, sprint_id, report_date, summary, simulated, total_team_members, total_tasks,
    completed_tasks, pending_tasks, blocked_tasks, total_points, completed_points, create_time"""
_INSERT = insert("scrum_report", _REPORT) + " ON CONFLICT DO NOTHING RETURNING report_id::text"
_INSERT_PEOPLE = insert("scrum_person", "report_id, employee_id, away")
_INSERT_TASKS = insert(
    "scrum_task",
    """report_id, employee_id, task_id, project_id, report_date, title, yesterday_work, today_work, impediments,
    progress_percent, create_time""",
)
_SELECT = f"""
    SELECT {_REPORT}, (
        SELECT coalesce(jsonb_agg(jsonb_build_object('employee_id', employee_id, 'away', away, 'tasks', (
            SELECT coalesce(jsonb_agg(
                to_jsonb(task) - '{{report_id,employee_id,project_id,report_date}}'::text[] ORDER BY task_id
            ), '[]')
            FROM scrum_task task
            WHERE task.report_id = person.report_id AND task.employee_id = person.employee_id
        )) ORDER BY employee_id), '[]')
        FROM scrum_person person WHERE person.report_id = report.report_id
    ) AS people
    FROM scrum_report report
"""
_FILTERS = {
    "project_id": "project_id = %(project_id)s",
    "sprint_id": "sprint_id = %(sprint_id)s",
    "report_date": "report_date = %(report_date)s",
    "start_date": "report_date >= %(start_date)s",
    "end_date": "report_date <= %(end_date)s",
    "report_id": "report_id = %(report_id)s",
    "after_sprint": "(report_date, sprint_id) > (%(after_date)s::date, %(after_sprint)s)",
}
_ORDER = "ORDER BY report_date, sprint_id LIMIT %(limit)s"
_FIND = f"""
    {_SELECT} WHERE report_id = %(report_id)s OR (sprint_id = %(sprint_id)s AND report_date = %(report_date)s)
    ORDER BY report_id = %(report_id)s DESC
"""


async def add(tx: WriteHandle, reports: Sequence[ScrumReport]) -> set[str]:
    """Store reports; the ids of those that were new and whose sprint had none of the day."""
    rows = [plain(report, "people") for report in reports]
    new = {row["report_id"] for row in await tx.rows(_INSERT, json_rows(rows))}
    parts = [(report, person) for report in reports if report.report_id in new for person in report.people]
    people = [plain(person, "tasks", report_id=report.report_id) for report, person in parts]
    await tx.execute(_INSERT_PEOPLE, json_rows(people))
    tasks = [
        plain(
            task,
            report_id=report.report_id,
            employee_id=person.employee_id,
            project_id=report.project_id,
            report_date=report.report_date,
        )
        for report, person in parts
        for task in person.tasks
    ]
    await tx.execute(_INSERT_TASKS, json_rows(tasks))
    return new


async def stored(read: ReadHandle, report: ScrumReport) -> ScrumReport:
    """What is there after add(): the report with this one's id, else that of its sprint and day."""
    key = {"report_id": report.report_id, "sprint_id": report.sprint_id, "report_date": report.report_date}
    return _report(await read.one(_FIND, key, row=dict_row))


async def page(read: ReadHandle, params: dict[str, Any]) -> list[ScrumReport]:
    """Reports that match, oldest day first, then by sprint."""
    rows = await read.rows(f"{_SELECT} {where(_FILTERS, params)} {_ORDER}", params)
    return [_report(row) for row in rows]


def _report(row: dict[str, Any]) -> ScrumReport:
    people = tuple(
        ScrumPerson(person["employee_id"], person["away"], tuple(_task(task) for task in person["tasks"]))
        for person in row["people"]
    )
    return ScrumReport(**(row | {"report_id": str(row["report_id"]), "people": people}))


def _task(task: dict[str, Any]) -> ScrumTask:
    moment = task["create_time"]
    return ScrumTask(**(task | {"create_time": datetime.fromisoformat(moment) if moment else None}))
