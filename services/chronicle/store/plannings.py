"""Planning notes."""

from collections.abc import Sequence
from typing import Any

from psycopg.rows import dict_row

from services.chronicle.domain.notes import PlannedTask, PlanningNote
from services.chronicle.store.sql import insert, where
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import json_rows, plain

_NOTE = """note_id, sprint_id, project_id, sprint_name, sprint_goal, start_date, end_date, duration_weeks,
    capacity_person_days, create_time"""
_INSERT = insert("planning_note", f"{_NOTE}, task_count, points") + " ON CONFLICT DO NOTHING RETURNING note_id::text"
_INSERT_TASKS = insert("planned_task", "note_id, position, task_id, title, assignee_id, points")
_SELECT = f"""
    SELECT {_NOTE}, (
        SELECT coalesce(jsonb_agg(to_jsonb(task) - 'note_id' - 'position' ORDER BY position), '[]')
        FROM planned_task task WHERE task.note_id = note.note_id
    ) AS planned_tasks
    FROM planning_note note
"""
_FILTERS = {
    "project_id": "project_id = %(project_id)s",
    "sprint_id": "sprint_id = %(sprint_id)s",
    "note_id": "note_id = %(note_id)s",
    "after_id": """(start_date, create_time, note_id)
                   < (%(after_date)s::date, %(after_time)s::timestamptz, %(after_id)s::uuid)""",
}
_ORDER = "ORDER BY start_date DESC, create_time DESC, note_id DESC LIMIT %(limit)s"
_FIND = f"{_SELECT} WHERE note_id = %(note_id)s OR sprint_id = %(sprint_id)s ORDER BY note_id = %(note_id)s DESC"


async def add(tx: WriteHandle, notes: Sequence[PlanningNote]) -> set[str]:
    """Store notes; the ids of those that were new and whose sprint had none."""
    rows = [
        plain(
            note,
            "planned_tasks",
            task_count=len(note.planned_tasks),
            points=sum(task.points or 0 for task in note.planned_tasks),
        )
        for note in notes
    ]
    new = {row["note_id"] for row in await tx.rows(_INSERT, json_rows(rows))}
    tasks = [
        plain(task, note_id=note.note_id, position=position)
        for note in notes
        if note.note_id in new
        for position, task in enumerate(note.planned_tasks)
    ]
    await tx.execute(_INSERT_TASKS, json_rows(tasks))
    return new


async def stored(read: ReadHandle, note: PlanningNote) -> PlanningNote:
    """What is there after add(): the note with this one's id, else that of its sprint."""
    return _note(await read.one(_FIND, {"note_id": note.note_id, "sprint_id": note.sprint_id}, row=dict_row))


async def page(read: ReadHandle, params: dict[str, Any]) -> list[PlanningNote]:
    """Notes that match, newest sprint first."""
    rows = await read.rows(f"{_SELECT} {where(_FILTERS, params)} {_ORDER}", params)
    return [_note(row) for row in rows]


def _note(row: dict[str, Any]) -> PlanningNote:
    tasks = tuple(PlannedTask(**task) for task in row["planned_tasks"])
    return PlanningNote(**(row | {"note_id": str(row["note_id"]), "planned_tasks": tasks}))
