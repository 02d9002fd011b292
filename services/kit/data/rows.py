"""Many rows as one parameter: a JSON array that jsonb_populate_recordset reads by a table's columns."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import partial
from typing import Any

from psycopg.types.json import Jsonb

_dumps = partial(json.dumps, default=str)


def json_rows(rows: Iterable[Mapping[str, Any]]) -> dict[str, Jsonb]:
    """The parameter %(rows)s; days, instants and numbers become text, which PostgreSQL reads by the column's type."""
    return {"rows": Jsonb(list(rows), _dumps)}


def plain(item: Any, *without: str, **extra: Any) -> dict[str, Any]:
    """A dataclass's own fields as a row, with some left out and some added."""
    return {field.name: getattr(item, field.name) for field in fields(item) if field.name not in without} | extra
