"""`dsm migrate`: brings the services' databases to where the code needs them."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import psycopg
import typer

from services.cli.data import DataOption, data_folder
from services.cli.errors import CliError
from services.cli.names import SERVICES, STATEFUL, database_variable
from services.cli.output import JsonOption, out, print_json, table
from services.cli.servers import database_url
from services.local.folder import read_state

if TYPE_CHECKING:
    from services.kit.data.migrate import Schema


@dataclass(frozen=True)
class Level:
    """How far a database is, the revisions that the code knows, and the one of them that is wanted."""

    service: str
    schema: "Schema"
    known: tuple[str, ...]
    head: str

    @property
    def behind(self) -> int:
        """How many migrations are to be applied."""
        return sum(self.schema.revision < it <= self.head for it in self.known)

    @property
    def misfit(self) -> str:
        """Why this code cannot work on the database, although nothing is to be applied; empty if it can."""
        return "" if self.behind else self.schema.misfit(self.head)

    @property
    def word(self) -> str:
        """In a word: how it stands."""
        if self.behind:
            return "behind"
        if self.misfit:
            return "too new"
        return "newer" if self.schema.revision > self.head else "ok"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(migrate)


def migrate(
    service: Annotated[list[str] | None, typer.Option(help="Only this service; may be given several times.")] = None,
    to: Annotated[
        str, typer.Option(help="Go no further than this revision, of the one --service; databases never go back.")
    ] = "",
    check: Annotated[
        bool, typer.Option("--check", help="Only tell; exit code 1 unless this version can work on all of them.")
    ] = False,
    lock_timeout: Annotated[float, typer.Option(min=0.1, help="Seconds to wait for a table that others use.")] = 5,
    statement_timeout: Annotated[
        float, typer.Option(min=0, help="Seconds that a statement may take; 0 = any time.")
    ] = 300,
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bring the databases to the revision that this version needs. Several may do so at once, and it may be repeated.

    A database is at DSM_<SERVICE>_DATABASE_URL, else (with one --service) at DSM_DATABASE_URL, else where the DSM
    that runs in the data folder has it.
    """
    from services.kit.data.migrate import refuse_backward

    if to and len(service or []) != 1:
        raise CliError("--to names a revision of one database: say which one with --service.")
    urls = find_urls(service or [], os.environ, data_folder(data))
    levels = [level(name, url, to) for name, url in urls.items()]
    if not check:
        for it in levels:
            refuse_backward(it.service, it.schema.revision, it.known, it.head)
        upgrade_all(urls, levels, lock_seconds=lock_timeout, statement_seconds=statement_timeout)
        levels = [level(name, url, to) for name, url in urls.items()]
    _show(levels, as_json)
    if any(it.behind or it.misfit for it in levels):
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


def level(service: str, url: str, to: str = "") -> Level:
    """Ask a database for its revision. CliError if it cannot be reached, or nobody knows the revision `to`."""
    from services.kit.data.migrate import SCHEMA, Schema, revisions

    known = tuple(revisions(service))
    if to and to not in known:
        raise CliError(f"There is no revision {to} of {service}: name one of {', '.join(known)}.")
    try:
        with psycopg.connect(url, autocommit=True, connect_timeout=10) as connection:
            row = connection.execute(SCHEMA).fetchone()
    except psycopg.errors.UndefinedTable:
        row = None
    except psycopg.Error as error:
        reason = " ".join(str(error).split())
        raise CliError(
            f"The database of {service} cannot be used ({reason}): check that it runs and its URL."
        ) from error
    return Level(service, Schema(*row) if row else Schema(), known, to or known[-1])


def upgrade_all(urls: Mapping[str, str], levels: Iterable[Level], **patience: float) -> None:
    """Bring up those databases that are behind; without one, Alembic is not even loaded.

    Raises MigrationError, also if this code cannot work on one of them. One that is newer and fits is left alone.
    """
    from services.kit.data.migrate import MigrationError, upgrade

    for it in levels:
        if it.misfit:
            raise MigrationError(f"{it.service}: {it.misfit}")
        if it.behind:
            upgrade(it.service, urls[it.service], it.head, **patience)


def _show(levels: list[Level], as_json: bool) -> None:
    rows = [(it.service, it.schema.revision, it.head, it.behind, it.word) for it in levels]
    if as_json:
        print_json([dict(zip(("service", "revision", "head", "behind", "state"), row, strict=True)) for row in rows])
    else:
        cells = [(name, at or "none", *rest) for name, at, *rest in rows]
        out.print(table("", ["Service", "At", "Head", "Behind", ""], cells, right=["Behind"]))
