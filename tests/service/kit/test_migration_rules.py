"""What each migration does to code that does not know it, found by comparing the schema before and after it.

While a release is rolled out, the code of the release before works on the new schema. So nothing that it uses may be
taken away or become narrower, unless the migration says by `least_code` what code can do without it; and an index on a
table that was there must not lock it. What the first release's own migrations did is listed with its reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest

from services.kit.data.migrate import history, revisions, upgrade
from services.local.stack import Stack
from tests.harness import STATEFUL

_TABLES = """
    SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
      AND relname <> 'alembic_version'
"""
_COLUMNS = """
    SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull,
           a.atthasdef OR a.attidentity <> ''
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND a.attnum > 0 AND NOT a.attisdropped
"""
# NOT NULL is told by the columns, what is unique by the indexes.
_CONSTRAINTS = """
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
    WHERE connamespace = 'public'::regnamespace AND contype IN ('c', 'f', 'x')
"""
_INDEXES = """
    SELECT t.relname, c.relname, pg_get_indexdef(c.oid), i.indisunique
    FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_class t ON t.oid = i.indrelid
    WHERE c.relnamespace = 'public'::regnamespace
"""
_NARROWER, _LOCKING = "narrower", "locking"

# Before the first release there was no old code, and no table with anything in it.
_NEVER_RELEASED = "part of the first release"
LISTED: dict[tuple[str, str], str] = {
    ("backlog", "0002"): _NEVER_RELEASED,
    ("chronicle", "0002"): _NEVER_RELEASED,
    ("orchestrator", "0002"): _NEVER_RELEASED,
    ("orchestrator", "0004"): _NEVER_RELEASED,
    ("orchestrator", "0006"): _NEVER_RELEASED,
    ("orchestrator", "0007"): _NEVER_RELEASED,
    ("orchestrator", "0008"): _NEVER_RELEASED,
}


@dataclass(frozen=True)
class Shape:
    """What a database's schema promises to code."""

    tables: set[str]
    columns: dict[tuple[str, str], tuple[str, bool, bool]]
    constraints: dict[tuple[str, str], str]
    indexes: dict[tuple[str, str], tuple[str, bool]]


def shape(url: str) -> Shape:
    """The schema of a database as it is."""
    with psycopg.connect(url) as connection:
        return Shape(
            {name for (name,) in connection.execute(_TABLES)},
            {(table, name): tuple(rest) for table, name, *rest in connection.execute(_COLUMNS)},
            {(table, name): text for table, name, text in connection.execute(_CONSTRAINTS)},
            {(table, name): (text, unique) for table, name, text, unique in connection.execute(_INDEXES)},
        )


def findings(before: Shape, after: Shape, source: str) -> Iterator[tuple[str, str]]:
    """What a migration does that old code, or callers meanwhile, would mind: (kind, what)."""
    for table in before.tables - after.tables:
        yield _NARROWER, f"table {table} is gone"
    for (table, name), (kind, not_null, _) in before.columns.items():
        now = after.columns.get((table, name))
        if table in after.tables and now is None:
            yield _NARROWER, f"column {table}.{name} is gone"
        elif now and now[0] != kind:
            yield _NARROWER, f"column {table}.{name} is {now[0]}, was {kind}"
        elif now and now[1] and not not_null:
            yield _NARROWER, f"column {table}.{name} must be given"
    for (table, name), (_, not_null, has_default) in after.columns.items():
        if table in before.tables and (table, name) not in before.columns and not_null and not has_default:
            yield _NARROWER, f"new column {table}.{name} must be given"
    for (table, name), text in after.constraints.items():
        if table in before.tables and before.constraints.get((table, name)) != text:
            yield _NARROWER, f"constraint {name} of {table} is new"
    for (table, name), (text, unique) in after.indexes.items():
        if table in before.tables and before.indexes.get((table, name)) != (text, unique):
            if unique:
                yield _NARROWER, f"index {name} of {table} makes something unique"
            if not re.search(rf"INDEX\s+CONCURRENTLY\s+(IF\s+NOT\s+EXISTS\s+)?{name}\b", source, re.IGNORECASE):
                yield _LOCKING, f"index {name} of {table} locks it while it is made"


def _source(service: str, revision: str) -> str:
    [path] = history(service).glob(f"{revision}_*.py")
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("service", STATEFUL)
def test_old_code_works_on_what_each_migration_leaves(stack: Stack, service: str) -> None:
    name = f"rules_{service}"
    stack.postgres.ensure_database(name)
    url = stack.postgres.url(name)
    upgrade(service, url, "0001")
    before = shape(url)
    for revision in revisions(service)[1:]:
        upgrade(service, url, revision)
        after, source = shape(url), _source(service, revision)
        found = list(findings(before, after, source))
        if (service, revision) in LISTED:
            assert found, "it need not be listed"
        else:
            excused = re.search(r'^least_code = "\d{4}"$', source, re.MULTILINE)
            assert [what for kind, what in found if kind == _LOCKING or not excused] == [], f"{service} {revision}"
        before = after


_BEFORE = """
    CREATE TABLE thing (
        id bigint CONSTRAINT thing_pkey PRIMARY KEY, name text NOT NULL, size integer,
        CONSTRAINT thing_size_check CHECK (size < 10));
    CREATE TABLE other (id bigint);
"""


@pytest.mark.parametrize(
    ("sql", "kinds"),
    [
        ("ALTER TABLE thing ADD COLUMN note text, ADD COLUMN day date NOT NULL DEFAULT now()", []),
        ("ALTER TABLE thing ADD COLUMN twice integer NOT NULL GENERATED ALWAYS AS (2 * size) STORED", []),
        ("CREATE TABLE third (id bigint CONSTRAINT third_pkey PRIMARY KEY CHECK (id > 0), name text NOT NULL)", []),
        ("ALTER TABLE thing ALTER COLUMN name DROP NOT NULL; ALTER TABLE thing DROP CONSTRAINT thing_size_check", []),
        ("CREATE INDEX CONCURRENTLY thing_name_idx ON thing (name)", []),
        ("CREATE INDEX thing_name_idx ON thing (name)", [_LOCKING]),
        ("CREATE UNIQUE INDEX CONCURRENTLY thing_name_key ON thing (name)", [_NARROWER]),
        ("DROP TABLE other", [_NARROWER]),
        ("ALTER TABLE thing DROP COLUMN name", [_NARROWER]),
        ("ALTER TABLE thing RENAME COLUMN name TO title", [_NARROWER, _NARROWER]),
        ("ALTER TABLE thing ALTER COLUMN size TYPE smallint", [_NARROWER]),
        ("ALTER TABLE thing ALTER COLUMN size SET NOT NULL", [_NARROWER]),
        ("ALTER TABLE thing ADD COLUMN must text NOT NULL", [_NARROWER]),
        ("ALTER TABLE thing ADD CONSTRAINT thing_name_check CHECK (name <> '')", [_NARROWER]),
    ],
)
def test_the_comparison_finds(stack: Stack, sql: str, kinds: list[str]) -> None:
    stack.postgres.ensure_database("rules")
    url = stack.postgres.url("rules")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public;" + _BEFORE)
        before = shape(url)
        connection.execute(sql)
    assert [kind for kind, _ in findings(before, shape(url), sql)] == kinds
