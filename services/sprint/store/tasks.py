"""Tasks of sprints, the work reported on them, and changes of scope."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from dsm.events.v1 import event_pb2
from google.protobuf.message import Message
from psycopg.rows import kwargs_row

from services.kit.call import RequestKey
from services.kit.convert import from_date
from services.kit.data.changes import Change
from services.kit.data.database import Database, ReadHandle, Row, WriteHandle
from services.kit.data.paging import Page
from services.kit.data.rows import json_rows, plain
from services.sprint.domain.progress import TaskNotInSprint
from services.sprint.domain.scope import Scope, ScopeChange
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import (
    Outcome,
    ProjectArchived,
    SprintState,
    SprintTask,
    TaskState,
    TaskSummary,
    check_in_progress,
)

_NAMES = ", ".join(field.name for field in fields(SprintTask))
_COLUMNS = ", ".join(f"t.{field.name}" for field in fields(SprintTask))
_OF_SPRINT = f"SELECT {_COLUMNS} FROM sprint_task t WHERE sprint_id = %(sprint_id)s ORDER BY position, task_id"
# Every transaction that locks several tasks does so in the order of their ids, so that none waits for the other.
_LOCK_OF_SPRINT = f"SELECT {_COLUMNS} FROM sprint_task t WHERE sprint_id = %(sprint_id)s ORDER BY task_id FOR UPDATE"
_PAGE = """
    SELECT {columns} FROM sprint_task t WHERE sprint_id = %(sprint_id)s {filters}
    ORDER BY position, task_id LIMIT %(limit)s
"""
_SUMMARIES = """
    SELECT sprint_id, count(*) AS total_tasks,
           count(*) FILTER (WHERE state = 'COMPLETED') AS completed_tasks,
           count(*) FILTER (WHERE state = 'BLOCKED') AS blocked_tasks,
           count(*) FILTER (WHERE state = 'IN_PROGRESS') AS in_progress_tasks,
           coalesce(sum(points), 0) AS total_points,
           coalesce(sum(points) FILTER (WHERE state = 'COMPLETED'), 0) AS completed_points
    FROM sprint_task
    WHERE sprint_id = ANY(%(sprint_ids)s) AND (outcome IS NULL OR outcome NOT IN ('REMOVED', 'CANCELLED'))
    GROUP BY sprint_id
"""
_CURRENT = f"""
    SELECT {_COLUMNS}, s.state AS sprint_state, s.start_date, s.end_date, s.time_zone,
           coalesce(p.status = 'ARCHIVED', false) AS archived
    FROM sprint_task t JOIN sprint s USING (sprint_id) LEFT JOIN project_state p ON p.project_id = t.project_id
    WHERE t.task_id = ANY(%(task_ids)s) AND t.outcome IS NULL
"""
_LOCK = """
    SELECT 1 FROM sprint_task WHERE task_id = ANY(%(task_ids)s) AND outcome IS NULL ORDER BY task_id FOR UPDATE
"""
_ONE = f"SELECT {_COLUMNS} FROM sprint_task t WHERE sprint_id = %(sprint_id)s AND task_id = %(task_id)s"
_LAST_VERSIONS = """
    SELECT task_id, max(version) AS version FROM sprint_task WHERE task_id = ANY(%(task_ids)s) GROUP BY task_id
"""
_INSERT = """
    INSERT INTO sprint_task (sprint_id, task_id, project_id, title, points, state, assignee_id, progress_percent,
                             version, backlog_version, position, add_date, update_time, report_time)
    SELECT sprint_id, task_id, project_id, title, points, state, assignee_id, progress_percent, version,
           backlog_version, position, add_date, update_time,
           (SELECT max(o.report_time) FROM sprint_task o WHERE o.task_id = n.task_id)
    FROM jsonb_populate_recordset(NULL::sprint_task, %(rows)s) AS n ORDER BY task_id
    ON CONFLICT (sprint_id, task_id) DO UPDATE
    SET title = excluded.title, points = excluded.points, state = excluded.state, assignee_id = excluded.assignee_id,
        progress_percent = excluded.progress_percent, version = excluded.version,
        backlog_version = excluded.backlog_version, position = excluded.position, add_date = excluded.add_date,
        complete_date = NULL, outcome = NULL, update_time = excluded.update_time
"""
# Over an older version only, or over one that has not ended: a completed task ends without a version of its own.
_PUT_BACK = f"""
    INSERT INTO sprint_task AS t ({_NAMES})
    SELECT {_NAMES} FROM jsonb_populate_recordset(NULL::sprint_task, %(rows)s) ORDER BY task_id
    ON CONFLICT (sprint_id, task_id) DO UPDATE
    SET title = excluded.title, points = excluded.points, state = excluded.state, assignee_id = excluded.assignee_id,
        progress_percent = excluded.progress_percent, version = excluded.version, position = excluded.position,
        add_date = excluded.add_date, complete_date = excluded.complete_date, outcome = excluded.outcome,
        update_time = excluded.update_time, report_time = excluded.report_time
    WHERE t.version < excluded.version OR (t.version = excluded.version AND t.outcome IS NULL)
"""
_NEXT_POSITION = "SELECT coalesce(max(position), 0) + 1 FROM sprint_task WHERE sprint_id = %(sprint_id)s"
# Only over the version that was read: whoever changed the task meanwhile, also by closing its sprint, had moved it on.
# And never waiting for a lock: reports of other tasks are in the same statement.
_REPORT = """
    UPDATE sprint_task t SET state = r.state, progress_percent = r.to_percent, version = r.version,
                             complete_date = r.complete_date, update_time = r.create_time, report_time = r.report_time
    FROM (
        SELECT r.* FROM jsonb_to_recordset(%(records)s) AS r(
            sprint_id text, task_id text, state text, version bigint, complete_date date, report_time timestamptz,
            employee_id text, work_date date, from_percent integer, to_percent integer, work_note text, plan text,
            create_time timestamptz)
        JOIN sprint_task s ON s.sprint_id = r.sprint_id AND s.task_id = r.task_id AND s.version = r.version - 1
        FOR UPDATE OF s SKIP LOCKED
    ) r
    WHERE t.sprint_id = r.sprint_id AND t.task_id = r.task_id
    RETURNING t.task_id AS key, r.*
"""
_ENTRIES = """
    INSERT INTO progress_entry (sprint_id, task_id, employee_id, work_date, from_percent, to_percent, work_note, plan,
                                create_time)
    SELECT sprint_id, task_id, employee_id, work_date, from_percent, to_percent, work_note, plan, create_time
    FROM change
"""
_ENTRY = """
    INSERT INTO progress_entry (sprint_id, task_id, employee_id, work_date, from_percent, to_percent, work_note, plan,
                                create_time)
    SELECT %(sprint_id)s, %(task_id)s, %(employee_id)s, %(work_date)s::date, %(from_percent)s::integer,
           %(to_percent)s::integer, %(work_note)s, %(plan)s, %(create_time)s::timestamptz
"""
_SAVE_ALL = """
    UPDATE sprint_task t SET state = n.state, progress_percent = n.progress_percent, version = n.version,
                             complete_date = n.complete_date, outcome = n.outcome, update_time = n.update_time,
                             assignee_id = n.assignee_id, report_time = n.report_time
    FROM jsonb_populate_recordset(NULL::sprint_task, %(rows)s) AS n
    WHERE t.sprint_id = n.sprint_id AND t.task_id = n.task_id
"""
# Moves the versions of what is unfinished on: progress that read the older ones comes too late, and sees why.
_FREEZE = f"""
    UPDATE sprint_task t SET version = t.version + 1, update_time = %(now)s
    FROM (SELECT task_id FROM sprint_task
          WHERE sprint_id = %(sprint_id)s AND outcome IS NULL AND state <> 'COMPLETED'
          ORDER BY task_id FOR UPDATE) locked
    WHERE t.sprint_id = %(sprint_id)s AND t.task_id = locked.task_id
    RETURNING {_COLUMNS}
"""
_UNREPORTED = """
    SELECT entry_id, task_id, employee_id, work_date, from_percent, to_percent, work_note, plan, create_time
    FROM progress_entry
    WHERE sprint_id = %(sprint_id)s AND report_date IS NULL AND work_date <= %(day)s
    ORDER BY entry_id
"""
_REPORTED = "UPDATE progress_entry SET report_date = %(day)s WHERE entry_id = ANY(%(entry_ids)s)"
_SCOPE = """
    SELECT change_date, kind, points FROM scope_change WHERE sprint_id = %(sprint_id)s
    ORDER BY change_date, scope_change_id
"""
_CHANGE_SCOPE = """
    INSERT INTO scope_change (sprint_id, task_id, change_date, kind, points, reason)
    VALUES (%(sprint_id)s, %(task_id)s, %(change_date)s, %(kind)s, %(points)s, %(reason)s)
"""


@dataclass(frozen=True, slots=True)
class Current:
    """A task in an open sprint, with what a report of work needs to know of the sprint."""

    task: SprintTask
    sprint_state: SprintState
    start_date: date
    end_date: date
    time_zone: str
    archived: bool

    def check_open(self) -> None:
        """SprintNotInProgress or ProjectArchived unless work in the sprint is possible."""
        check_in_progress(self.task.sprint_id, self.sprint_state)
        if self.archived:
            raise ProjectArchived(self.task.project_id)


@dataclass(frozen=True, slots=True)
class Report:
    """Work reported on a task: the task after it, what is kept of it, what is told and what is answered."""

    task: SprintTask
    entry: Entry
    event: event_pb2.Event
    reply: Message
    request_key: RequestKey | None


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """Work reported, and its key."""

    entry_id: int
    entry: Entry


async def of_sprint(db: ReadHandle, sprint_id: str) -> list[SprintTask]:
    """A sprint's tasks by position."""
    return await db.all(_OF_SPRINT, {"sprint_id": sprint_id}, row=_row)


async def lock_of_sprint(tx: WriteHandle, sprint_id: str) -> list[SprintTask]:
    """A sprint's tasks by position, which nobody else changes until the transaction ends."""
    return sorted(await tx.all(_LOCK_OF_SPRINT, {"sprint_id": sprint_id}, row=_row), key=_place)


async def page(db: ReadHandle, page: Page, sprint_id: str, assignee_id: str) -> list[SprintTask]:
    """A page of a sprint's tasks by position."""
    filters = "AND assignee_id = %(assignee_id)s " if assignee_id else ""
    filters += "AND (position, task_id) > (%(position)s, %(task_id)s)" if page.after else ""
    position, task_id = page.after or (None, None)
    params = {"sprint_id": sprint_id, "assignee_id": assignee_id, "limit": page.limit}
    params |= {"position": position, "task_id": task_id}
    return await db.all(_PAGE.format(columns=_COLUMNS, filters=filters), params, row=_row)


async def summaries(db: ReadHandle, sprint_ids: Collection[str]) -> dict[str, TaskSummary]:
    """Counts of sprints' tasks, by sprint; one without tasks has an empty count."""
    found = {row.pop("sprint_id"): row for row in await db.rows(_SUMMARIES, {"sprint_ids": list(sprint_ids)})}
    return {sprint_id: TaskSummary(**found.get(sprint_id, {})) for sprint_id in sprint_ids}


async def get(db: ReadHandle, sprint_id: str, task_id: str) -> SprintTask:
    """A task that is or was in a sprint."""
    return await db.one(_ONE, {"sprint_id": sprint_id, "task_id": task_id}, row=_row)


async def find(db: ReadHandle, sprint_id: str, task_id: str) -> SprintTask | None:
    """The same; None for one that never was."""
    return await db.maybe(_ONE, {"sprint_id": sprint_id, "task_id": task_id}, row=_row)


async def find_all_current(db: ReadHandle, task_ids: Sequence[str]) -> list[Current | None]:
    """Tasks in the open sprints that they are in, in the order of their ids; None for one that is in none."""
    found = {current.task.task_id: current for current in await _all_current(db, task_ids)}
    return [found.get(task_id) for task_id in task_ids]


async def find_current(db: ReadHandle, task_id: str) -> Current | None:
    """A task in the open sprint that it is in, if it is in one."""
    return await db.maybe(_CURRENT, {"task_ids": [task_id]}, row=_current_row)


async def current(db: ReadHandle, task_id: str, sprint_id: str = "") -> Current:
    """The same; TaskNotInSprint if it is in none, or in another than `sprint_id`, if that is given."""
    found = await find_current(db, task_id)
    if found is None or (sprint_id and found.task.sprint_id != sprint_id):
        raise TaskNotInSprint(task_id, sprint_id or None)
    return found


async def lock_current(tx: WriteHandle, task_id: str, sprint_id: str = "") -> Current:
    """The same, which nobody else changes until the transaction ends."""
    await tx.value(_LOCK, {"task_ids": [task_id]})
    # Read after the lock was waited for: the lock's own statement would still see the sprint as it was before.
    return await current(tx, task_id, sprint_id)


async def lock_all_current(tx: WriteHandle, task_ids: Collection[str]) -> dict[str, Current]:
    """Those of some tasks that are in open sprints, by id, which nobody else changes until the transaction ends."""
    await tx.rows(_LOCK, {"task_ids": sorted(task_ids)})
    return {found.task.task_id: found for found in await _all_current(tx, task_ids)}


async def last_versions(db: ReadHandle, task_ids: Collection[str]) -> dict[str, int]:
    """The last version of each task that ever was in a sprint."""
    rows = await db.rows(_LAST_VERSIONS, {"task_ids": list(task_ids)})
    return {row["task_id"]: row["version"] for row in rows}


async def next_position(db: ReadHandle, sprint_id: str) -> int:
    """The position after a sprint's last task."""
    return int(await db.value(_NEXT_POSITION, {"sprint_id": sprint_id}))


async def insert(tx: WriteHandle, tasks: Sequence[SprintTask]) -> None:
    """Put tasks into a sprint, also those that were in it before and went out."""
    await tx.execute(_INSERT, json_rows(map(plain, tasks)))


async def put_back(tx: WriteHandle, tasks: Sequence[SprintTask]) -> None:
    """Store tasks of sprints that were lost, or that are older here; UniqueViolation if one is in another sprint."""
    await tx.execute(_PUT_BACK, json_rows(map(plain, tasks)))


async def report_all(database: Database, reports: Sequence[Report]) -> list[bool]:
    """Store reports of work, each with its event and answer; False for a task that was changed meanwhile."""
    # Of two on the same task, the second has not seen the first.
    by_task = {report.task.task_id: report for report in reversed(reports)}
    changes = [
        Change(task_id, _report_record(report), report.event, report.reply, report.request_key)
        for task_id, report in by_task.items()
    ]
    changed = await database.change_all(_REPORT, changes, also={"entered": _ENTRIES})
    return [report.task.task_id in changed and by_task[report.task.task_id] is report for report in reports]


async def save(tx: WriteHandle, tasks: Sequence[SprintTask]) -> None:
    """Store tasks that were locked and changed."""
    await tx.execute(_SAVE_ALL, json_rows(map(plain, tasks)))


async def add_entries(tx: WriteHandle, entries: Sequence[tuple[str, Entry]]) -> None:
    """Store work reported on tasks that were locked, each with its sprint's id."""
    await tx.execute_many(_ENTRY, [_entry_params(sprint_id, entry) for sprint_id, entry in entries])


async def freeze(tx: WriteHandle, sprint_id: str, now: object) -> list[SprintTask]:
    """Give each unfinished task of a sprint that closes its last version; the tasks by position."""
    return sorted(await tx.all(_FREEZE, {"sprint_id": sprint_id, "now": now}, row=_row), key=_place)


async def unreported(db: ReadHandle, sprint_id: str, day: date) -> list[StoredEntry]:
    """Work up to a day that is in no daily scrum report yet."""
    return await db.all(_UNREPORTED, {"sprint_id": sprint_id, "day": day}, row=kwargs_row(_stored_entry))


async def mark_reported(tx: WriteHandle, entry_ids: Collection[int], day: date) -> None:
    """Note that work is in the report of a day."""
    await tx.execute(_REPORTED, {"entry_ids": list(entry_ids), "day": day})


async def scope_changes(db: ReadHandle, sprint_id: str) -> list[ScopeChange]:
    """How a sprint's scope changed, by day."""
    return await db.all(_SCOPE, {"sprint_id": sprint_id}, row=kwargs_row(_scope_change))


async def change_scope(tx: WriteHandle, sprint_id: str, task_id: str, change: ScopeChange, reason: str = "") -> None:
    """Store that a task came in or went out."""
    await tx.execute(_CHANGE_SCOPE, plain(change, sprint_id=sprint_id, task_id=task_id, reason=reason))


async def _all_current(db: ReadHandle, task_ids: Collection[str]) -> list[Current]:
    return await db.all(_CURRENT, {"task_ids": list(task_ids)}, row=_current_row)


def _place(task: SprintTask) -> tuple[int, str]:
    return task.position, task.task_id


def _entry_params(sprint_id: str, entry: Entry) -> Row:
    return plain(entry, sprint_id=sprint_id)


def _task(*, state: str, outcome: str | None, **plain: Any) -> SprintTask:
    return SprintTask(state=TaskState(state), outcome=Outcome(outcome) if outcome else None, **plain)


def _current(
    *, sprint_state: str, start_date: date, end_date: date, time_zone: str, archived: bool, **task: Any
) -> Current:
    return Current(_task(**task), SprintState(sprint_state), start_date, end_date, time_zone, archived)


def _report_record(report: Report) -> Row:
    task, entry = report.task, report.entry
    return {
        "sprint_id": task.sprint_id,
        "task_id": task.task_id,
        "state": task.state,
        "version": task.version,
        "complete_date": from_date(task.complete_date) or None,
        "report_time": task.report_time.isoformat() if task.report_time else None,
        "employee_id": entry.employee_id,
        "work_date": from_date(entry.work_date),
        "from_percent": entry.from_percent,
        "to_percent": entry.to_percent,
        "work_note": entry.work_note,
        "plan": entry.plan,
        "create_time": entry.create_time.isoformat(),
    }


def _stored_entry(*, entry_id: int, **plain: Any) -> StoredEntry:
    return StoredEntry(entry_id, Entry(**plain))


def _scope_change(*, kind: str, **plain: Any) -> ScopeChange:
    return ScopeChange(kind=Scope(kind), **plain)


_row = kwargs_row(_task)
_current_row = kwargs_row(_current)
