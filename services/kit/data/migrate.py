"""Migrations: one Alembic history per service, applied by `dsm migrate`, `dsm up` or the chart's hook.

Databases only go forward. Code works on a database that is newer than it, because a migration only adds what old code
does not mind; one that takes something away names the least revision of code that can do without it (`least_code`),
and older code then takes no calls. See docs/decisions/0025-migrations-in-operation.md.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from psycopg.errors import LockNotAvailable, QueryCanceled, UndefinedTable
from psycopg.rows import tuple_row

import migrations
from services.kit.data.database import ReadHandle

LOCK_SECONDS = 5.0
STATEMENT_SECONDS = 300.0
# The column is there once a migration has needed it.
SCHEMA = "SELECT version_num, coalesce(to_jsonb(alembic_version)->>'least_code', '') FROM alembic_version"
_REVISION = re.compile(r"^(\d{4})_\w+\.py$")


class MigrationError(Exception):
    """A database cannot be brought to where the code needs it; one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The revision that a database is at, empty if it was never migrated, and the least that code must know of."""

    revision: str = ""
    least_code: str = ""

    def behind(self, head: str) -> int:
        """How many migrations it has not had that code which knows those up to `head` needs; they are numbered."""
        return max(0, int(head) - int(self.revision or 0))

    def misfit(self, head: str) -> str:
        """Why code that knows the revisions up to `head` cannot work on it, one sentence; empty if it can."""
        if self.revision < head:
            return f"The database is at revision {self.revision or 'none'}, the code needs {head}: run `dsm migrate`."
        if self.least_code > head:
            return (
                f"The database is at revision {self.revision}, which needs code that knows {self.least_code}, and this "
                f"code knows {head}: run a newer version of DSM."
            )
        return ""


def history(service: str) -> Path:
    """Where the service's migrations are."""
    return Path(migrations.__file__).parent / service


def revisions(service: str) -> list[str]:
    """The revisions that this code knows, in order, for example "0001"; files are named after them."""
    return sorted(match[1] for path in history(service).iterdir() if (match := _REVISION.match(path.name)))


def head_revision(service: str) -> str:
    """The revision that this code needs."""
    return revisions(service)[-1]


async def current_schema(read: ReadHandle) -> Schema:
    """How far a database is."""
    try:
        found = await read.maybe(SCHEMA, row=tuple_row)
    except UndefinedTable:
        found = None
    return Schema(*found) if found else Schema()


def refuse_backward(service: str, at: str, known: Sequence[str], to: str) -> None:
    """Raise if a database at a revision cannot be brought to another by code that knows these."""
    if at and at not in known:
        raise MigrationError(
            f"The {service} database is at revision {at}, and this version of DSM knows {known[-1]}: migrate it with "
            "the version that made it, or a newer one."
        )
    if to < at:
        raise MigrationError(
            f"The {service} database is at revision {at} and only goes forward: restore a backup to go back to {to}."
        )


def upgrade(
    service: str,
    url: str,
    to: str = "",
    *,
    lock_seconds: float = LOCK_SECONDS,
    statement_seconds: float = STATEMENT_SECONDS,
) -> None:
    """Bring a database up to a revision, by default the newest; several that do so at once take turns. Blocks.

    A migration that waits longer than `lock_seconds` for a table, or has a statement that takes longer than
    `statement_seconds` (0 = any time), is undone. Raises MigrationError; then it can be run again.
    """
    # Imported here: a running service has no use for them.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError
    from sqlalchemy.exc import DBAPIError

    folder, known = history(service), revisions(service)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    config.set_main_option("version_locations", str(folder))
    config.set_main_option("path_separator", "newline")
    config.attributes.update(
        service=service,
        url=url,
        known=known,
        to=to or known[-1],
        lock_timeout=f"{lock_seconds * 1000:.0f}",
        statement_timeout=f"{statement_seconds * 1000:.0f}",
    )
    try:
        command.upgrade(config, to or known[-1])
    except CommandError as error:
        raise MigrationError(f"The {service} database cannot be migrated: {error}") from error
    except DBAPIError as error:
        raise MigrationError(_sentence(service, error.orig or error, lock_seconds, statement_seconds)) from error


def _sentence(service: str, error: BaseException, lock_seconds: float, statement_seconds: float) -> str:
    if isinstance(error, LockNotAvailable):
        return (
            f"A migration of the {service} database waited longer than {lock_seconds:g} s for a table that others use, "
            "and was undone: end long transactions there (pg_stat_activity shows them) and run it again."
        )
    if isinstance(error, QueryCanceled):
        return (
            f"A migration of the {service} database had a statement that took longer than {statement_seconds:g} s, and "
            "was undone: run it again with a longer --statement-timeout."
        )
    reason = " ".join(str(error).split())
    return f"The {service} database cannot be migrated ({reason}): mend that and run it again; nothing is half done."
