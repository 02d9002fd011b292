"""`dsm up`: PostgreSQL, NATS and every service on this machine, until Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from services.cli import servers
from services.cli.announce import announce
from services.cli.children import Child, stop_all
from services.cli.data import DataOption, data_folder
from services.cli.detach import start_in_background
from services.cli.health import all_serving
from services.cli.migrate import level, upgrade_all
from services.cli.names import (
    DEFAULT_METRICS_PORT,
    DEFAULT_PORT,
    HOST,
    SERVICES,
    address_variable,
    database_variable,
)
from services.cli.output import escape, out
from services.cli.serve import run
from services.cli.servers import Servers
from services.local.folder import StackState, locked, remove_state, write_state
from services.local.process import choose_port, open_log

_SUPERVISE_SECONDS = 0.5
_DRAIN_MARGIN_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(up)


def up(
    data: DataOption = None,
    port: Annotated[
        int | None,
        typer.Option(
            envvar="DSM_PORT",
            min=0,
            max=65535,
            help="Port of gRPC; with --processes, of the first service. 0 = any free ones, for all that is started.",
        ),
    ] = None,
    metrics_port: Annotated[
        int | None,
        typer.Option(envvar="DSM_METRICS_PORT", min=0, max=65535, help="Port of the metrics, likewise."),
    ] = None,
    postgres_url: Annotated[
        str,
        typer.Option(
            envvar="DSM_POSTGRES_URL",
            metavar="URL",
            help="Use this PostgreSQL instead of the embedded one; databases dsm_<service> are made there.",
        ),
    ] = "",
    nats_url: Annotated[
        str, typer.Option(envvar="DSM_NATS_URL", metavar="URL", help="Use this NATS instead of the embedded one.")
    ] = "",
    processes: Annotated[bool, typer.Option("--processes", help="Run each service in a process of its own.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Start in the background; returns when ready.")] = False,
) -> None:
    """Start PostgreSQL, NATS and every service on this machine; Ctrl-C stops them, the data stays."""
    folder = data_folder(data)
    if detach:
        start_in_background(folder)
        return
    # A plain `kill` does what Ctrl-C does, at every moment of the start.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as cleanup:
        cleanup.enter_context(locked(folder))
        write_state(folder, {}, {})  # From here on `dsm down` finds us.
        cleanup.callback(remove_state, folder)
        imports = _start_imports(folder, processes)
        # Who wants any port wants to meet nobody: not at the servers' usual ports either, whenever those are free.
        any_port = 0 if port == 0 else None
        started = cleanup.enter_context(
            servers.running(folder, os.environ, postgres_url=postgres_url, nats_url=nats_url, port=any_port)
        )
        upgrade_all(started.database_urls, [level(*item) for item in started.database_urls.items()])
        imports.join()
        machine = Machine(folder, started, port, metrics_port)
        if processes:
            machine.run_processes()
        else:
            machine.run_here()
    out.print("Stopped.")


@dataclass
class Machine:
    """Runs the services beside their servers. Ports: None = the usual one if free, else any; 0 = any."""

    folder: Path
    servers: Servers
    port: int | None
    metrics_port: int | None
    _taken: list[int] = field(default_factory=list)

    def run_here(self) -> None:
        """Run every service in this process until it is told to stop."""
        from services.cli.registry import assemble
        from services.kit.telemetry import log

        port = self._choose(self.port, DEFAULT_PORT)
        metrics_port = self._choose(self.metrics_port, DEFAULT_METRICS_PORT)
        addresses = dict.fromkeys(SERVICES, f"{_host()}:{port}")
        assembly = assemble(SERVICES, self._environ(addresses), {"port": port, "metrics_port": metrics_port})
        state = self._write_state(addresses, dict.fromkeys(SERVICES, metrics_port))
        with _stderr_to(self.folder / "logs" / "dsm.log"):
            log.configure(assembly.process.log_level, assembly.process.log_format)
            run(
                assembly,
                on_ready=lambda: announce(state, self.folder),
                every_second=lambda: _tell(self.servers.heal()),
                on_stop=_tell_stopping,
            )

    def run_processes(self) -> None:
        """Run each service in a process of its own until this one is told to stop."""
        addresses, metrics = {}, {}
        for number, name in enumerate(SERVICES):
            # What is given is the first one's; 0 means any, for each of them.
            port, metrics_port = (
                given if number == 0 or given == 0 else None for given in (self.port, self.metrics_port)
            )
            addresses[name] = f"{_host()}:{self._choose(port, DEFAULT_PORT + number)}"
            metrics[name] = self._choose(metrics_port, DEFAULT_METRICS_PORT + number)
        environ = self._environ(addresses)
        children: list[Child] = []
        try:
            for name in SERVICES:
                own = {"DSM_PORT": addresses[name].rpartition(":")[2], "DSM_METRICS_PORT": str(metrics[name])}
                children.append(Child(name, environ | own, self.folder / "logs" / f"{name}.log"))
            state = self._write_state(addresses, metrics)
            while not all_serving(addresses.values()):
                for child in children:
                    child.refuse_death()
                time.sleep(_SUPERVISE_SECONDS / 10)
            announce(state, self.folder)
            self._supervise(children)
        finally:
            stop_all(children, _drain_seconds(environ))

    def _supervise(self, children: list[Child]) -> None:
        try:
            while True:
                time.sleep(_SUPERVISE_SECONDS)
                _tell(self.servers.heal())
                for child in children:
                    _tell(child.check())
        except KeyboardInterrupt:
            _tell_stopping()

    def _choose(self, port: int | None, prefer: int) -> int:
        chosen = choose_port(port, prefer, taken=self._taken)
        self._taken.append(chosen)
        return chosen

    def _environ(self, addresses: Mapping[str, str]) -> dict[str, str]:
        """The environment of the services: the user's, with what runs where."""
        wiring = {address_variable(name): address for name, address in addresses.items()}
        wiring |= {database_variable(name): url for name, url in self.servers.database_urls.items()}
        return {"DSM_LOG_FORMAT": "console"} | os.environ | wiring | {"DSM_NATS_URL": self.servers.nats_url}

    def _write_state(self, addresses: Mapping[str, str], metrics: Mapping[str, int]) -> StackState:
        """Tell the other commands where everything is."""
        ports = {name: int(address.rpartition(":")[2]) for name, address in addresses.items()}
        urls = dict(addresses) | {f"metrics.{name}": f"http://{_host()}:{port}" for name, port in metrics.items()}
        urls |= {"postgres": self.servers.postgres_url, "nats": self.servers.nats_url}
        return write_state(self.folder, ports, urls)


def _start_imports(folder: Path, processes: bool) -> threading.Thread:
    """Load what will be needed while the servers start: that takes as long as they do."""
    first_start = not (folder / "postgres").exists()

    def load() -> None:

        if first_start:
            import alembic.command  # noqa: F401
        if not processes:
            from services.cli import registry

            registry.entries(SERVICES)

    # What fails here fails again, and is told, where it is used.
    thread = threading.Thread(target=_quietly(load), name="imports", daemon=True)
    thread.start()
    return thread


def _host() -> str:
    """Where the services are reached from this machine: the address they listen on, or the loopback for all."""
    host = os.environ.get("DSM_HOST", HOST)
    return HOST if host in ("0.0.0.0", "::", "[::]") else host


def _drain_seconds(environ: Mapping[str, str]) -> float:
    """How long children may take to stop: what they give to calls in flight, and a little more."""
    from services.kit.settings import ProcessSettings, load

    return load(ProcessSettings, environ).grace_seconds + _DRAIN_MARGIN_SECONDS


def _quietly(work: Callable[[], None]) -> Callable[[], None]:
    def attempt() -> None:
        with suppress(Exception):
            work()

    return attempt


def _tell_stopping() -> None:
    out.print("Stopping …")


def _tell(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        out.print(escape(sentence), soft_wrap=True)


@contextmanager
def _stderr_to(log_file: Path) -> Iterator[None]:
    """Everything that this process writes to stderr goes to a file, also what libraries in C write."""
    sys.stderr.flush()
    terminal = os.dup(2)
    try:
        with open_log(log_file) as log:
            os.dup2(log.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(terminal, 2)
        os.close(terminal)
