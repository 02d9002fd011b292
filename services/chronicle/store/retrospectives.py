"""Retrospectives, their action items, and what their sprints came to."""

from collections.abc import Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any

from psycopg.rows import dict_row

from services.chronicle.domain.notes import ActionItem, ActionItemState, Retrospective, RetrospectiveTask, Statistics
from services.chronicle.store.sql import insert, where
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import json_rows, plain

_NOTE = """retrospective_id, sprint_id, project_id, sprint_name, start_date, end_date, duration_weeks, what_went_well,
    what_could_be_improved, facilitator_id, attendee_ids, create_time"""
_CHILDREN = ("action_items", "tasks_summary", "statistics")
_INSERT = insert("retrospective", _NOTE) + " ON CONFLICT DO NOTHING RETURNING retrospective_id::text"
_INSERT_TASKS = insert(
    "retrospective_task",
    "retrospective_id, position, task_id, description, status, employee_id, progress_percent, points",
)
_ITEM = "action_item_id, description, state, owner_id, impediment_id, update_time, version"
_INSERT_ITEMS = insert("action_item", f"retrospective_id, project_id, position, {_ITEM}")
_FIGURES = ", ".join(field.name for field in fields(Statistics))
_INSERT_OUTCOMES = (
    insert("sprint_outcome", f"sprint_id, project_id, sprint_name, start_date, end_date, close_time, {_FIGURES}")
    + " ON CONFLICT DO NOTHING RETURNING sprint_id"
)
_SELECT = f"""
    SELECT {_NOTE}, (
        SELECT coalesce(jsonb_agg(to_jsonb(task) - 'retrospective_id' - 'position' ORDER BY position), '[]')
        FROM retrospective_task task WHERE task.retrospective_id = note.retrospective_id
    ) AS tasks_summary, (
        SELECT coalesce(jsonb_agg(
            to_jsonb(item) - '{{retrospective_id,project_id,position}}'::text[] ORDER BY position
        ), '[]')
        FROM action_item item WHERE item.retrospective_id = note.retrospective_id
    ) AS action_items, (
        SELECT to_jsonb(figures) FROM (SELECT {_FIGURES} FROM sprint_outcome outcome
                                       WHERE outcome.sprint_id = note.sprint_id) figures
    ) AS statistics
    FROM retrospective note
"""
_FILTERS = {
    "project_id": "project_id = %(project_id)s",
    "sprint_id": "sprint_id = %(sprint_id)s",
    "retrospective_id": "retrospective_id = %(retrospective_id)s",
    "after_id": """(start_date, create_time, retrospective_id)
                   < (%(after_date)s::date, %(after_time)s::timestamptz, %(after_id)s::uuid)""",
}
_ORDER = "ORDER BY start_date DESC, create_time DESC, retrospective_id DESC LIMIT %(limit)s"
_FIND = f"""
    {_SELECT} WHERE retrospective_id = %(retrospective_id)s OR sprint_id = %(sprint_id)s
    ORDER BY retrospective_id = %(retrospective_id)s DESC
"""
_LOCK_ITEM = f"""
    SELECT {_ITEM}, retrospective_id::text, project_id FROM action_item
    WHERE action_item_id = %(action_item_id)s FOR UPDATE
"""
_SAVE_ITEM = """
    UPDATE action_item SET description = %(description)s, state = %(state)s, owner_id = %(owner_id)s,
        update_time = %(update_time)s, version = %(version)s
    WHERE action_item_id = %(action_item_id)s
"""


async def add(tx: WriteHandle, retrospectives: Sequence[Retrospective]) -> tuple[set[str], set[str]]:
    """Store retrospectives and what their sprints came to.

    The ids of those that were new and whose sprint had none, and the sprints whose outcome was not known before.
    """
    rows = [plain(note, *_CHILDREN) for note in retrospectives]
    new = {row["retrospective_id"] for row in await tx.rows(_INSERT, json_rows(rows))}
    added = [note for note in retrospectives if note.retrospective_id in new]
    tasks = [
        plain(task, retrospective_id=note.retrospective_id, position=position)
        for note in added
        for position, task in enumerate(note.tasks_summary)
    ]
    await tx.execute(_INSERT_TASKS, json_rows(tasks))
    items = [
        plain(item, retrospective_id=note.retrospective_id, project_id=note.project_id, position=position)
        for note in added
        for position, item in enumerate(note.action_items)
    ]
    await tx.execute(_INSERT_ITEMS, json_rows(items))
    # Also of a sprint whose retrospective was there before, recorded without figures.
    outcomes = [_outcome(note, note.statistics) for note in retrospectives if note.statistics]
    closed = {row["sprint_id"] for row in await tx.rows(_INSERT_OUTCOMES, json_rows(outcomes))}
    return new, closed


async def stored(read: ReadHandle, note: Retrospective) -> Retrospective:
    """What is there after add(): the retrospective with this one's id, else that of its sprint."""
    key = {"retrospective_id": note.retrospective_id, "sprint_id": note.sprint_id}
    return _retrospective(await read.one(_FIND, key, row=dict_row))


async def page(read: ReadHandle, params: dict[str, Any]) -> list[Retrospective]:
    """Retrospectives that match, newest sprint first."""
    rows = await read.rows(f"{_SELECT} {where(_FILTERS, params)} {_ORDER}", params)
    return [_retrospective(row) for row in rows]


async def lock_action_item(tx: WriteHandle, action_item_id: str) -> tuple[ActionItem, str, str] | None:
    """An action item until the end of the transaction, with its retrospective and project; None if there is none."""
    row = await tx.maybe(_LOCK_ITEM, {"action_item_id": action_item_id}, row=dict_row)
    if row is None:
        return None
    retrospective_id, project_id = row.pop("retrospective_id"), row.pop("project_id")
    return _item(row), retrospective_id, project_id


async def save_action_item(tx: WriteHandle, item: ActionItem) -> None:
    """Store a changed action item."""
    await tx.execute(_SAVE_ITEM, plain(item))


def _outcome(note: Retrospective, statistics: Statistics) -> dict[str, Any]:
    return plain(
        statistics,
        sprint_id=note.sprint_id,
        project_id=note.project_id,
        sprint_name=note.sprint_name,
        start_date=note.start_date,
        end_date=note.end_date,
        close_time=note.create_time,
    )


def _retrospective(row: dict[str, Any]) -> Retrospective:
    figures = row["statistics"]
    values = row | {
        "retrospective_id": str(row["retrospective_id"]),
        "what_went_well": tuple(row["what_went_well"]),
        "what_could_be_improved": tuple(row["what_could_be_improved"]),
        "attendee_ids": tuple(row["attendee_ids"]),
        "tasks_summary": tuple(RetrospectiveTask(**task) for task in row["tasks_summary"]),
        "action_items": tuple(_item(item) for item in row["action_items"]),
        "statistics": Statistics(**figures) if figures else None,
    }
    return Retrospective(**values)


def _item(row: dict[str, Any]) -> ActionItem:
    """From a row, or from JSON, where instants are text."""
    moment = row["update_time"]
    return ActionItem(
        **(
            row
            | {
                "action_item_id": str(row["action_item_id"]),
                "state": ActionItemState(row["state"]),
                "update_time": datetime.fromisoformat(moment) if isinstance(moment, str) else moment,
            }
        )
    )
