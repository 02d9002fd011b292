"""How the chronicle's statements are put together: many rows in one insert, and filters that are given."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

from psycopg.types.json import Jsonb

_dumps = partial(json.dumps, default=str)


def insert(table: str, columns: str) -> str:
    """An INSERT of all of %(rows)s, a JSON array of objects, into a table."""
    return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %(rows)s)"


def json_rows(rows: Sequence[Mapping[str, Any]]) -> dict[str, Jsonb]:
    """The parameters of an insert; days and instants become text, which PostgreSQL reads by the column's type."""
    return {"rows": Jsonb(list(rows), _dumps)}


def plain(item: Any, *without: str, **extra: Any) -> dict[str, Any]:
    """A dataclass's own fields as a row, with some left out and some added."""
    return {field.name: getattr(item, field.name) for field in fields(item) if field.name not in without} | extra


def where(conditions: Mapping[str, str], params: Mapping[str, Any], always: Iterable[str] = ()) -> str:
    """WHERE … of the conditions whose parameter is given, so that each query can use the index that fits it."""
    given = [*always, *(condition for name, condition in conditions.items() if params.get(name) not in (None, ""))]
    return f"WHERE {' AND '.join(given)}" if given else ""
