"""A project's stories and tasks as they are at one moment, however many."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from psycopg import AsyncConnection
from psycopg.rows import BaseRowFactory

from services.backlog.domain.story import Story
from services.backlog.domain.task import Task
from services.backlog.store.stories import COLUMNS as STORY_COLUMNS
from services.backlog.store.stories import PROGRESS, story_row
from services.backlog.store.tasks import COLUMNS, task_row
from services.kit.data.database import Database

T = TypeVar("T")

_CHUNK = 500
_STORIES = f"SELECT {STORY_COLUMNS} FROM story s {PROGRESS} WHERE s.project_id = %(project_id)s ORDER BY s.number"
_TASKS = f"""
    SELECT {COLUMNS} FROM task t WHERE t.project_id = %(project_id)s AND t.delete_time IS NULL ORDER BY t.rank, t.number
"""


class Snapshot:
    """A project at one moment."""

    def __init__(self, connection: AsyncConnection[Any], project_id: str) -> None:
        self._connection = connection
        self._project_id = project_id

    def stories(self) -> AsyncIterator[list[Story]]:
        """The stories by id, some hundreds at a time."""
        return self._chunks(_STORIES, story_row)

    def tasks(self) -> AsyncIterator[list[Task]]:
        """The tasks by rank, some hundreds at a time."""
        return self._chunks(_TASKS, task_row)

    async def _chunks(self, sql: str, row: BaseRowFactory[T]) -> AsyncIterator[list[T]]:
        async with self._connection.cursor("export", row_factory=row) as cursor:
            await cursor.execute(sql, {"project_id": self._project_id})
            while chunk := await cursor.fetchmany(_CHUNK):
                yield chunk


@asynccontextmanager
async def snapshot(database: Database, project_id: str) -> AsyncIterator[Snapshot]:
    """A transaction that reads only, and sees all of the time in which it began."""
    async with database.connection() as connection, connection.transaction():
        await connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield Snapshot(connection, project_id)
