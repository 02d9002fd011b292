"""What imports look up: tasks by the key of their origin, with the marks that the last import left on them."""

from collections.abc import Sequence
from dataclasses import dataclass

from psycopg.rows import tuple_row

from services.backlog.domain.importing.drafts import Mark
from services.backlog.domain.task import Task, TaskState
from services.backlog.store.tasks import COLUMNS, task_of
from services.kit.database import ReadHandle, WriteHandle

_MARKS = """
    SELECT origin_key, coalesce(encode(import_digest, 'hex'), ''), state, sprint_id FROM task
    WHERE project_id = %(project_id)s AND origin_key = ANY(%(keys)s) AND origin_key <> '' AND delete_time IS NULL
"""
_LOCK_BY_KEYS = f"""
    SELECT encode(t.import_digest, 'hex'), t.import_state, {COLUMNS} FROM task t
    WHERE t.project_id = %(project_id)s AND t.origin_key = ANY(%(keys)s) AND t.origin_key <> ''
      AND t.delete_time IS NULL
    ORDER BY t.project_id, t.rank, t.number FOR NO KEY UPDATE OF t
"""
_MARK = """
    UPDATE task t SET import_digest = decode(m.digest, 'hex'), import_state = m.state
    FROM unnest(%(task_ids)s::text[], %(digests)s::text[], %(states)s::text[]) AS m(task_id, digest, state)
    WHERE t.task_id = m.task_id
"""
_UNLINK_OTHERS = """
    DELETE FROM story_task l USING story s
    WHERE l.story_id = s.story_id AND s.origin_key <> '' AND l.task_id = ANY(%(task_ids)s)
      AND (l.story_id, l.task_id) NOT IN (SELECT * FROM unnest(%(kept_stories)s::text[], %(kept_tasks)s::text[]))
    RETURNING l.story_id, l.task_id
"""
_LINK = """
    INSERT INTO story_task (story_id, task_id)
    SELECT * FROM unnest(%(story_ids)s::text[], %(task_ids)s::text[])
    ON CONFLICT DO NOTHING RETURNING story_id, task_id
"""

Link = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Trace:
    """What the import before left of a row: its digest (hex), and the state and sprint that the task has now."""

    digest: str
    state: TaskState
    sprint_id: str


@dataclass(frozen=True, slots=True)
class Imported:
    """A task that an import finds, and the mark of the import before."""

    task: Task
    mark: Mark


async def find_traces(read: ReadHandle, project_id: str, keys: Sequence[str]) -> dict[str, Trace]:
    """What was imported from there before, by key. Nothing is locked: most rows of a second run need no more."""
    rows = await read.all(_MARKS, {"project_id": project_id, "keys": list(keys)}, row=tuple_row)
    return {key: Trace(digest, TaskState(state), sprint_id) for key, digest, state, sprint_id in rows}


async def lock_imported(tx: WriteHandle, project_id: str, keys: Sequence[str]) -> dict[str, Imported]:
    """The tasks that come from there, by key, locked."""
    rows = await tx.all(_LOCK_BY_KEYS, {"project_id": project_id, "keys": list(keys)}, row=tuple_row)
    found = [Imported(task_of(row[2:]), Mark(row[0] or "", row[1] or "")) for row in rows]
    return {item.task.content.origin.key: item for item in found if item.task.content.origin}


async def mark_imported(tx: WriteHandle, marks: Sequence[tuple[str, Mark]]) -> None:
    """Leave marks on tasks that do not change otherwise."""
    if marks:
        params = {
            "task_ids": [task_id for task_id, _ in marks],
            "digests": [mark.digest for _, mark in marks],
            "states": [mark.state for _, mark in marks],
        }
        await tx.execute(_MARK, params)


async def replace_links(
    tx: WriteHandle, task_ids: Sequence[str], links: Sequence[Link]
) -> tuple[list[Link], list[Link]]:
    """Put tasks under those imported stories alone that `links` name; the (story, task) links made, and undone."""
    stories, tasks = [link[0] for link in links], [link[1] for link in links]
    kept = {"task_ids": list(task_ids), "kept_stories": stories, "kept_tasks": tasks}
    undone = await tx.all(_UNLINK_OTHERS, kept, row=tuple_row)
    made = await tx.all(_LINK, {"story_ids": stories, "task_ids": tasks}, row=tuple_row) if links else []
    return made, undone
