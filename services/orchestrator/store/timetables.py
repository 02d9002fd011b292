"""Orchestrations by schedule."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from psycopg.rows import dict_row
from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from services.kit.data.database import ReadHandle, Row, WriteHandle
from services.orchestrator.domain.schedule import RunEnd, Timer
from services.orchestrator.domain.situation import Options
from services.orchestrator.domain.timetable import Timetable

_OPTIONS = TypeAdapter(Options)
_COLUMNS = """
    project_id, enabled, schedule, time_zone, options, next_run_time, last_run_time, last_run_result, last_decision_id,
    update_time, version
"""
_FIND = f"SELECT {_COLUMNS} FROM orchestration_schedule WHERE project_id = %(project_id)s"
_PUT = f"""
    INSERT INTO orchestration_schedule (project_id, enabled, schedule, time_zone, options, next_run_time, update_time)
    VALUES (%(project_id)s, %(enabled)s, %(schedule)s, %(time_zone)s, %(options)s, %(next_run_time)s, %(update_time)s)
    ON CONFLICT (project_id) DO UPDATE SET enabled = excluded.enabled, schedule = excluded.schedule,
        time_zone = excluded.time_zone, options = excluded.options, next_run_time = excluded.next_run_time,
        update_time = excluded.update_time, version = orchestration_schedule.version + 1
    RETURNING {_COLUMNS}
"""
_CLAIM = f"""
    UPDATE orchestration_schedule SET retry_time = %(now)s + make_interval(secs => %(seconds)s)
    WHERE project_id IN (
        SELECT project_id FROM orchestration_schedule WHERE next_run_time <= %(now)s AND retry_time <= %(now)s
        ORDER BY next_run_time LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING {_COLUMNS}
"""
_LOCK = f"""
    SELECT {_COLUMNS} FROM orchestration_schedule WHERE project_id = ANY(%(project_ids)s)
    ORDER BY project_id FOR UPDATE
"""
_FINISH = """
    UPDATE orchestration_schedule SET next_run_time = %(next_run_time)s, retry_time = %(retry_time)s,
        last_run_time = coalesce(%(ran)s, last_run_time), last_run_result = %(result)s,
        last_decision_id = coalesce(%(decision_id)s, last_decision_id)
    WHERE project_id = %(project_id)s AND version = %(version)s
"""


async def find(read: ReadHandle, project_id: str) -> Timetable | None:
    """When a project is orchestrated by itself; None = it never said."""
    row = await read.maybe(_FIND, {"project_id": project_id}, row=dict_row)
    return _to_timetable(row) if row else None


async def put(tx: WriteHandle, timetable: Timetable) -> Timetable:
    """Set it as a whole; what came of runs before stays."""
    params = {
        "project_id": timetable.project_id,
        "enabled": timetable.enabled,
        "schedule": timetable.timer.schedule,
        "time_zone": timetable.timer.time_zone,
        "options": Jsonb(_OPTIONS.dump_python(timetable.options, mode="json")),
        "next_run_time": timetable.next_run_time,
        "update_time": timetable.update_time,
    }
    return _to_timetable(await tx.one(_PUT, params, row=dict_row))


async def claim(tx: WriteHandle, now: datetime, seconds: float, limit: int) -> list[Timetable]:
    """Take orchestrations that are due, for so many seconds; nobody else gets them meanwhile."""
    return [_to_timetable(row) for row in await tx.rows(_CLAIM, {"now": now, "seconds": seconds, "limit": limit})]


async def finish(tx: WriteHandle, timetable: Timetable, end: RunEnd, decision_id: UUID | None) -> None:
    """Store what came of a run that was claimed; nothing if it was set anew meanwhile."""
    params = {"project_id": timetable.project_id, "version": timetable.version, "decision_id": decision_id}
    await tx.execute(_FINISH, params | asdict(end))


async def locked(tx: WriteHandle, project_ids: Sequence[str]) -> list[Timetable]:
    """The timetables of some projects, which nobody else changes before the end of the transaction."""
    return [_to_timetable(row) for row in await tx.rows(_LOCK, {"project_ids": list(project_ids)})]


def _to_timetable(row: Row) -> Timetable:
    return Timetable(
        project_id=row["project_id"],
        enabled=row["enabled"],
        timer=Timer(row["schedule"], row["time_zone"]),
        options=_OPTIONS.validate_python(row["options"]),
        update_time=row["update_time"],
        next_run_time=row["next_run_time"],
        last_run_time=row["last_run_time"],
        last_run_result=row["last_run_result"],
        last_decision_id=row["last_decision_id"],
        version=row["version"],
    )
