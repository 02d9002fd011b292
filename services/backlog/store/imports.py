"""What imports look up: tasks and stories by key, with the marks that the last import left on the tasks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from psycopg import errors
from psycopg.rows import tuple_row

from services.backlog.domain.errors import OriginKeyAlreadyExists
from services.backlog.domain.importing.drafts import Mark
from services.backlog.domain.story import Story
from services.backlog.domain.task import Task, TaskState
from services.backlog.store.stories import COLUMNS as STORY_COLUMNS
from services.backlog.store.stories import PROGRESS, story_of
from services.backlog.store.tasks import COLUMNS, task_of
from services.kit.data.database import Params, WriteHandle


class KeyKind(StrEnum):
    """What a file's keys are: the origin's keys, or the ids in an export."""

    ORIGIN = "origin_key"
    EXPORT = "import_key"


def _by_kind(sql: str) -> Mapping[KeyKind, str]:
    return {kind: sql.format(key=kind) for kind in KeyKind}


_TASKS = "t.project_id || ' ' || t.{key} = ANY(%(keys)s) AND t.{key} <> '' AND t.delete_time IS NULL"
_MARKS = _by_kind(f"""
    SELECT t.{{key}}, coalesce(encode(t.import_digest, 'hex'), ''), t.state, t.sprint_id FROM task t WHERE {_TASKS}
""")
_HOLDERS = _by_kind(f"SELECT t.{{key}}, t.task_id FROM task t WHERE {_TASKS}")
_LOCK_BY_KEYS = _by_kind(f"""
    SELECT t.{{key}}, encode(t.import_digest, 'hex'), t.import_state, t.import_key, {COLUMNS} FROM task t
    WHERE {_TASKS} ORDER BY t.project_id, t.rank, t.number FOR NO KEY UPDATE OF t
""")
_LOCK_STORIES = _by_kind(f"""
    SELECT s.{{key}}, {STORY_COLUMNS} FROM story s {PROGRESS}
    WHERE s.project_id || ' ' || s.{{key}} = ANY(%(keys)s) AND s.{{key}} <> ''
    ORDER BY s.number FOR UPDATE OF s
""")
# An export's task is in this project already if it has the id, or comes from where that comes from.
_ADOPT_TASKS = """
    UPDATE task t SET import_key = e.key
    FROM unnest(%(keys)s::text[], %(origin_keys)s::text[]) AS e(key, origin_key)
    WHERE t.project_id = %(project_id)s AND t.delete_time IS NULL AND t.import_key <> e.key AND {same}
      AND NOT EXISTS (
          SELECT FROM task o WHERE o.project_id || ' ' || o.import_key = %(project_id)s || ' ' || e.key
          AND o.import_key <> '' AND o.delete_time IS NULL)
"""
_ADOPT_STORIES = """
    UPDATE story t SET import_key = e.key
    FROM unnest(%(keys)s::text[], %(origin_keys)s::text[]) AS e(key, origin_key)
    WHERE t.project_id = %(project_id)s AND t.import_key <> e.key AND {same}
      AND NOT EXISTS (
          SELECT FROM story o WHERE o.project_id || ' ' || o.import_key = %(project_id)s || ' ' || e.key
          AND o.import_key <> '')
"""
_SAME_ORIGIN = """
    t.project_id || ' ' || t.origin_key = %(project_id)s || ' ' || e.origin_key
    AND e.origin_key <> '' AND t.origin_key <> ''
"""
_NAME_STORIES = """
    UPDATE story s SET import_key = e.key FROM unnest(%(keys)s::text[], %(ids)s::text[]) AS e(key, story_id)
    WHERE s.story_id = e.story_id
"""
_MARK = """
    UPDATE task t SET import_digest = decode(m.digest, 'hex'), import_state = m.state
    FROM unnest(%(task_ids)s::text[], %(digests)s::text[], %(states)s::text[]) AS m(task_id, digest, state)
    WHERE t.task_id = m.task_id
"""
_UNLINK_OTHERS = """
    DELETE FROM story_task l USING story s
    WHERE l.story_id = s.story_id AND (s.origin_key <> '' OR s.import_key <> '') AND l.task_id = ANY(%(task_ids)s)
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


class Keys:
    """Tasks and stories of a project by one kind of key, in one transaction."""

    def __init__(self, tx: WriteHandle, project_id: str, kind: KeyKind) -> None:
        self._tx = tx
        self._project_id = project_id
        self._kind = kind

    def mark(self, key: str, item: Imported | None) -> str:
        """The key of an export's row; a row of another file leaves the one that its task has."""
        return key if self._kind is KeyKind.EXPORT else item.mark.key if item else ""

    async def traces(self, keys: Sequence[str]) -> dict[str, Trace]:
        """What was imported from there before. Nothing is locked: most rows of a second run need no more."""
        rows = await self._tx.all(_MARKS[self._kind], self._params(keys), row=tuple_row)
        return {key: Trace(digest, TaskState(state), sprint_id) for key, digest, state, sprint_id in rows}

    async def lock_tasks(self, keys: Sequence[str]) -> dict[str, Imported]:
        """The tasks that come from there, locked."""
        rows = await self._tx.all(_LOCK_BY_KEYS[self._kind], self._params(keys), row=tuple_row)
        return {row[0]: Imported(task_of(row[4:]), Mark(row[1] or "", row[2] or "", row[3])) for row in rows}

    async def task_ids(self, keys: Sequence[str]) -> dict[str, str]:
        """The ids of the tasks that come from there."""
        return dict(await self._tx.all(_HOLDERS[self._kind], self._params(keys), row=tuple_row)) if keys else {}

    async def lock_stories(self, keys: Sequence[str]) -> dict[str, Story]:
        """The stories that come from there, locked."""
        rows = await self._tx.all(_LOCK_STORIES[self._kind], self._params(keys), row=tuple_row)
        return {row[0]: story_of(row[1:]) for row in rows}

    async def adopt(self, tasks: Mapping[str, str], stories: Mapping[str, str]) -> None:
        """Know by its key in an export what is here already; `tasks` and `stories` are keys and origins' keys."""
        if self._kind is KeyKind.EXPORT:
            for sql, things, same in (
                (_ADOPT_TASKS, tasks, _SAME_ORIGIN),
                (_ADOPT_TASKS, tasks, "t.task_id = e.key"),
                (_ADOPT_STORIES, stories, _SAME_ORIGIN),
                (_ADOPT_STORIES, stories, "t.story_id = e.key"),
            ):
                params = {"project_id": self._project_id, "keys": list(things), "origin_keys": list(things.values())}
                if things:
                    await self._tx.execute(sql.format(same=same), params)

    async def name_stories(self, story_ids: Mapping[str, str]) -> None:
        """Keep the keys of stories that were made."""
        if self._kind is KeyKind.EXPORT and story_ids:
            await self._tx.execute(_NAME_STORIES, {"keys": list(story_ids), "ids": list(story_ids.values())})

    def _params(self, keys: Sequence[str]) -> Params:
        return {"keys": [f"{self._project_id} {key}" for key in keys]}


def key_conflict(error: errors.UniqueViolation, project_id: str) -> Exception:
    """What it means that two rows fight for one key: a file gives a task the origin that another task has."""
    if error.diag.constraint_name not in ("task_origin_key", "story_origin_key"):
        return error
    # "Key (…)=(TEST-001 XD-1) already exists." is the only place that names it.
    found = re.search(r"=\([^ ]* (.*)\) already exists", error.diag.message_detail or "", re.DOTALL)
    return OriginKeyAlreadyExists(project_id, found[1] if found else "")


async def plan_anew(tx: WriteHandle) -> None:
    """Plan each statement of the transaction for the table as it is now: kept plans are from before it grew."""
    await tx.execute("SET LOCAL plan_cache_mode = force_custom_plan")


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
