"""ExportProject: a project's stories and tasks as JSON that ImportTasks takes back."""

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterable
from typing import IO

from dsm.backlog.v1 import backlog_service_pb2 as pb

from services.backlog.convert.exports import END, header_line, story_line, task_line
from services.backlog.handlers.room import Room
from services.backlog.store.exports import snapshot
from services.kit.serving.gate import Context

# Kept in memory, in bytes; a larger export goes to disk.
_IN_MEMORY = 8 << 20
_PIECE = 1 << 18


class ExportHandlers(Room):
    """ExportProject."""

    async def ExportProject(
        self, request: pb.ExportProjectRequest, context: Context
    ) -> AsyncIterator[pb.ExportProjectResponse]:
        """Written to a file first: a client that reads slowly must not keep a transaction open."""
        await self._know_project(request.project_id)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            await self._write(file, request.project_id)
            file.seek(0)
            while data := file.read(_PIECE):
                yield pb.ExportProjectResponse(data=data)

    async def _write(self, file: IO[bytes], project_id: str) -> None:
        file.write(header_line(project_id).encode())
        async with snapshot(self._db, project_id) as project:
            async for stories in project.stories():
                await _append(file, map(story_line, stories))
            async for tasks in project.tasks():
                await _append(file, map(task_line, tasks))
        file.write(END.encode())


async def _append(file: IO[bytes], lines: Iterable[str]) -> None:
    """In a thread: making JSON of hundreds of tasks would hold up every other call."""
    await asyncio.to_thread(lambda: file.write("".join(lines).encode()))
