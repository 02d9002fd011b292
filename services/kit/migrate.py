"""Migrations: one Alembic history per service, applied by `dsm migrate`, `dsm up` or the chart's hook."""

import re
from pathlib import Path

from psycopg.errors import UndefinedTable

import migrations
from services.kit.database import ReadHandle

_FOLDER = Path(migrations.__file__).parent
_REVISION = re.compile(r"^(\d{4})_\w+\.py$")


class MigrationError(Exception):
    """A database cannot be brought to where the code needs it; one sentence that says what to do."""


def head_revision(service: str) -> str:
    """The revision that this code needs, for example "0002"; files are named after their revisions."""
    found = [match[1] for path in (_FOLDER / service).iterdir() if (match := _REVISION.match(path.name))]
    return max(found)


async def current_revision(read: ReadHandle) -> str:
    """The revision that a database is at; empty if it was never migrated."""
    try:
        return str(await read.value("SELECT version_num FROM alembic_version") or "")
    except UndefinedTable:
        return ""


def upgrade(service: str, url: str, to: str = "head") -> None:
    """Bring a database up; safe when several do it at once. Blocks."""
    # Imported here: a running service has no use for Alembic.
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_FOLDER))
    config.set_main_option("version_locations", str(_FOLDER / service))
    config.set_main_option("path_separator", "newline")
    config.attributes["url"] = url
    try:
        command.upgrade(config, to)
    except CommandError as error:
        raise MigrationError(f"The {service} database cannot be migrated: {error}") from error
