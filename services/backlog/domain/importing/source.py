"""A file to import: its rows as drafts in batches, and a tally of what was read and refused."""

import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO, Any, TextIO

from services.backlog.domain.importing.cells import RowReader
from services.backlog.domain.importing.circles import Circles, Edge, circles_of
from services.backlog.domain.importing.columns import Columns, Format, columns_of
from services.backlog.domain.importing.drafts import Draft, Taken
from services.backlog.domain.importing.entries import NoJson, begins_array, read_entries
from services.backlog.domain.importing.errors import ImportNoArray, ImportTooLarge, RowRefused, RowSkipped
from services.backlog.domain.importing.rows import Row, read_rows
from services.backlog.domain.importing.values import storable
from services.backlog.domain.task import TaskState

BATCH = 500
MAX_ROWS = 1_000_000
# How many refused rows are told one by one.
MAX_REFUSALS = 1_000

_IN_CIRCLE = "must not lead back to the row itself"

# A row as it stands in the file: its line, and what reads it, which may raise RowRefused or RowSkipped.
Readable = tuple[int, Callable[[], list[Draft]]]


@dataclass(frozen=True, slots=True)
class Refusal:
    """A row that cannot be taken, and why."""

    line: int
    key: str
    field: str
    rule: str
    value: str


@dataclass
class Tally:
    """Rows read, those passed over, and those refused: all counted, the first of them kept."""

    rows: int = 0
    skipped: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, line: int, why: RowRefused) -> None:
        """One more."""
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            texts = (storable(text)[:200] for text in (why.key, why.field, why.rule, why.value))
            self.refusals.append(Refusal(line, *texts))


@dataclass(frozen=True)
class Source(ABC):
    """Bytes known to be text in `encoding`. Batches may be read again and again."""

    file: IO[bytes]
    encoding: str

    @abstractmethod
    def check_header(self) -> Any:
        """ImportHeaderInvalid or ImportNoArray if the file does not begin as it must."""

    @abstractmethod
    def count(self) -> int:
        """How many rows there are. Reads the whole file."""

    @abstractmethod
    def rows(self) -> Iterator[Readable]:
        """The rows, header apart."""

    @abstractmethod
    def edges(self) -> Iterator[Edge]:
        """What the rows refer to, as far as they can be read."""

    def check_size(self) -> None:
        """ImportTooLarge if there are too many rows. Reads the whole file."""
        if self.count() > MAX_ROWS:
            raise ImportTooLarge(MAX_ROWS, "rows")

    def batches(self, tally: Tally) -> Iterator[list[Draft]]:
        """The rows that can be taken, some hundreds at a time; the others are added to the tally."""
        taken, circles, batch = Taken(), circles_of(self.edges()), list[Draft]()
        for line, read in self.rows():
            tally.rows += 1
            try:
                for draft in read():
                    batch.append(taken.take(_outside(circles, draft)))
            except RowSkipped:
                tally.skipped += 1
            except RowRefused as why:
                tally.refuse(line, why)
            if len(batch) >= BATCH:
                yield batch
                batch = []
        if batch:
            yield batch

    @contextmanager
    def text(self) -> Iterator[TextIO]:
        """The file from its beginning."""
        self.file.seek(0)
        text = io.TextIOWrapper(self.file, encoding=self.encoding, newline="")
        try:
            yield text
        finally:
            # Else the wrapper would close the file, which is read again.
            text.detach()


@dataclass(frozen=True)
class CsvSource(Source):
    """A CSV with a header; what its columns and states mean."""

    form: Format
    column_mapping: Mapping[str, str]
    status_map: Mapping[str, TaskState]
    system: str

    def check_header(self) -> Columns:
        """What the columns mean."""
        with self.text() as text:
            _, header = next(read_rows(text), (1, None))
            return columns_of(header, self.form, self.column_mapping)

    def count(self) -> int:
        """Rows, the header apart."""
        return sum(1 for _ in self._cells())

    def rows(self) -> Iterator[Readable]:
        """Each row, to be made a draft."""
        reader = self._reader()
        for line, cells in self._cells():
            yield line, lambda line=line, cells=cells: [_from_cells(reader, line, cells)]  # type: ignore[misc]

    def edges(self) -> Iterator[Edge]:
        """Key and parent of each row, if there is such a column."""
        if "parent_key" in self.check_header().fields:
            reader = self._reader()
            yield from (reader.edge(cells) for _, cells in self._cells() if cells)

    def _reader(self) -> RowReader:
        columns = self.check_header()
        return RowReader(columns, self.form, self.status_map, self.system, self._keys(columns))

    def _keys(self, columns: Columns) -> dict[str, str]:
        """The key to each of Jira's numbers of issues, if parents are named by those."""
        if columns.issue_id is None:
            return {}
        places = (columns.issue_id, columns.fields["key"][0])
        full = (cells for _, cells in self._cells() if cells and len(cells) > max(places))
        return {cells[places[0]].strip(): cells[places[1]].strip() for cells in full}

    def _cells(self) -> Iterator[tuple[int, Row]]:
        with self.text() as text:
            rows = read_rows(text)
            next(rows, None)
            yield from rows


def _from_cells(reader: RowReader, line: int, cells: Row) -> Draft:
    if cells is None:
        raise RowRefused("", "must not have a cell of more than 131,072 characters, nor a quote that is never closed")
    return reader.make(line, cells)


@dataclass(frozen=True)
class JsonSource(Source):
    """A JSON array. `reader` makes what reads its entries, anew for each time that the file is read.

    `is_header` tells the first entry if there must be one, which is no row; `edge` is None if entries refer to nothing.
    """

    form: Format
    reader: Callable[[], Callable[[int, object], list[Draft]]]
    is_header: Callable[[object], bool] | None = None
    edge: Callable[[object], Edge] | None = None

    def check_header(self) -> None:
        """ImportNoArray if there is no array, or not the first entry that there must be."""
        with self.text() as text:
            if not begins_array(text):
                raise ImportNoArray("a JSON array", self.form)
        if self.is_header:
            first = next(self._all(), (1, None))[1]
            if not self.is_header(first):
                raise ImportNoArray('{"export": {"version": 1}}', self.form)

    def count(self) -> int:
        """Entries, as far as the file is JSON."""
        return sum(1 for _ in self._entries())

    def rows(self) -> Iterator[Readable]:
        """Each entry, to be made drafts; where the file breaks off, one that is refused."""
        read = self.reader()
        for line, entry in self._entries():
            if isinstance(entry, NoJson):
                yield line, _refusing(entry)
            else:
                yield line, lambda line=line, entry=entry: read(line, entry)  # type: ignore[misc]

    def edges(self) -> Iterator[Edge]:
        """What each entry refers to."""
        if self.edge:
            yield from (self.edge(entry) for _, entry in self._entries() if not isinstance(entry, NoJson))

    def _entries(self) -> Iterator[tuple[int, object]]:
        entries = self._all()
        if self.is_header:
            next(entries, None)
        return entries

    def _all(self) -> Iterator[tuple[int, object]]:
        """Every entry; where the file breaks off, a NoJson."""
        with self.text() as text:
            try:
                yield from read_entries(text)
            except NoJson as broken:
                yield broken.line, broken


def _refusing(broken: NoJson) -> Callable[[], list[Draft]]:
    def read() -> list[Draft]:
        raise RowRefused("", "must be JSON: nothing was read from here on", broken.found)

    return read


def _outside(circles: Circles, draft: Draft) -> Draft:
    """The draft; RowRefused if it leads back to itself."""
    if draft.key in circles.parents:
        raise RowRefused("parent_key", _IN_CIRCLE, draft.reference.parent_key or "", draft.key)
    if draft.key in circles.dependencies:
        raise RowRefused("depends_on", _IN_CIRCLE, ", ".join(draft.reference.depends_on or ()), draft.key)
    return draft
