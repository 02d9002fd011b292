"""A file to import: its rows as drafts in batches, and a tally of what was read and refused."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

from services.backlog.domain.importing.columns import Columns, Format, columns_of
from services.backlog.domain.importing.drafts import Draft, DraftMaker, Taken
from services.backlog.domain.importing.errors import ImportTooLarge, RowRefused
from services.backlog.domain.importing.rows import Row, read_rows
from services.backlog.domain.task import TaskState

BATCH = 500
MAX_ROWS = 1_000_000
# How many refused rows are told one by one.
MAX_REFUSALS = 1_000


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
    """Rows read, and those refused: all counted, the first of them kept."""

    rows: int = 0
    refused: int = 0
    refusals: list[Refusal] = field(default_factory=list)

    def refuse(self, line: int, why: RowRefused) -> None:
        """One more."""
        self.refused += 1
        if len(self.refusals) < MAX_REFUSALS:
            self.refusals.append(Refusal(line, why.key, why.field, why.rule, why.value))


@dataclass(frozen=True)
class Source:
    """Bytes known to be text in `encoding`, and what their columns and states mean."""

    file: IO[bytes]
    encoding: str
    form: Format
    column_mapping: Mapping[str, str]
    status_map: Mapping[str, TaskState]
    system: str

    def check_size(self) -> None:
        """ImportTooLarge if there are too many rows. Reads the whole file."""
        with self._rows() as rows:
            if sum(1 for _ in rows) - 1 > MAX_ROWS:
                raise ImportTooLarge(MAX_ROWS, "rows")

    def check_header(self) -> Columns:
        """What the columns mean; ImportHeaderInvalid if one is missing."""
        with self._rows() as rows:
            _, header = next(rows, (1, None))
            return columns_of(header, self.form, self.column_mapping)

    def batches(self, tally: Tally) -> Iterator[list[Draft]]:
        """The rows that can be taken, some hundreds at a time; the others are added to the tally."""
        columns = self.check_header()
        maker = DraftMaker(columns, self.form, self.status_map, self.system, self._keys(columns))
        taken, batch = Taken(), list[Draft]()
        with self._rows() as rows:
            next(rows, None)
            for line, cells in rows:
                tally.rows += 1
                try:
                    batch.append(taken.take(_draft(maker, line, cells)))
                except RowRefused as why:
                    tally.refuse(line, why)
                if len(batch) == BATCH:
                    yield batch
                    batch = []
        if batch:
            yield batch

    def _keys(self, columns: Columns) -> dict[str, str]:
        """The key to each of Jira's numbers of issues, if parents are named by those."""
        if columns.issue_id is None:
            return {}
        places = (columns.issue_id, columns.fields["key"][0])
        with self._rows() as rows:
            next(rows, None)
            full = (cells for _, cells in rows if cells and len(cells) > max(places))
            return {cells[places[0]].strip(): cells[places[1]].strip() for cells in full}

    @contextmanager
    def _rows(self) -> Iterator[Iterator[tuple[int, Row]]]:
        self.file.seek(0)
        text = io.TextIOWrapper(self.file, encoding=self.encoding, newline="")
        try:
            yield read_rows(text)
        finally:
            # Else the wrapper would close the file, which is read again.
            text.detach()


def _draft(maker: DraftMaker, line: int, cells: Row) -> Draft:
    if cells is None:
        raise RowRefused("", "must not have a cell of more than 131,072 characters, nor a quote that is never closed")
    return maker.make(line, cells)
