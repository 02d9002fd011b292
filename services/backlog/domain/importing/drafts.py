"""What a row asks for, and what it makes of a task."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.backlog.domain.importing.columns import Columns, Format
from services.backlog.domain.importing.errors import RowRefused
from services.backlog.domain.importing.values import (
    day_of,
    hours_of,
    points_of,
    priority_of,
    state_of,
    tags_of,
    text_of,
    time_of,
)
from services.backlog.domain.story import StoryContent
from services.backlog.domain.task import DEFAULT_TYPE, Content, Course, Origin, Priority, TaskState, check_assignee_id
from services.kit.errors import InvalidArgument

_EPIC = "epic"
_TITLE, _DESCRIPTION, _TYPE, _KEY, _STATUS, _CUSTOM = 500, 50_000, 50, 200, 100, 2_000


@dataclass(frozen=True, slots=True)
class Reference:
    """A task's parent and epic by key; None = the file does not say, empty = none."""

    key: str
    parent_key: str | None
    epic_key: str | None

    @property
    def keys(self) -> list[str]:
        """What it refers to."""
        return [key for key in (self.parent_key, self.epic_key) if key]


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that can be taken.

    `values` are the content fields that the file has columns for, references apart. `state` and `assignee_id` are None
    if the file says nothing of them. `digest` is the same as long as the row means the same.
    """

    line: int
    key: str
    origin: Origin
    values: Mapping[str, Any]
    state: TaskState | None
    assignee_id: str | None
    reference: Reference
    digest: str

    @property
    def is_epic(self) -> bool:
        """True for what becomes a story."""
        return str(self.values.get("type", "")).casefold() == _EPIC


@dataclass(frozen=True, slots=True)
class Mark:
    """What an import leaves on a task: the row's digest (hex; empty = look at the row again) and the state it had."""

    digest: str
    state: str


class DraftMaker:
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
            "description": lambda cells: text_of(self._cell(cells, "description"), "description", _DESCRIPTION),
            "type": lambda cells: text_of(self._cell(cells, "type"), "type", _TYPE) or DEFAULT_TYPE,
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
        key = text_of(self._cell(cells, "key"), "key", _KEY)
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
        parent_key = self._reference(cells, "parent_key")
        if parent_key:
            parent_key = self._keys.get(parent_key, parent_key)
        if key and parent_key == key:
            raise RowRefused("parent_key", "must not be the row's own key", parent_key)
        return Draft(
            line=line,
            key=key,
            origin=origin,
            values=values,
            state=state,
            assignee_id=self._assignee(cells),
            reference=Reference(key, parent_key, self._reference(cells, "epic_key")),
            digest=self._digest(cells, state),
        )

    def _title(self, cells: Sequence[str]) -> str:
        title = text_of(self._cell(cells, "title"), "title", _TITLE)
        if not title:
            raise RowRefused("title", "must be set")
        return title

    def _priority_and_custom(self, cells: Sequence[str]) -> dict[str, Any]:
        """A priority of a name not known here is kept as a custom field rather than lost."""
        custom = {name: text_of(cells[place], name, _CUSTOM) for name, place in self._columns.custom.items()}
        if "priority" not in self._columns.fields:
            return {"custom_fields": custom}
        written = text_of(self._cell(cells, "priority"), "priority", _STATUS)
        priority = priority_of(written)
        if priority is None:
            custom["priority"] = written
        return {"priority": priority or Priority.NONE} | ({"custom_fields": custom} if custom else {})

    def _origin(self, key: str, cells: Sequence[str]) -> Origin:
        return Origin(
            system=self._system,
            key=key,
            status=text_of(self._cell(cells, "status"), "status", _STATUS),
            resolution=text_of(self._cell(cells, "resolution"), "resolution", _STATUS),
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
        return text_of(self._cell(cells, field), field, _KEY) if field in self._columns.fields else None

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


def imported_content(draft: Draft, before: Content | None, parent_task_id: str) -> Content:
    """The content with all that the row has; what the file has no column for stays."""
    values = {**draft.values, "parent_task_id": parent_task_id}
    if before is None:
        return Content(**values, origin=draft.origin)
    if "custom_fields" in values:
        values["custom_fields"] = {**before.custom_fields, **values["custom_fields"]}
    return replace(before, **values, origin=_with_url(draft.origin, before.origin))


def imported_course(draft: Draft, before: Course | None, last_state: str | None) -> Course:
    """The course with the row's state and assignee, unless an open sprint owns them.

    The state counts only if it is another than the last import took: what was done in DSM since stays done.
    """
    course = before or Course()
    if course.sprint_id:
        return course
    if draft.assignee_id is not None:
        course = replace(course, assignee_id=draft.assignee_id)
    if draft.state is None or (before is not None and draft.state == last_state):
        return course
    done = draft.state is TaskState.COMPLETED
    percent = 100 if done else course.progress_percent if draft.state is course.state else 0
    return replace(
        course,
        state=draft.state,
        progress_percent=percent,
        complete_time=draft.origin.resolve_time if done else None,
    )


def state_is_kept(draft: Draft, state: TaskState, sprint_id: str) -> bool:
    """True if the row has another state than the task, which an open sprint owns."""
    return bool(sprint_id) and draft.state is not None and draft.state is not state


def imported_story(draft: Draft, before: StoryContent | None) -> StoryContent:
    """The story that an epic becomes."""
    description = draft.values.get("description", before.description if before else "")
    return StoryContent(draft.values["title"], description, _with_url(draft.origin, before.origin if before else None))


def _with_url(origin: Origin, before: Origin | None) -> Origin:
    """A file has no addresses; one that is known stays."""
    return replace(origin, url=before.url) if before else origin


class Taken:
    """Keys met in a file so far; the second row of a key is refused."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}

    def take(self, draft: Draft) -> Draft:
        """The draft; RowRefused if its key was met before."""
        first = self._lines.setdefault(draft.key, draft.line) if draft.key else draft.line
        if first != draft.line:
            raise RowRefused("key", f"must be unique in the file, and line {first} has it", draft.key, draft.key)
        return draft
