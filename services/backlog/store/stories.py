"""Stories and the tasks under them."""

from collections.abc import Callable, Sequence
from typing import Any

from psycopg import errors

from services.backlog.domain.errors import OriginKeyAlreadyExists
from services.backlog.domain.story import Story, StoryContent, StoryProgress
from services.backlog.store.tasks import ORIGIN, origin_of, origin_record
from services.kit.data.database import Params, ReadHandle, WriteHandle

_HEAD = ("story_id", "project_id", "number", "version", "create_time", "update_time", "title", "description", *ORIGIN)
_NAMES = ", ".join(_HEAD)
# What `story_row` reads, of a story called s with its PROGRESS.
COLUMNS = f"""
    {", ".join(f"s.{name}" for name in _HEAD)}, p.total_tasks, p.completed_tasks, p.total_points, p.completed_points
"""
PROGRESS = """
    CROSS JOIN LATERAL (
        SELECT count(*) AS total_tasks,
               count(*) FILTER (WHERE t.state = 'COMPLETED') AS completed_tasks,
               coalesce(sum(t.points), 0) AS total_points,
               coalesce(sum(t.points) FILTER (WHERE t.state = 'COMPLETED'), 0) AS completed_points
        FROM story_task l JOIN task t USING (task_id)
        WHERE l.story_id = s.story_id AND t.delete_time IS NULL AND t.state <> 'CANCELLED'
    ) AS p
"""
_FIND = f"SELECT {COLUMNS} FROM story s {PROGRESS} WHERE s.story_id = %(story_id)s"
_LOCK = f"{_FIND} FOR UPDATE OF s"
_LOCK_MANY = f"""
    SELECT {COLUMNS} FROM story s {PROGRESS} WHERE s.story_id = ANY(%(story_ids)s) ORDER BY s.number FOR UPDATE OF s
"""
_PAGE = f"""
    SELECT {COLUMNS} FROM story s {PROGRESS}
    WHERE s.project_id = %(project_id)s AND s.number > %(after)s ORDER BY s.number LIMIT %(limit)s
"""
_LOCK_BY_KEYS = f"""
    SELECT {COLUMNS} FROM story s {PROGRESS}
    WHERE s.project_id || ' ' || s.origin_key = ANY(%(keys)s) AND s.origin_key <> ''
    ORDER BY s.number FOR UPDATE OF s
"""
_INSERT = f"INSERT INTO story ({_NAMES}) VALUES ({', '.join(f'%({name})s' for name in _HEAD)})"
_SAVE = f"""
    UPDATE story SET version = %(version)s, update_time = %(update_time)s, title = %(title)s,
                     description = %(description)s, {", ".join(f"{name} = %({name})s" for name in ORIGIN)}
    WHERE story_id = %(story_id)s
"""
_DELETE = "DELETE FROM story WHERE story_id = %(story_id)s"
_LINK = """
    INSERT INTO story_task (story_id, task_id)
    SELECT * FROM unnest(%(story_ids)s::text[], %(task_ids)s::text[])
    ON CONFLICT DO NOTHING
"""
_UNLINK = "DELETE FROM story_task WHERE story_id = %(story_id)s AND task_id = ANY(%(task_ids)s) RETURNING task_id"
_LINKED = "SELECT task_id FROM story_task WHERE story_id = %(story_id)s AND task_id = ANY(%(task_ids)s)"


def story_row(_cursor: object) -> Callable[[Sequence[Any]], Story]:
    """Row factory of stories with their progress."""
    return story_of


async def find_story(read: ReadHandle, story_id: str) -> Story | None:
    """A story with its progress."""
    return await read.maybe(_FIND, {"story_id": story_id}, row=story_row)


async def lock_story(tx: WriteHandle, story_id: str) -> Story | None:
    """A story with its progress, locked."""
    return await tx.maybe(_LOCK, {"story_id": story_id}, row=story_row)


async def lock_stories(tx: WriteHandle, story_ids: Sequence[str]) -> list[Story]:
    """Stories with their progress, locked."""
    return await tx.all(_LOCK_MANY, {"story_ids": list(story_ids)}, row=story_row)


async def lock_stories_by_key(tx: WriteHandle, project_id: str, keys: Sequence[str]) -> dict[str, Story]:
    """Stories by the key of their origin, locked."""
    full = [f"{project_id} {key}" for key in keys]
    stories = await tx.all(_LOCK_BY_KEYS, {"keys": full}, row=story_row)
    return {story.content.origin.key: story for story in stories if story.content.origin}


async def page_of_stories(read: ReadHandle, project_id: str, after: int, limit: int) -> list[Story]:
    """The next stories of a project by id."""
    return await read.all(_PAGE, {"project_id": project_id, "after": after, "limit": limit}, row=story_row)


async def insert_stories(tx: WriteHandle, stories: Sequence[Story]) -> None:
    """Store new stories; OriginKeyAlreadyExists if one comes from where another came from."""
    await _run(tx, _INSERT, stories)


async def save_stories(tx: WriteHandle, stories: Sequence[Story]) -> None:
    """Store locked stories."""
    await _run(tx, _SAVE, stories)


async def put_back_new(tx: WriteHandle, story: Story) -> None:
    """Store a story that was lost; UniqueViolation if there is one of its id, or from the same origin."""
    await tx.execute(_INSERT, _record(story))


async def put_back(tx: WriteHandle, story: Story) -> None:
    """Store a change of a story that was lost; UniqueViolation if another comes from the same origin."""
    await tx.execute(_SAVE, _record(story))


async def delete_story(tx: WriteHandle, story_id: str) -> None:
    """Remove a story and its links; tasks stay."""
    await tx.execute(_DELETE, {"story_id": story_id})


async def link_tasks(tx: WriteHandle, links: Sequence[tuple[str, str]]) -> None:
    """Put tasks under stories, as (story id, task id); those there already stay."""
    params = {"story_ids": [link[0] for link in links], "task_ids": [link[1] for link in links]}
    await tx.execute(_LINK, params)


async def unlink_tasks(tx: WriteHandle, story_id: str, task_ids: Sequence[str]) -> list[str]:
    """Take tasks from under a story; those that were there."""
    rows = await tx.rows(_UNLINK, {"story_id": story_id, "task_ids": list(task_ids)})
    return sorted(row["task_id"] for row in rows)


async def linked_tasks(read: ReadHandle, story_id: str, task_ids: Sequence[str]) -> set[str]:
    """Which of these tasks are under a story."""
    return {row["task_id"] for row in await read.rows(_LINKED, {"story_id": story_id, "task_ids": list(task_ids)})}


async def _run(tx: WriteHandle, sql: str, stories: Sequence[Story]) -> None:
    try:
        await tx.execute_many(sql, [_record(story) for story in stories])
    except errors.UniqueViolation as error:
        if error.diag.constraint_name != "story_origin_key":
            raise
        origin = stories[0].content.origin
        raise OriginKeyAlreadyExists(stories[0].project_id, origin.key if origin else "") from None


def story_of(values: Sequence[Any]) -> Story:
    """A story from the values of `COLUMNS`."""
    head, origin, progress = values[:8], values[8:-4], values[-4:]
    content = StoryContent(*(*head[6:], origin_of(origin)))
    return Story(*(*head[:6], content, StoryProgress(*progress)))


def _record(story: Story) -> Params:
    return {
        "story_id": story.story_id,
        "project_id": story.project_id,
        "number": story.number,
        "version": story.version,
        "create_time": story.create_time,
        "update_time": story.update_time,
        "title": story.content.title,
        "description": story.content.description,
        **origin_record(story.content.origin),
    }
