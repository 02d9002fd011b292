"""What a row asks for, and what it makes of a task."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.backlog.domain.importing.errors import RowRefused
from services.backlog.domain.story import StoryContent
from services.backlog.domain.task import Content, Course, Origin, TaskState

EPIC = "epic"


@dataclass(frozen=True, slots=True)
class Reference:
    """What a task refers to by key; None = the file does not say, empty = nothing.

    `line` and `digest` are its row's: what is not there yet is looked for again when the whole file was taken.
    """

    key: str
    line: int = 0
    digest: str = ""
    parent_key: str | None = None
    story_keys: tuple[str, ...] | None = None
    depends_on: tuple[str, ...] | None = None

    @property
    def keys(self) -> list[str]:
        """Everything that it refers to."""
        return [key for key in (self.parent_key, *(self.story_keys or ()), *(self.depends_on or ())) if key]


@dataclass(frozen=True, slots=True)
class Draft:
    """A row that can be taken.

    `values` are the content fields that the file says something of, references apart. `state` and `assignee_id` are
    None if it says nothing of them. `digest` is the same as long as the row means the same. An epic becomes a story.
    `course` tells of progress and completion too. Of a whole one, what the row does not name is not there.
    """

    line: int
    key: str
    origin: Origin | None
    values: Mapping[str, Any]
    state: TaskState | None
    assignee_id: str | None
    reference: Reference
    digest: str
    is_epic: bool = False
    course: Course | None = None
    rank: int | None = None
    is_whole: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """What an import leaves on a task.

    The row's digest (hex; empty = look at the row again), the state it had and, of an export's row, its key.
    """

    digest: str
    state: str
    key: str = ""


def imported_content(draft: Draft, before: Content | None, parent_task_id: str, depends_on: tuple[str, ...]) -> Content:
    """The content with all that the row has; what the file has nothing of stays."""
    values = {**draft.values, "parent_task_id": parent_task_id, "depends_on": depends_on}
    if before is None or draft.is_whole:
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
    if draft.course is not None:
        percent, complete_time = draft.course.progress_percent, draft.course.complete_time
    else:
        done = draft.state is TaskState.COMPLETED
        percent = 100 if done else course.progress_percent if draft.state is course.state else 0
        complete_time = draft.origin.resolve_time if done and draft.origin else None
    return replace(course, state=draft.state, progress_percent=percent, complete_time=complete_time)


def state_is_kept(draft: Draft, state: TaskState, sprint_id: str) -> bool:
    """True if the row has another state than the task, which an open sprint owns."""
    return bool(sprint_id) and draft.state is not None and draft.state is not state


def imported_story(draft: Draft, before: StoryContent | None) -> StoryContent:
    """The story that an epic becomes."""
    description = draft.values.get("description", before.description if before else "")
    origin = _with_url(draft.origin, before.origin) if before and not draft.is_whole else draft.origin
    return StoryContent(draft.values["title"], description, origin)


def _with_url(origin: Origin | None, before: Origin | None) -> Origin | None:
    """Most files have no addresses; one that is known stays."""
    return replace(origin, url=before.url) if origin and before and not origin.url else origin


class Taken:
    """Keys met in a file so far; the second row of a key is refused. So is that of a key of an origin."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._origins: dict[str, int] = {}

    def take(self, draft: Draft) -> Draft:
        """The draft; RowRefused if its key was met before."""
        _meet(self._lines, draft.key, "key", draft)
        if draft.origin and draft.origin.key != draft.key:
            _meet(self._origins, draft.origin.key, "origin.key", draft)
        return draft


def _meet(lines: dict[str, int], key: str, field: str, draft: Draft) -> None:
    if key in lines:
        raise RowRefused(field, f"must be unique in the file, and line {lines[key]} has it", key, draft.key)
    if key:
        lines[key] = draft.line
