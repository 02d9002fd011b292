"""How the chronicle's statements are put together: many rows in one insert, and filters that are given."""

from collections.abc import Iterable, Mapping
from typing import Any


def insert(table: str, columns: str) -> str:
    """An INSERT of all of %(rows)s, a JSON array of objects, into a table."""
    return f"INSERT INTO {table} ({columns}) SELECT {columns} FROM jsonb_populate_recordset(NULL::{table}, %(rows)s)"


def where(conditions: Mapping[str, str], params: Mapping[str, Any], always: Iterable[str] = ()) -> str:
    """WHERE … of the conditions whose parameter is given, so that each query can use the index that fits it."""
    given = [*always, *(condition for name, condition in conditions.items() if params.get(name) not in (None, ""))]
    return f"WHERE {' AND '.join(given)}" if given else ""
