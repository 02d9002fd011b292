"""Rows of `company_day` and `pto`, and what capacity is made of."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.rows import class_row, kwargs_row

from services.kit.clock import day_in
from services.kit.data.database import ReadHandle, Row, WriteHandle
from services.kit.data.rows import plain
from services.project.domain.calendar import Days, Holiday, HolidayKind, Pto
from services.project.domain.capacity import Member
from services.project.domain.project import Project, ProjectNotFound
from services.project.domain.team import TeamMember
from services.project.store import projects

_ADD_COMPANY_DAY = """
    INSERT INTO company_day (project_id, date, name) VALUES (%(project_id)s, %(date)s, %(name)s)
    ON CONFLICT (project_id, date) DO NOTHING
"""
_REMOVE_COMPANY_DAY = "DELETE FROM company_day WHERE project_id = %(project_id)s AND date = %(date)s"

_PTO_COLUMNS = "pto_id, employee_id, start_date, end_date, starts_at_midday, ends_at_midday, reason, create_time"
_PTO_OF = f"""
    SELECT {_PTO_COLUMNS} FROM pto
    WHERE employee_id = %(employee_id)s AND end_date >= %(first)s AND start_date <= %(last)s
    ORDER BY start_date, starts_at_midday
"""
_LIST_PTO = f"SELECT {_PTO_COLUMNS} FROM pto WHERE (start_date, pto_id) > (%(after_date)s, %(after_id)s)"
_OF_TEAM = " AND employee_id IN (SELECT employee_id FROM team_member WHERE project_id = %(project_id)s)"
_OF_PERSON = " AND employee_id = %(employee_id)s"
_ENDS_FROM = " AND end_date >= %(first)s"
_STARTS_UNTIL = " AND start_date <= %(last)s"
_PTO_IN_ORDER = " ORDER BY start_date, pto_id LIMIT %(limit)s"
_ADD_PTO = f"""
    INSERT INTO pto ({_PTO_COLUMNS})
    VALUES (%(pto_id)s, %(employee_id)s, %(start_date)s, %(end_date)s, %(starts_at_midday)s, %(ends_at_midday)s,
            %(reason)s, %(create_time)s)
"""
_FORGET_REASONS = "UPDATE pto SET reason = '' WHERE employee_id = %(employee_id)s AND reason <> ''"
_CANCEL_PTO = f"DELETE FROM pto WHERE pto_id = %(pto_id)s RETURNING {_PTO_COLUMNS}"

# A project and its company days, in one statement.
_PROJECT = f"""
    SELECT {projects.COLUMNS}, ARRAY(
        SELECT jsonb_build_object('date', date, 'name', company_day.name) FROM company_day
        WHERE company_day.project_id = project.project_id AND date BETWEEN %(first)s AND %(last)s ORDER BY date
    ) AS company_days
    FROM project WHERE project.project_id = %(project_id)s
"""
# The team of a range of days with everything that takes from its capacity, in one statement.
_TEAM = """
    SELECT project_id, employee_id, allocation_percent, start_date, end_date, hours_per_day, skills, inactive_time,
        ARRAY(
            SELECT to_jsonb(pto) FROM pto
            WHERE pto.employee_id = team_member.employee_id
              AND pto.end_date >= %(first)s AND pto.start_date <= %(last)s
            ORDER BY pto.start_date, starts_at_midday
        ) AS pto
    FROM team_member JOIN employee USING (employee_id)
    WHERE project_id = %(project_id)s AND start_date <= %(last)s AND (end_date IS NULL OR end_date >= %(first)s)
    ORDER BY employee_id
"""


@dataclass(frozen=True)
class PtoFilter:
    """Which time off: of a project's team, of one person, within dates; empty and None = all."""

    project_id: str = ""
    employee_id: str = ""
    ends_from: date | None = None
    starts_until: date | None = None


async def company_days(read: ReadHandle, project_id: str, days: Days) -> tuple[Project, list[Holiday]]:
    """A project and its company days of a range, by date; or ProjectNotFound."""
    params = {"project_id": project_id, "first": days.first, "last": days.last}
    found = await read.maybe(_PROJECT, params, row=kwargs_row(_project_and_company_days))
    if found is None:
        raise ProjectNotFound(project_id)
    return found


async def add_company_day(tx: WriteHandle, project_id: str, holiday: Holiday) -> bool:
    """False if the project has one then."""
    params = {"project_id": project_id, "date": holiday.date, "name": holiday.name}
    return bool(await tx.execute(_ADD_COMPANY_DAY, params))


async def remove_company_day(tx: WriteHandle, project_id: str, day: date) -> bool:
    """False if the project has none then."""
    return bool(await tx.execute(_REMOVE_COMPANY_DAY, {"project_id": project_id, "date": day}))


async def pto_of(read: ReadHandle, employee_id: str, days: Days) -> list[Pto]:
    """A person's time off that touches a range of days, by start."""
    params = {"employee_id": employee_id, "first": days.first, "last": days.last}
    return await read.all(_PTO_OF, params, row=class_row(Pto))


async def list_pto_after(read: ReadHandle, after: tuple[date, UUID] | None, limit: int, wanted: PtoFilter) -> list[Pto]:
    """Time off by start date, what comes after one, that a filter lets through."""
    sql = _LIST_PTO
    if wanted.project_id:
        sql += _OF_TEAM
    if wanted.employee_id:
        sql += _OF_PERSON
    if wanted.ends_from:
        sql += _ENDS_FROM
    if wanted.starts_until:
        sql += _STARTS_UNTIL
    after_date, after_id = after or (date.min, UUID(int=0))
    params = {
        "after_date": after_date,
        "after_id": after_id,
        "project_id": wanted.project_id,
        "employee_id": wanted.employee_id,
        "first": wanted.ends_from,
        "last": wanted.starts_until,
        "limit": limit,
    }
    return await read.all(sql + _PTO_IN_ORDER, params, row=class_row(Pto))


async def add_pto(tx: WriteHandle, pto: Pto) -> None:
    """Enter time off of a person whom this transaction has locked."""
    await tx.execute(_ADD_PTO, plain(pto))


async def forget_reasons(tx: WriteHandle, employee_id: str) -> None:
    """Leave no reason of a person's time off; the days stay."""
    await tx.execute(_FORGET_REASONS, {"employee_id": employee_id})


async def cancel_pto(tx: WriteHandle, pto_id: UUID) -> Pto | None:
    """Take time off back; None if there is none."""
    return await tx.maybe(_CANCEL_PTO, {"pto_id": pto_id}, row=class_row(Pto))


async def team(read: ReadHandle, project: Project, days: Days) -> list[Member]:
    """Everybody who is on the team on a day of the range, by id, with their time off in it."""
    params = {"project_id": project.project_id, "first": days.first, "last": days.last}

    def member(**columns: Any) -> Member:
        return _member(project.time_zone, **columns)

    return await read.all(_TEAM, params, row=kwargs_row(member))


def _project_and_company_days(*, company_days: list[Row], **columns: Any) -> tuple[Project, list[Holiday]]:
    project = projects.project_of(**columns)
    return project, [Holiday(date.fromisoformat(day["date"]), day["name"], HolidayKind.COMPANY) for day in company_days]


def _member(
    time_zone: str,
    *,
    hours_per_day: Decimal,
    skills: list[str],
    inactive_time: datetime | None,
    pto: list[Row],
    **place: Any,
) -> Member:
    return Member(
        place=TeamMember(**place),
        hours_per_day=hours_per_day,
        skills=tuple(skills),
        inactive_date=day_in(inactive_time, time_zone) if inactive_time else None,
        pto=tuple(_pto_of_json(row) for row in pto),
    )


def _pto_of_json(row: Row) -> Pto:
    parsed = {
        "pto_id": UUID(row["pto_id"]),
        "start_date": date.fromisoformat(row["start_date"]),
        "end_date": date.fromisoformat(row["end_date"]),
        "create_time": datetime.fromisoformat(row["create_time"]),
    }
    return Pto(**(row | parsed))
