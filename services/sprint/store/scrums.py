"""Daily scrum reports."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.rows import kwargs_row

from services.kit.data.database import ReadHandle, Row, WriteHandle

_GET = """
    SELECT report_id, report_date, updated_tasks, report FROM daily_scrum
    WHERE sprint_id = %(sprint_id)s AND report_date = %(day)s
"""
_LAST_DAY = "SELECT max(report_date) FROM daily_scrum WHERE sprint_id = %(sprint_id)s"
_INSERT = """
    INSERT INTO daily_scrum (report_id, sprint_id, report_date, updated_tasks, report, create_time)
    VALUES (%(report_id)s, %(sprint_id)s, %(day)s, %(updated_tasks)s, %(report)s, %(now)s)
"""
_PUT_BACK = _INSERT + " ON CONFLICT (report_id) DO NOTHING"


@dataclass(frozen=True, slots=True)
class StoredReport:
    """A report as it was sent: `report` is the message's bytes."""

    report_id: str
    report_date: date
    updated_tasks: int
    report: bytes


async def get(db: ReadHandle, sprint_id: str, day: date) -> StoredReport | None:
    """The report of a sprint and day."""
    return await db.maybe(_GET, {"sprint_id": sprint_id, "day": day}, row=kwargs_row(_report))


async def last_day(db: ReadHandle, sprint_id: str) -> date | None:
    """The day of a sprint's last report."""
    found: date | None = await db.value(_LAST_DAY, {"sprint_id": sprint_id})
    return found


async def insert(tx: WriteHandle, sprint_id: str, stored: StoredReport, now: datetime) -> None:
    """Store a report; UniqueViolation of daily_scrum_day_key if the day has one."""
    await tx.execute(_INSERT, _params(sprint_id, stored, now))


async def put_back(tx: WriteHandle, sprint_id: str, stored: StoredReport, now: datetime) -> None:
    """Store a report that was lost; UniqueViolation if the day has another."""
    await tx.execute(_PUT_BACK, _params(sprint_id, stored, now))


def _params(sprint_id: str, stored: StoredReport, now: datetime) -> Row:
    return {
        "report_id": stored.report_id,
        "sprint_id": sprint_id,
        "day": stored.report_date,
        "updated_tasks": stored.updated_tasks,
        "report": stored.report,
        "now": now,
    }


def _report(*, report_id: object, **plain: Any) -> StoredReport:
    return StoredReport(report_id=str(report_id), **plain)
