"""A whole DSM in processes of its own, synced to disk: what the faults break."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import psycopg
from grpc_health.v1 import health_pb2
from psycopg.rows import dict_row

from services.cli.names import SERVICES, STATEFUL, address_variable, database_variable
from services.local.folder import StackState, read_state
from services.local.process import LOOPBACK, choose_port, spawn, wait_until
from tests.processes import alive, clean_environ

START_SECONDS = 120
READY_SECONDS = 30.0  # I11
# A client of a service that restarts looks for it again at once.
CHANNEL_OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.use_local_subchannel_pool", 1),
]
_CHECK = "/grpc.health.v1.Health/Check"


class Machine:
    """`dsm up --processes` in a folder of its own. Looks like a `tests.harness.World` to those who only call it."""

    def __init__(self, folder: Path, supervisor: subprocess.Popen[bytes], state: StackState) -> None:
        self.folder = folder
        self.state = state
        self.supervisor = supervisor
        self.replicas: list[Replica] = []
        self._channels: dict[str, grpc.aio.Channel] = {}

    @property
    def addresses(self) -> dict[str, str]:
        """Where each service listens, for the machine's life."""
        return {name: self.state.urls[name] for name in SERVICES}

    @property
    def nats_url(self) -> str:
        """Where NATS listens, for the machine's life."""
        return self.state.urls["nats"]

    def database_url(self, service: str) -> str:
        """A service's database."""
        return f"{self.state.urls['postgres'].rpartition('/')[0]}/dsm_{service}"

    def log(self, name: str) -> Path:
        """The log of a service, or of "up"."""
        return self.folder / ("up.log" if name == "up" else f"logs/{name}.log")

    # --- as clients see it ---

    async def start(self, *names: str) -> None:
        """Everything runs already."""

    async def channel(self, name: str) -> grpc.aio.Channel:
        """A channel to a service."""
        if name not in self._channels:
            self._channels[name] = grpc.aio.insecure_channel(self.addresses[name], options=CHANNEL_OPTIONS)
        return self._channels[name]

    async def query(self, service: str, sql: str, params: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Look into a service's database."""
        url = self.database_url(service)
        async with await psycopg.AsyncConnection.connect(url, row_factory=dict_row, autocommit=True) as connection:
            cursor = await connection.execute(sql, params)
            return await cursor.fetchall() if cursor.description else []

    async def serving(self, *names: str) -> bool:
        """Whether these services take calls; by default all."""
        found = await asyncio.gather(*(is_serving(self.addresses[name]) for name in names or SERVICES))
        return all(found)

    async def ready(self, *names: str, seconds: float = READY_SECONDS) -> float:
        """Wait until these services, by default all, take calls; the seconds it took. Fails after a while (I11)."""
        began = time.monotonic()
        while not await self.serving(*names):
            waited = time.monotonic() - began
            assert waited < seconds, f"not ready {seconds} s after the fault: {self.tails()}"
            await asyncio.sleep(0.05)
        return time.monotonic() - began

    # --- as an operator sees it ---

    def processes(self) -> dict[str, psutil.Process]:
        """What runs now, by the name of the service, "postgres" or "nats"."""
        found: dict[str, psutil.Process] = {}
        for child in psutil.Process(self.supervisor.pid).children():
            try:
                command, name = child.cmdline(), child.name()
            except psutil.Error:
                continue
            if command[-2:-1] == ["serve"]:
                found[command[-1]] = child
            elif name in ("nats-server", "postgres"):
                found[name.removesuffix("-server")] = child
        return found

    def signal(self, name: str, number: signal.Signals) -> bool:
        """Signal a service, "postgres" or "nats"; False if it does not run at the moment."""
        process = self.processes().get(name)
        if process is None:
            return False
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            return False
        if number in (signal.SIGKILL, signal.SIGQUIT):
            wait_until(lambda: not alive(process), 10)
        return True

    @contextmanager
    def unsupervised(self) -> Iterator[None]:
        """Meanwhile nobody starts again what dies."""
        self.supervisor.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.supervisor.send_signal(signal.SIGCONT)

    def environ(self, **settings: str) -> dict[str, str]:
        """The environment of a service of this machine, with settings of its own."""
        wiring = {address_variable(name): address for name, address in self.addresses.items()}
        wiring |= {database_variable(name): self.database_url(name) for name in STATEFUL}
        wiring |= {"DSM_NATS_URL": self.nats_url, "DSM_METRICS_PORT": "-1"}
        return clean_environ() | wiring | settings

    def replica(self, service: str, **settings: str) -> Replica:
        """One more process of a service, whose settings may differ; nobody starts it again when it dies."""
        port = settings.setdefault("DSM_PORT", str(choose_port(0, 0)))
        log = self.folder / "logs" / f"{service}-replica-{len(self.replicas)}.log"
        command = [sys.executable, "-m", "services.cli", "serve", service]
        environ = self.environ(**settings)
        process = spawn(command, log_file=log, on_parent_death=signal.SIGKILL, env=environ)
        replica = Replica(service, f"{LOOPBACK}:{port}", process, log)
        self.replicas.append(replica)
        return replica

    def tails(self) -> dict[str, str]:
        """The last words of everything, to tell why it is not ready."""
        return {path.stem: path.read_text(errors="replace")[-600:] for path in self.folder.glob("logs/*.log")}

    async def close(self) -> None:
        """Stop everything."""
        for channel in self._channels.values():
            await channel.close()
        for replica in self.replicas:
            await replica.close()
        self.supervisor.send_signal(signal.SIGCONT)
        self.supervisor.terminate()
        try:
            await asyncio.to_thread(self.supervisor.wait, 60)
        except subprocess.TimeoutExpired:
            self.supervisor.kill()


class Replica:
    """One more process of a service."""

    def __init__(self, service: str, address: str, process: subprocess.Popen[bytes], log: Path) -> None:
        self.service = service
        self.address = address
        self.process = process
        self.log = log
        self.channel = grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS)

    async def ready(self, seconds: float = READY_SECONDS) -> Replica:
        """Wait until it takes calls."""
        deadline = time.monotonic() + seconds
        while not await is_serving(self.address):
            words = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            assert self.process.poll() is None, f"the replica of {self.service} died: {words}"
            assert time.monotonic() < deadline, f"the replica of {self.service} is not ready: {words}"
            await asyncio.sleep(0.05)
        return self

    @property
    def running(self) -> bool:
        """Whether it is alive."""
        return self.process.poll() is None

    async def ended(self, seconds: float = 5.0) -> bool:
        """Wait a little for its end; whether it has."""
        return await asyncio.to_thread(wait_until, lambda: not self.running, seconds)

    def signal(self, number: signal.Signals) -> None:
        """Signal it."""
        if self.running:
            self.process.send_signal(number)

    async def close(self) -> None:
        """kill -9, and forget it."""
        self.signal(signal.SIGKILL)
        await asyncio.to_thread(self.process.wait)
        await self.channel.close()


def boot(folder: Path, **settings: str) -> Machine:
    """Start a machine; returns when every service takes calls. Call it in the main thread."""
    environ = clean_environ() | {"DSM_DATA_DIR": str(folder), "DSM_LOG_LEVEL": "INFO"} | settings
    command = [sys.executable, "-m", "services.cli", "up", "--processes", "--port", "0", "--metrics-port", "0"]
    log = folder / "up.log"
    supervisor = spawn(command, log_file=log, on_parent_death=signal.SIGTERM, env=environ)
    wait_until(lambda: supervisor.poll() is not None or "dsm demo" in log.read_text(), START_SECONDS)
    state = read_state(folder)
    assert "dsm demo" in log.read_text(), log.read_text()
    assert state
    return Machine(folder, supervisor, state)


async def is_serving(address: str, timeout: float = 1.0) -> bool:  # noqa: ASYNC109  # gRPC's own deadline
    """Whether the process at an address takes calls, asked over a connection of its own."""
    async with grpc.aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
        check = channel.unary_unary(
            _CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer: Any = await check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError:
            return False
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
