"""Which column of a file is which field."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from services.backlog.domain.importing.errors import ImportHeaderInvalid


class Format(StrEnum):
    """How a file is written."""

    JIRA_CSV = "JIRA_CSV"
    MAPPED_CSV = "MAPPED_CSV"
    GITHUB_JSON = "GITHUB_JSON"
    DSM_JSON = "DSM_JSON"

    @property
    def is_csv(self) -> bool:
        """True for rows of cells with a header."""
        return self in (Format.JIRA_CSV, Format.MAPPED_CSV)


FIELDS = (
    "key",
    "title",
    "description",
    "type",
    "points",
    "status",
    "resolution",
    "create_time",
    "resolve_time",
    "priority",
    "tags",
    "assignee_id",
    "due_date",
    "parent_key",
    "epic_key",
    "estimate_hours",
)
# Jira's names over the years and of its dialects, the likelier first.
_JIRA_COLUMNS = {
    "key": ("issue key", "key"),
    "title": ("summary", "title"),
    "description": ("description",),
    "type": ("issue type", "type"),
    "points": (
        "custom field (story points)",
        "custom field (story point estimate)",
        "story points",
        "story point estimate",
        "points",
    ),
    "status": ("status",),
    "resolution": ("resolution",),
    "create_time": ("created",),
    "resolve_time": ("resolved", "resolution date"),
    "priority": ("priority",),
    "tags": ("labels",),
    "assignee_id": ("assignee",),
    "due_date": ("due date", "due"),
    "parent_key": ("parent key", "parent id", "parent"),
    "epic_key": ("custom field (epic link)", "epic link"),
}
_NEEDED = {Format.JIRA_CSV: ("key", "title"), Format.MAPPED_CSV: ("title",)}
# Jira names a parent by a number of its own, which this column gives for each row.
_ISSUE_ID = "issue id"


@dataclass(frozen=True)
class Columns:
    """Places in a row: of each field of `FIELDS` that the file has, of custom fields by name, of Jira's issue id.

    `given` are fields that the caller mapped. `width` is the header's number of cells.
    """

    fields: Mapping[str, tuple[int, ...]]
    custom: Mapping[str, int]
    issue_id: int | None
    given: frozenset[str]
    width: int


def columns_of(header: Sequence[str] | None, form: Format, mapping: Mapping[str, str]) -> Columns:
    """What a header means; ImportHeaderInvalid naming the column that is missing.

    Names are compared without case; spaces and underscores are equal.
    """
    places: dict[str, list[int]] = {}
    for index, name in enumerate(header or ()):
        places.setdefault(_plain(name), []).append(index)
    fields: dict[str, tuple[int, ...]] = {}
    if form is Format.JIRA_CSV:
        for field, names in _JIRA_COLUMNS.items():
            if found := next((places[name] for name in names if name in places), None):
                fields[field] = tuple(found)
    custom = {}
    for field, column in mapping.items():
        if _plain(column) not in places:
            raise ImportHeaderInvalid(column, form)
        if field in FIELDS:
            fields[field] = tuple(places[_plain(column)])
        else:
            custom[field] = places[_plain(column)][0]
    for field in _NEEDED[form]:
        if field not in fields:
            raise ImportHeaderInvalid(_JIRA_COLUMNS[field][0] if form is Format.JIRA_CSV else field, form)
    issue_id = places[_ISSUE_ID][0] if _ISSUE_ID in places and "parent_key" in fields else None
    return Columns(fields, custom, issue_id, frozenset(mapping), len(header or ()))


def _plain(name: str) -> str:
    return re.sub(r"[\s_]+", " ", name).strip().casefold()
