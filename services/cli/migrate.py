"""`dsm migrate`: brings the services' databases to where the code needs them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from services.cli.data import DataOption, data_folder
from services.cli.errors import CliError
from services.cli.names import SERVICES, STATEFUL, database_variable
from services.cli.output import JsonOption, out, print_json, table
from services.cli.servers import database_url
from services.local.folder import read_state


@dataclass(frozen=True)
class Level:
    """How far a database is: its revision (empty if it was never migrated) and the one that the code needs."""

    service: str
    revision: str
    head: str

    @property
    def current(self) -> bool:
        """Whether there is nothing to do."""
        return self.revision == self.head


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(migrate)


def migrate(
    service: Annotated[list[str] | None, typer.Option(help="Only this service; may be given several times.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Only tell; exit code 1 if something is to do.")] = False,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the databases to the revision that this version needs.

    A database is at DSM_<SERVICE>_DATABASE_URL, else (with one --service) at DSM_DATABASE_URL, else where the DSM
    that runs in the data folder has it.
    """
    urls = find_urls(service or [], os.environ, data_folder(data))
    levels = [level(name, url) for name, url in urls.items()]
    if not check:
        upgrade_all(urls, levels)
        levels = [level(name, url) for name, url in urls.items()]
    if as_json:
        print_json([{"service": it.service, "revision": it.revision, "head": it.head} for it in levels])
    else:
        rows = [(it.service, it.revision or "none", it.head, "ok" if it.current else "behind") for it in levels]
        out.print(table("", ["Service", "At", "Needs", ""], rows))
    if not all(it.current for it in levels):
        raise typer.Exit(1)


def find_urls(wanted: Iterable[str], environ: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The database of each service that is wanted, or of all that have one. CliError if one is not known."""
    names = tuple(wanted) or STATEFUL
    state = read_state(folder)
    base = state.urls.get("postgres", "") if state else ""
    urls = {}
    for name in names:
        if name not in STATEFUL:
            why = "has no database" if name in SERVICES else "does not exist"
            raise CliError(f"The service {name!r} {why}: name one of {', '.join(STATEFUL)}.")
        variable = database_variable(name)
        plain = environ.get("DSM_DATABASE_URL") if len(names) == 1 else None
        url = environ.get(variable) or plain or (base and database_url(base, name))
        if not url:
            raise CliError(f"{variable} is not set, and no DSM runs in {folder}: set it, or start `dsm up`.")
        urls[name] = url
    return urls


def level(service: str, url: str) -> Level:
    """Ask a database for its revision. Raises CliError if it cannot be reached."""
    from services.kit.migrate import head_revision

    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise CliError(
            f"The database of {service} cannot be used ({reason}): check that it runs and its URL."
        ) from error
    return Level(service, row[0] if row else "", head_revision(service))


def upgrade_all(urls: Mapping[str, str], levels: Iterable[Level]) -> None:
    """Bring up those databases that are behind; without one, Alembic is not even loaded."""
    from services.kit.migrate import upgrade

    for behind in levels:
        if not behind.current:
            upgrade(behind.service, urls[behind.service])
