"""Sprints."""

from collections.abc import Collection
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from psycopg.rows import kwargs_row

from services.kit.data.database import ReadHandle, Row, WriteHandle, jsonb
from services.kit.data.paging import Page
from services.kit.data.rows import plain
from services.sprint.domain.planning import HISTORY_SPRINTS, PastSprint
from services.sprint.domain.sprint import Member, Sprint, SprintNotFound, SprintState, Statistics

_GET = "SELECT * FROM sprint WHERE sprint_id = %(sprint_id)s"
# The weaker of the row locks that exclude each other: foreign keys of new tasks do not wait for it.
_LOCK = _GET + " FOR NO KEY UPDATE"
_OPEN_OF_PROJECT = """
    SELECT * FROM sprint WHERE project_id = %(project_id)s AND state IN ('PLANNING', 'IN_PROGRESS', 'CLOSING')
"""
# A sprint in PLANNING may still be undone, so it is not active yet.
_ACTIVE = """
    SELECT * FROM sprint WHERE state IN ('IN_PROGRESS', 'CLOSING') {project}
    ORDER BY start_date, sprint_id LIMIT 1
"""
_PAGE = """
    SELECT * FROM sprint WHERE true {filters}
    ORDER BY start_date DESC, sprint_id DESC LIMIT %(limit)s
"""
_PROJECTS = """
    SELECT DISTINCT project_id FROM sprint WHERE project_id > %(after)s AND state NOT IN ('PLANNING', 'ABANDONED')
    ORDER BY project_id LIMIT %(limit)s
"""
_LAST_NUMBER = "SELECT coalesce(max(number), 0) FROM sprint WHERE project_id = %(project_id)s"
_HISTORY = """
    SELECT capacity_person_days AS person_days, (statistics ->> 'completed_points')::numeric AS points,
           (statistics ->> 'completed_tasks')::integer AS tasks
    FROM sprint WHERE project_id = %(project_id)s AND state IN ('COMPLETED', 'CLOSED_WITH_PENDING_TASKS')
    ORDER BY start_date DESC, sprint_id DESC LIMIT %(limit)s
"""
_INSERT = """
    INSERT INTO sprint (sprint_id, project_id, number, name, goal, state, start_date, end_date, duration_weeks,
                        time_zone, capacity_person_days, working_dates, members, planned_tasks, planned_points,
                        planning_note_id, version, create_time, update_time)
    VALUES (%(sprint_id)s, %(project_id)s, %(number)s, %(name)s, %(goal)s, %(state)s, %(start_date)s, %(end_date)s,
            %(duration_weeks)s, %(time_zone)s, %(capacity_person_days)s, %(working_dates)s, %(members)s,
            %(planned_tasks)s, %(planned_points)s, %(planning_note_id)s, %(version)s, %(create_time)s, %(update_time)s)
"""
_SAVE = """
    UPDATE sprint SET state = %(state)s, close_date = %(close_date)s, retrospective_id = %(retrospective_id)s,
                      planned_tasks = %(planned_tasks)s, planned_points = %(planned_points)s,
                      statistics = %(statistics)s, version = %(version)s, update_time = %(update_time)s
    WHERE sprint_id = %(sprint_id)s
"""
# Over an older version only. What was on its way when the backup was made has ended since.
_PUT_BACK = """
    WITH ended AS (
        UPDATE saga SET status = 'DONE', update_time = now()
        WHERE status IN ('RUNNING', 'UNDOING') AND key IN (%(sprint_id)s, %(project_id)s)
    )
    INSERT INTO sprint AS s (
        sprint_id, project_id, number, name, goal, state, start_date, end_date, duration_weeks, time_zone,
        capacity_person_days, working_dates, members, planned_tasks, planned_points, planning_note_id, close_date,
        retrospective_id, statistics, version, create_time, update_time)
    VALUES (%(sprint_id)s, %(project_id)s, %(number)s, %(name)s, %(goal)s, %(state)s, %(start_date)s, %(end_date)s,
            %(duration_weeks)s, %(time_zone)s, %(capacity_person_days)s, %(working_dates)s, %(members)s,
            %(planned_tasks)s, %(planned_points)s, %(planning_note_id)s, %(close_date)s, %(retrospective_id)s,
            %(statistics)s, %(version)s, %(create_time)s, %(update_time)s)
    ON CONFLICT (sprint_id) DO UPDATE
    SET state = excluded.state, planned_tasks = excluded.planned_tasks, planned_points = excluded.planned_points,
        close_date = excluded.close_date, retrospective_id = excluded.retrospective_id,
        statistics = excluded.statistics, version = excluded.version, update_time = excluded.update_time
    WHERE s.version < excluded.version
"""
_DAY_OF = """
    SELECT least(end_date, greatest(start_date, (%(moment)s AT TIME ZONE time_zone)::date)) FROM sprint
    WHERE sprint_id = %(sprint_id)s
"""


async def get(db: ReadHandle, sprint_id: str) -> Sprint:
    """One sprint; SprintNotFound."""
    return _found(await db.maybe(_GET, {"sprint_id": sprint_id}, row=_row), sprint_id)


async def find(db: ReadHandle, sprint_id: str) -> Sprint | None:
    """One sprint, if there is one of this id."""
    return await db.maybe(_GET, {"sprint_id": sprint_id}, row=_row)


async def lock(tx: WriteHandle, sprint_id: str) -> Sprint:
    """One sprint, which nobody else changes until the transaction ends; SprintNotFound."""
    return _found(await tx.maybe(_LOCK, {"sprint_id": sprint_id}, row=_row), sprint_id)


async def open_of(db: ReadHandle, project_id: str) -> Sprint | None:
    """The project's sprint that is neither closed nor abandoned."""
    return await db.maybe(_OPEN_OF_PROJECT, {"project_id": project_id}, row=_row)


async def active(db: ReadHandle, project_id: str) -> Sprint | None:
    """The open sprint of a project or, if none is named, the one that started first."""
    project = "AND project_id = %(project_id)s" if project_id else ""
    return await db.maybe(_ACTIVE.format(project=project), {"project_id": project_id}, row=_row)


async def page(db: ReadHandle, page: Page, project_id: str, states: Collection[str]) -> list[Sprint]:
    """A page of sprints, newest start first."""
    filters = "AND project_id = %(project_id)s " if project_id else ""
    filters += "AND state = ANY(%(states)s) " if states else ""
    filters += "AND (start_date, sprint_id) < (%(start_date)s, %(sprint_id)s)" if page.after else ""
    start_date, sprint_id = page.after or (None, None)
    params = {
        "project_id": project_id,
        "states": list(states),
        "start_date": start_date and date.fromisoformat(start_date),
        "sprint_id": sprint_id,
        "limit": page.limit,
    }
    return await db.all(_PAGE.format(filters=filters), params, row=_row)


async def projects(db: ReadHandle, page: Page) -> list[str]:
    """A page of the projects that ever had a sprint."""
    params = {"after": page.after[0] if page.after else "", "limit": page.limit}
    return [row["project_id"] for row in await db.rows(_PROJECTS, params)]


async def last_number(db: ReadHandle, project_id: str) -> int:
    """The number of the project's last sprint, also one abandoned; 0 = none."""
    return int(await db.value(_LAST_NUMBER, {"project_id": project_id}))


async def history(db: ReadHandle, project_id: str) -> list[PastSprint]:
    """The pace of the last closed sprints, newest first."""
    params = {"project_id": project_id, "limit": HISTORY_SPRINTS}
    return await db.all(_HISTORY, params, row=kwargs_row(PastSprint))


async def insert(tx: WriteHandle, sprint: Sprint) -> None:
    """Store a new sprint; UniqueViolation of sprint_open_key if the project has an open one."""
    await tx.execute(_INSERT, _params(sprint))


async def save(tx: WriteHandle, sprint: Sprint) -> None:
    """Store what can change of a sprint."""
    await tx.execute(_SAVE, _params(sprint))


async def put_back(tx: WriteHandle, sprint: Sprint) -> None:
    """Store a sprint that was lost, or that is older here, without its flows; UniqueViolation if another is open."""
    await tx.execute(_PUT_BACK, _params(sprint))


async def day_of(db: ReadHandle, sprint_id: str, moment: datetime) -> date:
    """The day of a sprint on which something happened."""
    day: date = await db.value(_DAY_OF, {"sprint_id": sprint_id, "moment": moment})
    return day


def _found(sprint: Sprint | None, sprint_id: str) -> Sprint:
    if sprint is None:
        raise SprintNotFound(sprint_id)
    return sprint


def _params(sprint: Sprint) -> Row:
    members = [
        {"employee_id": m.employee_id, "person_days": str(m.person_days), "skills": sorted(m.skills)}
        for m in sprint.members
    ]
    return plain(
        sprint,
        members=jsonb(members),
        working_dates=list(sprint.working_dates),
        statistics=jsonb(_statistics_out(sprint.statistics)) if sprint.statistics else None,
        retrospective_id=sprint.retrospective_id or None,
    )


def _sprint(
    *,
    state: str,
    working_dates: list[date],
    members: list[dict[str, Any]],
    statistics: dict[str, Any] | None,
    planning_note_id: object,
    retrospective_id: object,
    **plain: Any,
) -> Sprint:
    return Sprint(
        state=SprintState(state),
        working_dates=tuple(working_dates),
        members=tuple(Member(m["employee_id"], Decimal(m["person_days"]), frozenset(m["skills"])) for m in members),
        statistics=_statistics_in(statistics) if statistics else None,
        planning_note_id=str(planning_note_id),
        retrospective_id=str(retrospective_id or ""),
        **plain,
    )


_row = kwargs_row(_sprint)


def _statistics_out(statistics: Statistics) -> dict[str, Any]:
    # JSON has no decimals that keep their value, so they are kept as text.
    return {name: str(value) if isinstance(value, Decimal) else value for name, value in asdict(statistics).items()}


def _statistics_in(stored: dict[str, Any]) -> Statistics:
    values: dict[str, Any] = {
        name: Decimal(value) if isinstance(value, str) else value for name, value in stored.items()
    }
    return Statistics(**values)
