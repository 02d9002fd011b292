"""Rows of `project`."""

from typing import Any

from psycopg.rows import kwargs_row

from services.kit.data.database import Params, ReadHandle, WriteHandle
from services.project.domain.project import HolidayCalendar, Project, ProjectNotFound, ProjectStatus

COLUMNS = """
    project_id, name, description, status, time_zone, holiday_country, holiday_subdivision, working_days,
    simulate_daily_scrums, version, create_time, update_time
"""
_FIND = f"SELECT {COLUMNS} FROM project WHERE project_id = %(project_id)s"
# Weaker than FOR UPDATE: rows that refer to the project can still be made meanwhile.
_LOCK = f"{_FIND} FOR NO KEY UPDATE"
_LIST = f"SELECT {COLUMNS} FROM project WHERE project_id > %(after)s"
_WITH_STATUS = " AND status = %(status)s"
_IN_ORDER = " ORDER BY project_id LIMIT %(limit)s"
_INSERT = f"""
    INSERT INTO project ({COLUMNS})
    VALUES (%(project_id)s, %(name)s, %(description)s, %(status)s, %(time_zone)s, %(holiday_country)s,
            %(holiday_subdivision)s, %(working_days)s, %(simulate_daily_scrums)s, %(version)s, %(create_time)s,
            %(update_time)s)
    ON CONFLICT (project_id) DO NOTHING
"""
_UPDATE = """
    UPDATE project
    SET name = %(name)s, description = %(description)s, status = %(status)s, time_zone = %(time_zone)s,
        holiday_country = %(holiday_country)s, holiday_subdivision = %(holiday_subdivision)s,
        working_days = %(working_days)s, simulate_daily_scrums = %(simulate_daily_scrums)s, version = %(version)s,
        update_time = %(update_time)s
    WHERE project_id = %(project_id)s
"""


async def get(read: ReadHandle, project_id: str) -> Project:
    """The project, or ProjectNotFound."""
    return _found(await read.maybe(_FIND, {"project_id": project_id}, row=kwargs_row(project_of)), project_id)


async def lock(tx: WriteHandle, project_id: str) -> Project:
    """The project, which nobody else changes until this transaction ends; or ProjectNotFound."""
    return _found(await tx.maybe(_LOCK, {"project_id": project_id}, row=kwargs_row(project_of)), project_id)


async def list_after(read: ReadHandle, after: str, limit: int, status: ProjectStatus | None) -> list[Project]:
    """Projects by id, those after an id, with a status if one is given."""
    sql = _LIST + (_WITH_STATUS if status else "") + _IN_ORDER
    return await read.all(sql, {"after": after, "limit": limit, "status": status}, row=kwargs_row(project_of))


async def insert(tx: WriteHandle, project: Project) -> bool:
    """False if the id is taken."""
    return bool(await tx.execute(_INSERT, _params(project)))


async def update(tx: WriteHandle, project: Project) -> None:
    """Write a project that this transaction has locked."""
    await tx.execute(_UPDATE, _params(project))


def project_of(
    *, status: str, holiday_country: str, holiday_subdivision: str, working_days: list[int], **columns: Any
) -> Project:
    """The project of COLUMNS."""
    return Project(
        status=ProjectStatus(status),
        holiday_calendar=HolidayCalendar(holiday_country, holiday_subdivision),
        working_days=tuple(working_days),
        **columns,
    )


def _found(project: Project | None, project_id: str) -> Project:
    if project is None:
        raise ProjectNotFound(project_id)
    return project


def _params(project: Project) -> Params:
    return {
        "project_id": project.project_id,
        "name": project.name,
        "description": project.description,
        "status": project.status,
        "time_zone": project.time_zone,
        "holiday_country": project.holiday_calendar.country,
        "holiday_subdivision": project.holiday_calendar.subdivision,
        "working_days": list(project.working_days),
        "simulate_daily_scrums": project.simulate_daily_scrums,
        "version": project.version,
        "create_time": project.create_time,
        "update_time": project.update_time,
    }
