"""ImportTasks: takes the bytes in, checks what can be checked, and takes the rows batch by batch."""

import asyncio
import codecs
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import IO

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import import_pb2
from psycopg import errors

from services.backlog.domain.importing.drafts import Draft, Reference
from services.backlog.domain.importing.errors import (
    ImportEncodingInvalid,
    ImportRowsRefused,
    ImportStreamInvalid,
    ImportTooLarge,
)
from services.backlog.domain.importing.source import BATCH, MAX_ROWS, Source, Tally
from services.backlog.handlers.importing import Batch, Outcome
from services.backlog.handlers.room import Room
from services.backlog.handlers.sources import DEFAULT_ENCODING, source_of
from services.backlog.store.imports import KeyKind, key_conflict, plan_anew
from services.kit.data.database import CONFLICTS, WriteHandle
from services.kit.serving.gate import Context

MAX_BYTES = 1 << 30
# Bytes kept in memory; a larger file goes to disk.
_IN_MEMORY = 8 << 20
_ATTEMPTS = 4
_ASIDE = 1_000


class _Undo(Exception):
    """Takes a dry run back."""


class ImportHandlers(Room):
    """ImportTasks."""

    async def ImportTasks(
        self, request_iterator: AsyncIterator[pb.ImportTasksRequest], context: Context
    ) -> pb.ImportTasksResponse:
        """A file's rows as tasks and stories. The whole file is here before the first row is taken."""
        began = time.monotonic()
        options = await _first(request_iterator)
        await self._check_project(options.project_id)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            source = source_of(file, options)
            if await _receive(request_iterator, file, options.encoding or DEFAULT_ENCODING) > MAX_ROWS:
                await asyncio.to_thread(source.check_size)
            source.check_header()
            tally, outcome = await self._import(source, options)
        milliseconds = int((time.monotonic() - began) * 1000)
        return pb.ImportTasksResponse(report=_report(tally, outcome, milliseconds))

    async def _import(self, source: Source, options: import_pb2.ImportOptions) -> tuple[Tally, Outcome]:
        if options.strict:
            await _check_all(source)
        tally, outcome = Tally(), Outcome()
        if options.strict or options.dry_run:
            await self._import_whole(options, source.batches(tally), outcome)
        else:
            for drafts in source.batches(tally):
                outcome.add(await self._in_own_transaction(options, lambda batch, d=drafts: batch.take(d)))  # type: ignore[misc]
            for references in _chunks(outcome.open):
                outcome.add(await self._in_own_transaction(options, lambda batch, r=references: batch.settle(r)))  # type: ignore[misc]
        for line, why in outcome.refused:
            tally.refuse(line, why)
        return tally, outcome

    async def _import_whole(
        self, options: import_pb2.ImportOptions, batches: Iterator[list[Draft]], outcome: Outcome
    ) -> None:
        """In one transaction; of a dry run nothing stays, nor of a strict one that meets a row that it must refuse."""
        try:
            async with self._db.write() as tx:
                await plan_anew(tx)
                for drafts in batches:
                    outcome.add(await self._batch(tx, options).take(drafts))
                    await _put_aside(tx)
                for references in _chunks(outcome.open):
                    outcome.add(await self._batch(tx, options).settle(references))
                    await _put_aside(tx)
                if options.strict and outcome.refused:
                    line, why = outcome.refused[0]
                    raise ImportRowsRefused(line, why.field, why.rule, len(outcome.refused))
                if options.dry_run:
                    raise _Undo
        except _Undo:
            return
        except errors.UniqueViolation as error:
            raise key_conflict(error, options.project_id) from None

    async def _in_own_transaction(
        self, options: import_pb2.ImportOptions, work: Callable[[Batch], Awaitable[Outcome]]
    ) -> Outcome:
        """Take drafts, or settle references; once more if somebody else was at the same rows."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._db.write() as tx:
                    await plan_anew(tx)
                    return await work(self._batch(tx, options))
            except CONFLICTS:
                if attempt == _ATTEMPTS:
                    raise
            except errors.UniqueViolation as error:
                if attempt == _ATTEMPTS:
                    raise key_conflict(error, options.project_id) from None
        raise AssertionError("unreachable")

    def _batch(self, tx: WriteHandle, options: import_pb2.ImportOptions) -> Batch:
        is_export = options.format == import_pb2.IMPORT_FORMAT_DSM_JSON
        kind = KeyKind.EXPORT if is_export else KeyKind.ORIGIN
        return Batch(tx, options.project_id, kind, self._clock())


async def _first(requests: AsyncIterator[pb.ImportTasksRequest]) -> import_pb2.ImportOptions:
    request = await anext(aiter(requests), None)
    if request is None or not request.HasField("options"):
        raise ImportStreamInvalid
    return request.options


async def _receive(requests: AsyncIterator[pb.ImportTasksRequest], file: IO[bytes], encoding: str) -> int:
    """Keep the bytes, which must be text; no fewer than there are rows: lines, or entries with commas between."""
    decoder = codecs.getincrementaldecoder(encoding)()
    size = lines = commas = 0
    async for request in requests:
        if request.HasField("options"):
            raise ImportStreamInvalid
        _check_text(decoder, request.data, size, encoding)
        size += len(request.data)
        lines += request.data.count(b"\n") + request.data.count(b"\r")
        commas += request.data.count(b",")
        if size > MAX_BYTES:
            raise ImportTooLarge(MAX_BYTES, "bytes")
        file.write(request.data)
    _check_text(decoder, b"", size, encoding, final=True)
    return max(lines, commas)


def _check_text(
    decoder: codecs.IncrementalDecoder, data: bytes, size: int, encoding: str, *, final: bool = False
) -> None:
    """ImportEncodingInvalid with the place of the first byte that is wrong, `size` bytes having come before."""
    waiting = len(decoder.getstate()[0])
    try:
        decoder.decode(data, final)
    except UnicodeError as error:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        raise ImportEncodingInvalid(encoding, size - waiting + start) from None


async def _check_all(source: Source) -> None:
    """ImportRowsRefused if a single row is bad."""
    tally = Tally()
    for _ in source.batches(tally):
        await asyncio.sleep(0)
    if tally.refusals:
        first = tally.refusals[0]
        raise ImportRowsRefused(first.line, first.field, first.rule, tally.refused)


async def _put_aside(tx: WriteHandle) -> None:
    """Store the events so far: those of a whole file would not fit into memory."""
    if len(tx.events) >= _ASIDE:
        await tx.flush()
        tx.events.clear()


def _chunks(references: list[Reference]) -> Iterator[list[Reference]]:
    return (references[start : start + BATCH] for start in range(0, len(references), BATCH))


def _report(tally: Tally, outcome: Outcome, milliseconds: int) -> import_pb2.ImportReport:
    return import_pb2.ImportReport(
        rows=tally.rows,
        created_tasks=outcome.created,
        updated_tasks=outcome.updated,
        unchanged_tasks=outcome.unchanged,
        stories=outcome.stories,
        refused_count=tally.refused,
        refused_rows=[
            import_pb2.RefusedRow(line=row.line, key=row.key, field=row.field, rule=row.rule, value=row.value)
            for row in tally.refusals
        ],
        duration_ms=milliseconds,
        states_kept=outcome.states_kept,
        skipped_rows=tally.skipped,
    )
