"""Rows of `team_member`."""

from collections.abc import Sequence
from datetime import date
from typing import Any

from psycopg.rows import class_row, kwargs_row

from services.kit.data.database import ReadHandle, WriteHandle
from services.project.domain.employee import Employee
from services.project.domain.team import TeamMember
from services.project.store import employees

_COLUMNS = """
    team_member.project_id, team_member.employee_id, team_member.allocation_percent, team_member.start_date,
    team_member.end_date
"""
_HELD = f"SELECT {_COLUMNS} FROM team_member WHERE employee_id = ANY(%(employee_ids)s)"
_PLACE = "team_member.allocation_percent, team_member.start_date, team_member.end_date"
_LIST = f"""
    SELECT team_member.project_id, {_PLACE}, {employees.COLUMNS} FROM team_member JOIN employee USING (employee_id)
    WHERE project_id = %(project_id)s AND employee_id > %(after)s
      AND (%(on_date)s::date IS NULL
           OR start_date <= %(on_date)s AND (end_date IS NULL OR end_date >= %(on_date)s))
    ORDER BY employee_id LIMIT %(limit)s
"""
_ASSIGN = """
    INSERT INTO team_member (project_id, employee_id, allocation_percent, start_date, end_date)
    SELECT * FROM unnest(%(project_ids)s::text[], %(employee_ids)s::text[], %(percents)s::smallint[],
                         %(start_dates)s::date[], %(end_dates)s::date[])
    ON CONFLICT (project_id, employee_id) DO UPDATE
    SET allocation_percent = excluded.allocation_percent, start_date = excluded.start_date, end_date = excluded.end_date
"""
_REMOVE = "DELETE FROM team_member WHERE project_id = %(project_id)s AND employee_id = %(employee_id)s"


async def held_by(read: ReadHandle, employee_ids: Sequence[str]) -> list[TeamMember]:
    """Every place, on whatever team, of these people."""
    return await read.all(_HELD, {"employee_ids": list(employee_ids)}, row=class_row(TeamMember))


async def list_after(
    read: ReadHandle, project_id: str, after: str, limit: int, on_date: date | None
) -> list[tuple[TeamMember, Employee]]:
    """A project's team by employee id, those after an id; only places that hold on a day, if one is given."""
    params = {"project_id": project_id, "after": after, "limit": limit, "on_date": on_date}
    return await read.all(_LIST, params, row=kwargs_row(_place_and_person))


async def assign(tx: WriteHandle, places: Sequence[TeamMember]) -> None:
    """Make places, or change those that these people have on the same team."""
    params = {
        "project_ids": [place.project_id for place in places],
        "employee_ids": [place.employee_id for place in places],
        "percents": [place.allocation_percent for place in places],
        "start_dates": [place.start_date for place in places],
        "end_dates": [place.end_date for place in places],
    }
    await tx.execute(_ASSIGN, params)


async def remove(tx: WriteHandle, project_id: str, employee_id: str) -> bool:
    """False if the person is not on the team."""
    return bool(await tx.execute(_REMOVE, {"project_id": project_id, "employee_id": employee_id}))


def _place_and_person(
    *,
    project_id: str,
    employee_id: str,
    allocation_percent: int,
    start_date: date,
    end_date: date | None,
    **columns: Any,
) -> tuple[TeamMember, Employee]:
    place = TeamMember(project_id, employee_id, allocation_percent, start_date, end_date)
    return place, employees.employee_of(employee_id=employee_id, **columns)
