"""PostgreSQL and NATS for `dsm up`: embedded ones in the data folder, or outside ones that the user named."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg

from services.cli.errors import CliError
from services.cli.names import STATEFUL, database_variable
from services.local.errors import StackError
from services.local.nats import NatsServer
from services.local.postgres import Postgres, create_database


@dataclass(frozen=True)
class Servers:
    """Where the databases and the event stream are; `postgres` and `nats` only if they are ours to run."""

    database_urls: Mapping[str, str]
    nats_url: str
    postgres_url: str
    postgres: Postgres | None
    nats: NatsServer | None

    def heal(self) -> Iterator[str]:
        """Start those of our servers again that died or ail, telling of each in one sentence. Needs the main thread."""
        for name, server in (("PostgreSQL", self.postgres), ("NATS", self.nats)):
            if server and not server.running:
                yield from _restart(server, f"{name} had died and was started again.")
        if self.nats and self.nats.ailing():
            yield from _restart(self.nats, f"NATS was not well (see {self.nats.log_file}) and was started again.")


@contextmanager
def running(
    folder: Path, environ: Mapping[str, str], *, postgres_url: str = "", nats_url: str = "", port: int | None = None
) -> Iterator[Servers]:
    """Servers with a database for each service that needs one. Enter it in the main thread.

    `port`: None = the embedded ones are at their usual ports if those are free, else at any; 0 = at any.
    A service whose DSM_<SERVICE>_DATABASE_URL is set uses that; the others get a database `dsm_<service>` on the
    server at `postgres_url`, or on an embedded one. Raises StackError and CliError.
    """
    urls = {name: environ.get(database_variable(name), "") for name in STATEFUL}
    without = [name for name in STATEFUL if not urls[name]]
    with ExitStack() as cleanup:
        postgres = nats = None
        if without and not postgres_url:
            postgres = Postgres.start(folder / "postgres", port)
            cleanup.callback(postgres.stop)
        if not nats_url:
            nats = NatsServer.start(folder / "nats", port, monitor_port=port)
            cleanup.callback(nats.stop)
        base = postgres.url() if postgres else postgres_url
        if postgres:
            postgres.ensure_database(*map(database_name, without))
        elif without:
            _create_databases(base, without)
        urls |= {name: database_url(base, name) for name in without}
        yield Servers(urls, nats.url if nats else nats_url, base, postgres, nats)


def _restart(server: Postgres | NatsServer, told: str) -> Iterator[str]:
    try:
        server.restart()
        yield told
    except StackError as error:
        yield str(error)


def database_name(service: str) -> str:
    """The name of a service's database."""
    return f"dsm_{service}"


def database_url(base: str, service: str) -> str:
    """The URL of a service's database on the server of a base URL."""
    # libpq knows two names of the scheme, the tools of the migrations one.
    return urlunsplit(urlsplit(base)._replace(scheme="postgresql", path=f"/{database_name(service)}"))


def without_password(url: str) -> str:
    """A URL that can be shown."""
    parts = urlsplit(url)
    if parts.password is None:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username}:***@{parts.netloc.rpartition('@')[2]}"))


def _create_databases(base: str, services: list[str]) -> None:
    parts = urlsplit(base)
    if parts.scheme not in ("postgresql", "postgres"):
        raise CliError("The PostgreSQL URL must look like postgresql://user:password@host:5432: correct it.")
    # Without a database in the URL, libpq would take the one that is named like the user.
    admin = base if parts.path.strip("/") else urlunsplit(parts._replace(path="/postgres"))
    try:
        with psycopg.connect(admin, autocommit=True, connect_timeout=10) as connection:
            for name in services:
                create_database(connection, database_name(name))
    except psycopg.OperationalError as error:
        raise CliError(
            f"PostgreSQL at {without_password(base)} cannot be used ({_line(error)}): check that it runs and that the "
            "URL is right."
        ) from error
    except psycopg.Error as error:
        raise CliError(
            f"The databases cannot be created at {without_password(base)} ({_line(error)}): create "
            f"{', '.join(map(database_name, services))} yourself, or use a user who may."
        ) from error


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
