"""Exports: entries of a JSON array, each a Story or Task of the contract as protobuf JSON.

The first entry is {"export": {"version": 1, "project_id": …}}; then come {"story": …} and {"task": …}.
"""

import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any, TypeVar

import protovalidate
from dsm.backlog.v1 import task_pb2 as pb
from google.protobuf import json_format
from google.protobuf.message import Message

from services.backlog.convert.stories import from_story, to_story_content
from services.backlog.convert.tasks import STATE_OF, from_task, to_content
from services.backlog.domain.importing.circles import Edge
from services.backlog.domain.importing.drafts import Draft, Reference
from services.backlog.domain.importing.errors import RowRefused
from services.backlog.domain.importing.values import storable
from services.backlog.domain.story import Story, check_story
from services.backlog.domain.task import Content, Course, Task, TaskState, check_assignee_id, check_content
from services.kit.convert import to_time
from services.kit.errors import InvalidArgument

VERSION = 1
# Ranks beyond would leave new tasks no room in 64 bits.
_MOST_RANK = 1 << 61
_TASK_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-TASK[0-9]{3,}")
_STORY_ID = re.compile(r"[A-Z][A-Z0-9]*(-[A-Z0-9]+)*-STORY[0-9]{3,}")
_FINAL = (TaskState.COMPLETED, TaskState.CANCELLED)


# What an import makes nothing of.
_NOT_IMPORTED = ("project_id", "create_time", "update_time", "etag", "sprint_version")
_CONTENT = [field.name for field in fields(Content) if field.name not in ("parent_task_id", "depends_on", "origin")]

_validator = protovalidate.Validator()

M = TypeVar("M", bound=Message)


def header_line(project_id: str) -> str:
    """How an export begins."""
    return "[\n" + json.dumps({"export": {"version": VERSION, "project_id": project_id}})


def story_line(story: Story) -> str:
    """A story as the next entry."""
    message = from_story(story)
    message.ClearField("progress")
    return _line("story", message)


def task_line(task: Task) -> str:
    """A task as the next entry."""
    message = from_task(task)
    message.ClearField("sprint_version")
    return _line("task", message)


END = "\n]\n"


def _line(kind: str, message: Any) -> str:
    message.ClearField("etag")
    entry = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return ",\n" + json.dumps({kind: entry}, ensure_ascii=False)


def is_header(entry: object) -> bool:
    """True for the first entry of an export that this version can read."""
    head = entry.get("export") if isinstance(entry, dict) else None
    return isinstance(head, dict) and head.get("version") == VERSION


def edge_of(entry: object) -> Edge:
    """What an entry refers to, whether it can be taken or not."""
    task = entry.get("task") if isinstance(entry, dict) else None
    if not isinstance(task, dict):
        return Edge("")
    waits = task.get("depends_on")
    awaited = tuple(key for key in waits if isinstance(key, str)) if isinstance(waits, list) else ()
    return Edge(_text(task, "task_id"), _text(task, "parent_task_id"), awaited)


def read_entry(line: int, entry: object) -> list[Draft]:
    """An entry's draft; RowRefused if it breaks a rule."""
    if not isinstance(entry, dict) or len(entry) != 1 or not entry.keys() <= {"story", "task"}:
        raise RowRefused("", 'must be {"story": …} or {"task": …}', _shown(entry))
    [(kind, value)] = entry.items()
    key = _text(value, f"{kind}_id") if isinstance(value, dict) else ""
    try:
        if kind == "story":
            return [_story_draft(line, _parsed(value, pb.Story()))]
        return [_task_draft(line, _parsed(value, pb.Task()), _digest(value))]
    except InvalidArgument as error:
        field = error.metadata["field"].removeprefix(f"{kind}.")
        raise RowRefused(field, error.metadata["rule"], error.metadata["value"], key) from None
    except RowRefused as refused:
        refused.key = key
        raise


def _task_draft(line: int, task: pb.Task, digest: str) -> Draft:
    _check_id(_TASK_ID, "task_id", task.task_id)
    content = to_content(task, "task")
    check_content(content)
    check_assignee_id(task.assignee_id)
    course = _course(task)
    reference = Reference(
        task.task_id, line, digest, content.parent_task_id, tuple(task.story_ids), tuple(task.depends_on)
    )
    return Draft(
        line=line,
        key=task.task_id,
        origin=content.origin,
        values={name: getattr(content, name) for name in _CONTENT},
        state=course.state,
        assignee_id=task.assignee_id,
        reference=reference,
        digest=digest,
        course=course,
        rank=task.rank,
        is_whole=True,
    )


def _course(task: pb.Task) -> Course:
    """The course outside of sprints: work that a sprint had not finished is free again."""
    state = STATE_OF.get(task.state, TaskState.UNASSIGNED)
    inside = task.sprint_id or state in (TaskState.ASSIGNED_TO_SPRINT, TaskState.BLOCKED)
    if not 0 <= task.progress_percent <= 100:
        raise RowRefused("progress_percent", "must be 0 to 100", task.progress_percent)
    if abs(task.rank) > _MOST_RANK:
        raise RowRefused("rank", f"must be at most {_MOST_RANK} from 0", task.rank)
    complete_time = to_time(task.complete_time, "complete_time") if task.HasField("complete_time") else None
    course = Course(state, task.assignee_id, "", task.progress_percent, 0, complete_time)
    return replace(course, state=TaskState.UNASSIGNED, progress_percent=0) if inside and state not in _FINAL else course


def _story_draft(line: int, story: pb.Story) -> Draft:
    _check_id(_STORY_ID, "story_id", story.story_id)
    content = to_story_content(story)
    check_story(content)
    values = {"title": content.title, "description": content.description}
    reference = Reference(story.story_id, line)
    return Draft(line, story.story_id, content.origin, values, None, None, reference, "", is_epic=True, is_whole=True)


def _parsed(value: Any, message: M) -> M:
    """The message that the JSON is, by the contract's rules."""
    for text in _texts(value):
        if storable(text) != text:
            raise RowRefused("", "must not contain null characters and halves of characters", text)
    try:
        json_format.ParseDict(value, message)
    except (json_format.ParseError, ValueError, TypeError, AttributeError, RecursionError) as error:
        rule = f"must be a {message.DESCRIPTOR.name} of the contract as protobuf JSON"
        raise RowRefused("", rule, str(error)) from None
    for violation in _validator.collect_violations(message):
        path = violation.proto.field
        field = ".".join(element.field_name for element in path.elements) if path else ""
        raise RowRefused(field, violation.proto.message or violation.proto.rule_id, _shown(_value(message, field)))
    return message


def _texts(value: object) -> Iterator[str]:
    """Every text in a JSON value, those that name members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from _texts(member)
    elif isinstance(value, list):
        for member in value:
            yield from _texts(member)


def _value(message: Message, field: str) -> object:
    return str(getattr(message, field, ""))


def _check_id(pattern: re.Pattern[str], field: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise RowRefused(field, "must be an id as the export gives it", value)


def _digest(entry: dict[str, Any]) -> str:
    meant = {name: value for name, value in entry.items() if name not in _NOT_IMPORTED}
    return hashlib.blake2b(json.dumps(meant, sort_keys=True).encode(), digest_size=16).hexdigest()


def _text(thing: dict[str, Any], name: str) -> str:
    value = thing.get(name)
    return value if isinstance(value, str) else ""


def _shown(value: object) -> str:
    return storable(value if isinstance(value, str) else json.dumps(value, default=str))[:200]
