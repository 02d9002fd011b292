"""ImportTasks: takes the bytes in, checks what can be checked, and takes the rows batch by batch."""

import asyncio
import codecs
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from typing import IO

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import import_pb2
from psycopg import errors

from services.backlog.convert.tasks import STATE_OF
from services.backlog.domain.importing.columns import Format
from services.backlog.domain.importing.drafts import Draft, Reference
from services.backlog.domain.importing.errors import (
    ImportEncodingInvalid,
    ImportRowsRefused,
    ImportStreamInvalid,
    ImportTooLarge,
    unknown_encoding,
)
from services.backlog.domain.importing.source import BATCH, MAX_ROWS, Source, Tally
from services.backlog.handlers.importing import Batch, Outcome
from services.backlog.handlers.room import Room
from services.kit.database import CONFLICTS, WriteHandle
from services.kit.errors import NotImplementedYet
from services.kit.gate import Context

MAX_BYTES = 1 << 30
# Bytes kept in memory; a larger file goes to disk.
_IN_MEMORY = 8 << 20
_ATTEMPTS = 4
_DEFAULT_ENCODING = "utf-8"
_SYSTEMS = {Format.JIRA_CSV: "jira", Format.MAPPED_CSV: "csv"}
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
        name = import_pb2.ImportFormat.Name(options.format).removeprefix("IMPORT_FORMAT_")
        if name not in Format.__members__:
            raise NotImplementedYet(f"ImportTasks with {name}")
        await self._check_project(options.project_id)
        with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as file:
            source = _source(file, Format(name), options)
            if await _receive(request_iterator, file, options.encoding or _DEFAULT_ENCODING) > MAX_ROWS:
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
                outcome.add(await self._in_own_transaction(options.project_id, drafts))
            for references in _chunks(outcome.open):
                await self._in_own_transaction(options.project_id, references=references)
        return tally, outcome

    async def _import_whole(
        self, options: import_pb2.ImportOptions, batches: Iterator[list[Draft]], outcome: Outcome
    ) -> None:
        """In one transaction; of a dry run nothing stays."""
        try:
            async with self._db.write() as tx:
                for drafts in batches:
                    outcome.add(await Batch(tx, options.project_id, self._clock()).take(drafts))
                    await _put_aside(tx)
                for references in _chunks(outcome.open):
                    await Batch(tx, options.project_id, self._clock()).settle(references)
                    await _put_aside(tx)
                if options.dry_run:
                    raise _Undo
        except _Undo:
            return

    async def _in_own_transaction(
        self, project_id: str, drafts: list[Draft] | None = None, references: list[Reference] | None = None
    ) -> Outcome:
        """Take drafts, or settle references; once more if somebody else was at the same rows."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                async with self._db.write() as tx:
                    batch = Batch(tx, project_id, self._clock())
                    if references:
                        await batch.settle(references)
                        return Outcome()
                    return await batch.take(drafts or [])
            except (*CONFLICTS, errors.UniqueViolation):
                if attempt == _ATTEMPTS:
                    raise
        raise AssertionError("unreachable")


async def _first(requests: AsyncIterator[pb.ImportTasksRequest]) -> import_pb2.ImportOptions:
    request = await anext(aiter(requests), None)
    if request is None or not request.HasField("options"):
        raise ImportStreamInvalid
    return request.options


async def _receive(requests: AsyncIterator[pb.ImportTasksRequest], file: IO[bytes], encoding: str) -> int:
    """Keep the bytes, which must be text; the number of line ends at most."""
    decoder = codecs.getincrementaldecoder(encoding)()
    size = lines = 0
    async for request in requests:
        if request.HasField("options"):
            raise ImportStreamInvalid
        _check_text(decoder, request.data, size, encoding)
        size += len(request.data)
        lines += request.data.count(b"\n") + request.data.count(b"\r")
        if size > MAX_BYTES:
            raise ImportTooLarge(MAX_BYTES, "bytes")
        file.write(request.data)
    _check_text(decoder, b"", size, encoding, final=True)
    return lines


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


def _source(file: IO[bytes], form: Format, options: import_pb2.ImportOptions) -> Source:
    encoding = options.encoding or _DEFAULT_ENCODING
    try:
        codec = codecs.lookup(encoding)
        "".encode(encoding)
    except (LookupError, ValueError):
        # No codec, one that is not for text, or a name that cannot be one.
        raise unknown_encoding(encoding) from None
    return Source(
        file,
        # Takes a byte order mark, and does without one.
        "utf-8-sig" if codec.name == "utf-8" else codec.name,
        form,
        dict(options.column_mapping),
        {name: STATE_OF[state] for name, state in options.status_map.items()},
        options.origin_system or _SYSTEMS[form],
    )


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
    )
