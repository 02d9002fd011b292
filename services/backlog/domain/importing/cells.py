"""Rows of a CSV as drafts."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from services.backlog.domain.importing.circles import Edge
from services.backlog.domain.importing.columns import Columns, Format
from services.backlog.domain.importing.drafts import EPIC, Draft, Reference
from services.backlog.domain.importing.errors import RowRefused
from services.backlog.domain.importing.values import (
    CUSTOM,
    DESCRIPTION,
    KEY,
    STATUS,
    TITLE,
    TYPE,
    day_of,
    hours_of,
    points_of,
    priority_of,
    state_of,
    tags_of,
    text_of,
    time_of,
)
from services.backlog.domain.task import DEFAULT_TYPE, Origin, Priority, TaskState, check_assignee_id
from services.kit.errors import InvalidArgument


class RowReader:
    """Makes drafts of the rows of one file; `keys` gives the key to Jira's number of an issue."""

    def __init__(
        self,
        columns: Columns,
        form: Format,
        status_map: Mapping[str, TaskState],
        system: str,
        keys: Mapping[str, str],
    ) -> None:
        self._columns = columns
        self._jira = form is Format.JIRA_CSV
        self._status_map = {name.strip().casefold(): state for name, state in status_map.items()}
        self._system = system
        self._keys = keys
        self._has_state = bool({"status", "resolution"} & columns.fields.keys())
        # Files have few pairs of status and resolution and many rows.
        self._states: dict[tuple[str, str], TaskState] = {}
        self._used = sorted(
            {place for places in columns.fields.values() for place in places} | {*columns.custom.values()}
        )
        self._meaning = repr((sorted(columns.fields.items()), sorted(columns.custom.items()), system)).encode()
        # Fields with a column, and how to read each.
        readers: dict[str, Callable[[Sequence[str]], Any]] = {
            "title": self._title,
            "description": lambda cells: text_of(self._cell(cells, "description"), "description", DESCRIPTION),
            "type": lambda cells: text_of(self._cell(cells, "type"), "type", TYPE) or DEFAULT_TYPE,
            "points": lambda cells: points_of(self._cell(cells, "points"), "points"),
            "estimate_hours": lambda cells: hours_of(self._cell(cells, "estimate_hours"), "estimate_hours"),
            "tags": lambda cells: tags_of(self._cells(cells, "tags"), r",;\s" if self._jira else ",;", "tags"),
            "due_date": lambda cells: day_of(self._cell(cells, "due_date"), "due_date"),
        }
        names = {"estimate_hours": "estimate"}
        self._single = {field: places[0] for field, places in columns.fields.items() if len(places) == 1}
        self._readers = [(names.get(name, name), read) for name, read in readers.items() if name in columns.fields]

    def make(self, line: int, cells: Sequence[str]) -> Draft:
        """The draft of a row; RowRefused if it breaks a rule."""
        width = self._columns.width
        if len(cells) < width:
            cells = [*cells, *[""] * (width - len(cells))]
        key = text_of(self._cell(cells, "key"), "key", KEY)
        if len(cells) > width:
            raise RowRefused("", f"must not have more than the header's {width} cells", len(cells), key)
        if "key" in self._columns.fields and not key:
            raise RowRefused("key", "must be set")
        try:
            return self._make(line, key, cells)
        except RowRefused as refused:
            refused.key = key
            raise

    def _make(self, line: int, key: str, cells: Sequence[str]) -> Draft:
        values = {name: read(cells) for name, read in self._readers}
        if "priority" in self._columns.fields or self._columns.custom:
            values |= self._priority_and_custom(cells)
        origin = self._origin(key, cells)
        state = self._state(origin) if self._has_state else None
        parent_key = self._parent_key(cells)
        epic_key = self._reference(cells, "epic_key")
        digest = self._digest(cells, state)
        story_keys = None if epic_key is None else tuple(filter(None, [epic_key]))
        return Draft(
            line=line,
            key=key,
            origin=origin,
            values=values,
            state=state,
            assignee_id=self._assignee(cells),
            reference=Reference(key, line, digest, parent_key, story_keys),
            digest=digest,
            is_epic=str(values.get("type", "")).casefold() == EPIC,
        )

    def edge(self, cells: Sequence[str]) -> Edge:
        """The key of a row and its parent's, as they are before anything is checked."""
        width = self._columns.width
        cells = [*cells, *[""] * (width - len(cells))]
        parent = self._cell(cells, "parent_key")
        return Edge(self._cell(cells, "key"), self._keys.get(parent, parent))

    def _parent_key(self, cells: Sequence[str]) -> str | None:
        """The parent's key, also where Jira names it by a number of its own."""
        written = self._reference(cells, "parent_key")
        return self._keys.get(written, written) if written else written

    def _title(self, cells: Sequence[str]) -> str:
        title = text_of(self._cell(cells, "title"), "title", TITLE)
        if not title:
            raise RowRefused("title", "must be set")
        return title

    def _priority_and_custom(self, cells: Sequence[str]) -> dict[str, Any]:
        """A priority of a name not known here is kept as a custom field rather than lost."""
        custom = {name: text_of(cells[place], name, CUSTOM) for name, place in self._columns.custom.items()}
        if "priority" not in self._columns.fields:
            return {"custom_fields": custom}
        written = text_of(self._cell(cells, "priority"), "priority", STATUS)
        priority = priority_of(written)
        if priority is None:
            custom["priority"] = written
        return {"priority": priority or Priority.NONE} | ({"custom_fields": custom} if custom else {})

    def _origin(self, key: str, cells: Sequence[str]) -> Origin:
        return Origin(
            system=self._system,
            key=key,
            status=text_of(self._cell(cells, "status"), "status", STATUS),
            resolution=text_of(self._cell(cells, "resolution"), "resolution", STATUS),
            create_time=time_of(self._cell(cells, "create_time"), "create_time"),
            resolve_time=time_of(self._cell(cells, "resolve_time"), "resolve_time"),
        )

    def _state(self, origin: Origin) -> TaskState:
        written = (origin.status, origin.resolution)
        if written not in self._states:
            self._states[written] = state_of(*written, self._status_map)
        return self._states[written]

    def _assignee(self, cells: Sequence[str]) -> str | None:
        """The employee's id. What Jira writes by itself may be a person's name, which is not kept."""
        written = self._reference(cells, "assignee_id")
        try:
            check_assignee_id(written or "")
        except InvalidArgument:
            if "assignee_id" in self._columns.given:
                raise RowRefused("assignee_id", "must be an employee's id, as E001", written or "") from None
            return None
        return written

    def _reference(self, cells: Sequence[str], field: str) -> str | None:
        return text_of(self._cell(cells, field), field, KEY) if field in self._columns.fields else None

    def _digest(self, cells: Sequence[str], state: TaskState | None) -> str:
        digest = hashlib.blake2b(self._meaning, digest_size=16)
        digest.update(f"{state}\0".encode())
        digest.update("\0".join([cells[place] for place in self._used]).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _cell(self, cells: Sequence[str], field: str) -> str:
        """The field's first cell that is not empty, of several columns of one name."""
        place = self._single.get(field)
        if place is not None:
            return cells[place].strip()
        for place in self._columns.fields.get(field, ()):
            if text := cells[place].strip():
                return text
        return ""

    def _cells(self, cells: Sequence[str], field: str) -> list[str]:
        return [cells[place] for place in self._columns.fields[field]]
