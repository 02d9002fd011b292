"""Issues as GitHub's REST API gives them, as drafts."""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from services.backlog.domain.importing.drafts import EPIC, Draft, Reference
from services.backlog.domain.importing.errors import RowRefused, RowSkipped
from services.backlog.domain.importing.values import (
    DESCRIPTION,
    KEY,
    STATUS,
    TITLE,
    TYPE,
    URL,
    state_of,
    tags_of,
    text_of,
    time_of,
)
from services.backlog.domain.task import Origin, TaskState, check_assignee_id
from services.kit.errors import InvalidArgument

# Where an issue or milestone is: owner and repository.
_REPOSITORY = re.compile(r"/(?:repos/)?([^/\s]+/[^/\s]+)/(?:issues|milestones?)/\d+$")

Thing = Mapping[str, Any]


class IssueReader:
    """Makes drafts of one file's issues, and of each milestone that they have, once."""

    def __init__(self, status_map: Mapping[str, TaskState], system: str) -> None:
        self._status_map = {name.strip().casefold(): state for name, state in status_map.items()}
        self._system = system
        self._milestones: set[str] = set()

    def read(self, line: int, entry: object) -> list[Draft]:
        """The issue's draft, after that of a milestone not met before. RowRefused, or RowSkipped for a pull request."""
        issue = _thing(entry, "")
        if "pull_request" in issue:
            raise RowSkipped
        key = _key_of(issue, "number")
        try:
            milestone = self._milestone(line, issue)
            draft = self._issue(line, key, issue, milestone)
        except RowRefused as refused:
            refused.key = key
            raise
        if milestone is None or milestone.key in self._milestones:
            return [draft]
        self._milestones.add(milestone.key)
        return [milestone, draft]

    def _issue(self, line: int, key: str, issue: Thing, milestone: Draft | None) -> Draft:
        origin = self._origin(issue, key, "state_reason")
        state = state_of(origin.status, origin.resolution.replace("_", " "), self._status_map)
        values: dict[str, Any] = {
            "title": _title(issue),
            "description": _text(issue, "body", DESCRIPTION),
            "tags": tags_of([_label(label) for label in _list(issue, "labels")], ",", "labels"),
        }
        kind = _text(_thing(issue.get("type") or {}, "type"), "name", TYPE)
        if kind:
            values["type"] = kind
        assignee_id, story_key = _assignee(issue), milestone.key if milestone else ""
        digest = self._digest(origin, values, state, assignee_id, story_key)
        stories = (story_key,) if story_key else ()
        reference = Reference(key, line, digest, story_keys=stories)
        is_epic = kind.casefold() == EPIC
        return Draft(line, key, origin, values, state, assignee_id, reference, digest, is_epic)

    def _milestone(self, line: int, issue: Thing) -> Draft | None:
        """The milestone as a draft of a story."""
        if issue.get("milestone") is None:
            return None
        milestone = _thing(issue["milestone"], "milestone")
        key = _key_of(milestone, "milestone.number", " milestone ")
        origin = self._origin(milestone, key)
        values = {"title": _title(milestone), "description": _text(milestone, "description", DESCRIPTION)}
        return Draft(line, key, origin, values, None, None, Reference(key, line), "", is_epic=True)

    def _origin(self, thing: Thing, key: str, resolution: str = "") -> Origin:
        return Origin(
            system=self._system,
            key=key,
            url=_text(thing, "html_url", URL),
            status=_text(thing, "state", STATUS),
            resolution=_text(thing, resolution, STATUS),
            create_time=_time(thing, "created_at"),
            resolve_time=_time(thing, "closed_at"),
        )

    def _digest(self, origin: Origin, values: Thing, *more: object) -> str:
        meaning = json.dumps([origin.__class__.__name__, repr(origin), dict(values), more], sort_keys=True, default=str)
        return hashlib.blake2b(meaning.encode(), digest_size=16).hexdigest()


def _key_of(thing: Thing, field: str, mark: str = "#") -> str:
    """ "owner/repository#12", since one project may take in several repositories."""
    number = thing.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or number < 1:
        raise RowRefused(field, "must be a number above 0", "" if number is None else str(number)[:200])
    for name in ("html_url", "url"):
        if found := _REPOSITORY.search(_text(thing, name, URL)):
            return text_of(f"{found[1]}{mark}{number}", field, KEY)
    return f"{mark.strip()}{'' if mark == '#' else ' '}{number}"


def _thing(value: object, field: str) -> Thing:
    if not isinstance(value, dict):
        raise RowRefused(field, "must be a JSON object", _shown(value))
    return value


def _list(thing: Thing, field: str) -> list[object]:
    value = thing.get(field) or []
    if not isinstance(value, list):
        raise RowRefused(field, "must be a JSON array", _shown(value))
    return value


def _text(thing: Thing, field: str, limit: int) -> str:
    """A text; empty if it is not there or null."""
    value = thing.get(field)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise RowRefused(field, "must be a text", _shown(value))
    return text_of(value.strip(), field, limit)


def _title(thing: Thing) -> str:
    title = _text(thing, "title", TITLE)
    if not title:
        raise RowRefused("title", "must be set")
    return title


def _time(thing: Thing, field: str) -> datetime | None:
    return time_of(_text(thing, field, STATUS), field)


def _label(label: object) -> str:
    """A label is an object with a name, or its name. A comma in it would make it two."""
    name = label if isinstance(label, str) else _text(_thing(label, "labels"), "name", STATUS)
    return name.replace(",", " ")


def _assignee(issue: Thing) -> str | None:
    """An employee's id; other logins are people's names elsewhere and are not kept."""
    login = _text(_thing(issue.get("assignee") or {}, "assignee"), "login", KEY)
    try:
        check_assignee_id(login)
    except InvalidArgument:
        return None
    return login


def _shown(value: object) -> str:
    return text_of(json.dumps(value)[:200], "", 200)
