"""Tasks in the database: found, locked, inserted and saved; one statement for any number of them."""

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

from psycopg import errors
from psycopg.rows import tuple_row

from services.backlog.domain.errors import OriginKeyAlreadyExists
from services.backlog.domain.importing.drafts import Mark
from services.backlog.domain.task import Content, Course, Origin, Priority, Task, TaskState
from services.kit.data.database import Params, ReadHandle, WriteHandle, jsonb

_HEAD = {
    "task_id": "text",
    "project_id": "text",
    "number": "bigint",
    "rank": "bigint",
    "version": "bigint",
    "create_time": "timestamptz",
    "update_time": "timestamptz",
}
ORIGIN = {
    "origin_system": "text",
    "origin_key": "text",
    "origin_url": "text",
    "origin_status": "text",
    "origin_resolution": "text",
    "origin_create_time": "timestamptz",
    "origin_resolve_time": "timestamptz",
}
_CONTENT = {
    "title": "text",
    "description": "text",
    "type": "text",
    "parent_task_id": "text",
    "points": "numeric",
    "estimate": "interval",
    "remaining": "interval",
    "priority": "text",
    "tags": "text[]",
    "due_date": "date",
    "reminder_offsets": "interval[]",
    "recurrence_rule": "text",
    "depends_on": "text[]",
    "custom_fields": "jsonb",
} | ORIGIN
_COURSE = {
    "state": "text",
    "assignee_id": "text",
    "sprint_id": "text",
    "progress_percent": "integer",
    "sprint_version": "bigint",
    "complete_time": "timestamptz",
}
# Set by imports alone; see store.imports.
_IMPORT = {"import_digest": "bytea", "import_state": "text", "import_key": "text"}

_STORY_IDS = "ARRAY(SELECT l.story_id FROM story_task l WHERE l.task_id = t.task_id ORDER BY l.story_id)"
# What `task_row` reads, of a task called t.
COLUMNS = ", ".join([*(f"t.{name}" for name in _HEAD | _COURSE | _CONTENT), _STORY_IDS])
_FIRST_COURSE = len(_HEAD)
_FIRST_CONTENT = _FIRST_COURSE + len(_COURSE)
_FIRST_ORIGIN = _FIRST_CONTENT + len(_CONTENT) - len(ORIGIN)
_PRIORITY = list(_CONTENT).index("priority")
_ARRAYS = [index for index, kind in enumerate(_CONTENT.values()) if kind.endswith("[]")]
# The order in which everybody locks tasks.
_BY_PLACE = "ORDER BY t.project_id, t.rank, t.number"


def _records(columns: dict[str, str], more: str = "") -> str:
    return f"jsonb_to_recordset(%(tasks)s) AS r({', '.join(f'{n} {kind}' for n, kind in columns.items())}{more})"


def _insert(columns: dict[str, str]) -> str:
    names = ", ".join(columns)
    return f"INSERT INTO task ({names}) SELECT {names} FROM {_records(columns)} RETURNING task_id"


def _update(columns: dict[str, str]) -> str:
    """Change the columns of tasks whose version is still the one seen."""
    columns = columns | {"rank": "bigint", "version": "bigint", "update_time": "timestamptz"}
    changes = ", ".join(f"{name} = r.{name}" for name in columns)
    records = _records(columns, ", task_id text, seen_version bigint")
    return f"""
        UPDATE task t SET {changes} FROM {records}
        WHERE t.task_id = r.task_id AND t.version = r.seen_version AND t.delete_time IS NULL
        RETURNING t.task_id
    """


def _put_back() -> str:
    """Change a task to what it was made since the backup.

    Nobody but sprints can have changed it here in between, so its content is older here, whatever its version is; its
    course is if the sprints' count of it is.
    """
    records = _records(_HEAD | _CONTENT | _COURSE)
    content = ", ".join(f"{name} = r.{name}" for name in _CONTENT | {"rank": ""})
    newer = "CASE WHEN t.sprint_version <= r.sprint_version THEN r.{0} ELSE t.{0} END"
    course = ", ".join(f"{name} = {newer.format(name)}" for name in _COURSE)
    return f"""
        UPDATE task t SET {content}, {course}, version = greatest(t.version, r.version),
            update_time = greatest(t.update_time, r.update_time)
        FROM {records} WHERE t.task_id = r.task_id AND t.delete_time IS NULL
    """


_FIND_WITH_STATUS = f"""
    SELECT coalesce(p.status, ''), {COLUMNS} FROM task t LEFT JOIN project_state p USING (project_id)
    WHERE t.task_id = %(task_id)s AND t.delete_time IS NULL
"""
_FIND_MANY = f"SELECT {COLUMNS} FROM task t WHERE t.task_id = ANY(%(task_ids)s) AND t.delete_time IS NULL"
_LOCK = f"{_FIND_MANY} {_BY_PLACE} FOR NO KEY UPDATE OF t"
_LOCK_WITH_SPRINTS = f"""
    SELECT {COLUMNS} FROM task t
    WHERE (t.task_id = ANY(%(task_ids)s) OR (t.sprint_id = ANY(%(sprint_ids)s) AND t.sprint_id <> ''))
      AND t.delete_time IS NULL
    {_BY_PLACE} FOR NO KEY UPDATE OF t
"""
_LOCK_FREE = f"""
    SELECT {COLUMNS} FROM task t
    WHERE t.project_id = %(project_id)s AND t.state = 'UNASSIGNED' AND t.delete_time IS NULL
      AND (t.rank, t.number) > (%(rank)s, %(number)s)
    ORDER BY t.rank, t.number LIMIT %(limit)s FOR NO KEY UPDATE OF t
"""
_OF_SPRINT = f"""
    SELECT {COLUMNS} FROM task t
    WHERE t.sprint_id = %(sprint_id)s AND t.sprint_id <> '' AND t.delete_time IS NULL ORDER BY t.rank, t.number
"""
_PROJECTS_OF = "SELECT task_id, project_id FROM task WHERE task_id = ANY(%(task_ids)s) AND delete_time IS NULL"
# Project and key as they are indexed.
_HOLDERS_OF_KEYS = """
    SELECT origin_key, task_id FROM task
    WHERE project_id || ' ' || origin_key = ANY(%(keys)s) AND origin_key <> '' AND delete_time IS NULL
"""
_INSERT = _insert(_HEAD | _CONTENT | _COURSE)
_INSERT_IMPORTED = _insert(_HEAD | _CONTENT | _COURSE | _IMPORT)
SAVE_CONTENT = _update(_CONTENT)
SAVE_COURSE = _update(_COURSE)
_SAVE_IMPORTED = _update(_CONTENT | _COURSE | _IMPORT)
DELETE = """
    UPDATE task SET delete_time = %(delete_time)s, update_time = %(delete_time)s, version = version + 1
    WHERE task_id = %(task_id)s AND version = %(seen_version)s AND delete_time IS NULL RETURNING task_id
"""

_PUT_BACK = _put_back()
_PUT_BACK_DELETION = """
    UPDATE task SET delete_time = %(delete_time)s, update_time = %(delete_time)s,
                    version = greatest(version, %(version)s)
    WHERE task_id = %(task_id)s AND delete_time IS NULL
"""


def task_row(_cursor: object) -> Callable[[Sequence[Any]], Task]:
    """Row factory of `COLUMNS`."""
    return task_of


def task_of(values: Sequence[Any]) -> Task:
    """A task from the values of `COLUMNS`."""
    course, content = values[_FIRST_COURSE:_FIRST_CONTENT], list(values[_FIRST_CONTENT:_FIRST_ORIGIN])
    content[_PRIORITY] = Priority(content[_PRIORITY])
    for index in _ARRAYS:
        content[index] = tuple(content[index])
    content.append(origin_of(values[_FIRST_ORIGIN:-1]))
    parts = (Content(*content), Course(TaskState(course[0]), *course[1:]), tuple(values[-1]))
    return Task(*(*values[:_FIRST_COURSE], *parts))


def origin_of(values: Sequence[Any]) -> Origin | None:
    """An origin from the values of `ORIGIN`; None if there is nothing in them."""
    return Origin(*values) if any(values) else None


async def find_tasks(read: ReadHandle, task_ids: Sequence[str]) -> list[Task | None]:
    """Tasks in the order of their ids; None for one that is deleted or never was."""
    tasks = await read.all(_FIND_MANY, {"task_ids": list(task_ids)}, row=task_row)
    found = {task.task_id: task for task in tasks}
    return [found.get(task_id) for task_id in task_ids]


async def find_task_and_status(read: ReadHandle, task_id: str) -> tuple[Task, str] | None:
    """A task and its project's status; empty for a project never heard of, which sample data may be made for."""
    row = await read.maybe(_FIND_WITH_STATUS, {"task_id": task_id}, row=tuple_row)
    return (task_of(row[1:]), row[0]) if row else None


async def lock_tasks(tx: WriteHandle, task_ids: Sequence[str]) -> dict[str, Task]:
    """The tasks by id, locked; those that are deleted or never were are missing."""
    tasks = await tx.all(_LOCK, {"task_ids": list(task_ids)}, row=task_row)
    return {task.task_id: task for task in tasks}


async def lock_tasks_and_sprints(
    tx: WriteHandle, task_ids: Sequence[str], sprint_ids: Sequence[str]
) -> dict[str, Task]:
    """Some tasks and every task of some sprints by id, locked."""
    params = {"task_ids": list(task_ids), "sprint_ids": list(sprint_ids)}
    return {task.task_id: task for task in await tx.all(_LOCK_WITH_SPRINTS, params, row=task_row)}


async def lock_free_tasks(tx: WriteHandle, project_id: str, after: tuple[int, int], limit: int) -> list[Task]:
    """The next unassigned tasks of a project by rank, locked.

    Waits for whoever holds one of them rather than passing it over: what is still free then is taken.
    """
    params = {"project_id": project_id, "rank": after[0], "number": after[1], "limit": limit}
    return await tx.all(_LOCK_FREE, params, row=task_row)


async def tasks_of_sprint(read: ReadHandle, sprint_id: str) -> list[Task]:
    """Every task of a sprint, by rank."""
    return await read.all(_OF_SPRINT, {"sprint_id": sprint_id}, row=task_row)


async def projects_of_tasks(read: ReadHandle, task_ids: Sequence[str]) -> dict[str, str]:
    """The project of each task that is there."""
    rows = await read.all(_PROJECTS_OF, {"task_ids": list(task_ids)}, row=tuple_row)
    return dict(rows)


async def insert_tasks(tx: WriteHandle, tasks: Sequence[Task]) -> None:
    """Store new tasks; OriginKeyAlreadyExists if one comes from where another came from."""
    try:
        await tx.execute(_INSERT, {"tasks": jsonb([_head(t) | _course(t.course) | _content(t.content) for t in tasks])})
    except errors.UniqueViolation as error:
        raise key_conflict(error, tasks) from None


async def save_contents(tx: WriteHandle, changes: Sequence[tuple[Task, Task]]) -> None:
    """Store the content of locked tasks, each (before, after)."""
    try:
        await tx.execute(SAVE_CONTENT, content_params(changes))
    except errors.UniqueViolation as error:
        raise key_conflict(error, [after for _, after in changes]) from None


async def save_courses(tx: WriteHandle, changes: Sequence[tuple[Task, Task]]) -> None:
    """Store the course and rank of locked tasks, each (before, after)."""
    if changes:
        await tx.execute(SAVE_COURSE, course_params(changes))


async def insert_imported(tx: WriteHandle, tasks: Sequence[Task], marks: Sequence[Mark]) -> None:
    """Store new tasks with the marks of the rows that they come from."""
    rows = [
        _head(task) | _course(task.course) | _content(task.content) | _import(mark)
        for task, mark in zip(tasks, marks, strict=True)
    ]
    if rows:
        await tx.execute(_INSERT_IMPORTED, {"tasks": jsonb(rows)})


async def save_imported(tx: WriteHandle, changes: Sequence[tuple[Task, Task]], marks: Sequence[Mark]) -> None:
    """Store locked tasks, each (before, after), with the marks of the rows that they come from."""
    rows = [
        _update_of(change) | _course(change[1].course) | _content(change[1].content) | _import(mark)
        for change, mark in zip(changes, marks, strict=True)
    ]
    if rows:
        await tx.execute(_SAVE_IMPORTED, {"tasks": jsonb(rows)})


async def put_back_new(tx: WriteHandle, task: Task) -> None:
    """Store a task that was lost; UniqueViolation if there is one of its id, or from the same origin."""
    await tx.execute(_INSERT, {"tasks": jsonb([_head(task) | _course(task.course) | _content(task.content)])})


async def put_back(tx: WriteHandle, task: Task) -> None:
    """Store a change of a task that was lost; UniqueViolation if another comes from the same origin."""
    await tx.execute(_PUT_BACK, {"tasks": jsonb([_head(task) | _course(task.course) | _content(task.content)])})


async def put_back_deletion(tx: WriteHandle, task_id: str, version: int, deleted: datetime) -> None:
    """Store that a task was deleted, which gave it this version."""
    await tx.execute(_PUT_BACK_DELETION, {"task_id": task_id, "version": version, "delete_time": deleted})


async def holders_of_keys(read: ReadHandle, project_id: str, keys: Sequence[str]) -> dict[str, str]:
    """Which task comes from where, by origin key."""
    full = [f"{project_id} {key}" for key in keys]
    return dict(await read.all(_HOLDERS_OF_KEYS, {"keys": full}, row=tuple_row))


def content_params(changes: Sequence[tuple[Task, Task]]) -> Params:
    """The parameters of SAVE_CONTENT."""
    return {"tasks": jsonb([_update_of(change) | _content(change[1].content) for change in changes])}


def course_params(changes: Sequence[tuple[Task, Task]]) -> Params:
    """The parameters of SAVE_COURSE."""
    return {"tasks": jsonb([_update_of(change) | _course(change[1].course) for change in changes])}


def delete_params(task: Task, now: datetime) -> Params:
    """The parameters of DELETE."""
    return {"task_id": task.task_id, "seen_version": task.version, "delete_time": now}


def key_conflict(error: errors.UniqueViolation, tasks: Sequence[Task]) -> Exception:
    """What a violated unique index means for whoever stores these tasks."""
    if error.diag.constraint_name != "task_origin_key":
        return error
    # "Key (…)=(TEST-001 XD-1) already exists." is the only place that names the row.
    detail = error.diag.message_detail or ""
    clashing = [t for t in tasks if t.content.origin and f"({t.project_id} {t.content.origin.key})" in detail]
    clashing = clashing or list(tasks)
    origin = clashing[0].content.origin
    return OriginKeyAlreadyExists(clashing[0].project_id, origin.key if origin else "")


def origin_record(origin: Origin | None) -> dict[str, Any]:
    """An origin as columns."""
    origin = origin or Origin()
    return {
        "origin_system": origin.system,
        "origin_key": origin.key,
        "origin_url": origin.url,
        "origin_status": origin.status,
        "origin_resolution": origin.resolution,
        "origin_create_time": _moment(origin.create_time),
        "origin_resolve_time": _moment(origin.resolve_time),
    }


def _head(task: Task) -> dict[str, Any]:
    return {
        "task_id": task.task_id,
        "project_id": task.project_id,
        "number": task.number,
        "rank": task.rank,
        "version": task.version,
        "create_time": _moment(task.create_time),
        "update_time": _moment(task.update_time),
    }


def _update_of(change: tuple[Task, Task]) -> dict[str, Any]:
    before, after = change
    return {
        "task_id": after.task_id,
        "seen_version": before.version,
        "version": after.version,
        "rank": after.rank,
        "update_time": _moment(after.update_time),
    }


def _content(content: Content) -> dict[str, Any]:
    return {
        "title": content.title,
        "description": content.description,
        "type": content.type,
        "parent_task_id": content.parent_task_id,
        "points": None if content.points is None else str(content.points),
        "estimate": _span(content.estimate),
        "remaining": _span(content.remaining),
        "priority": content.priority,
        "tags": content.tags,
        "due_date": content.due_date.isoformat() if content.due_date else None,
        "reminder_offsets": [_span(offset) for offset in content.reminder_offsets],
        "recurrence_rule": content.recurrence_rule,
        "depends_on": content.depends_on,
        "custom_fields": dict(content.custom_fields),
        **origin_record(content.origin),
    }


def _course(course: Course) -> dict[str, Any]:
    return {
        "state": course.state,
        "assignee_id": course.assignee_id,
        "sprint_id": course.sprint_id,
        "progress_percent": course.progress_percent,
        "sprint_version": course.sprint_version,
        "complete_time": _moment(course.complete_time),
    }


def _import(mark: Mark) -> dict[str, Any]:
    return {"import_digest": f"\\x{mark.digest}", "import_state": mark.state, "import_key": mark.key}


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None


def _span(span: timedelta | None) -> str | None:
    """ISO 8601, exact to the microsecond."""
    return None if span is None else f"PT{span.days * 86400 + span.seconds}.{span.microseconds:06d}S"
