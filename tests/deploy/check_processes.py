"""The rendered chart runs, as far as that goes without a cluster: its commands, with exactly the environment it gives.

Every container becomes a process here: migrations, services, the test pod and the seed. PostgreSQL is set up as the
documentation says, and NATS demands TLS and a password. Only addresses and the places of files are others.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.names import SERVICES, STATEFUL
from services.local.process import choose_port
from services.local.stack import Stack
from tests.deploy.rendering import ROOT, Object, Pod, environ, objects, of_kind, pods

DSM = Path(sys.executable).parent / "dsm"
NATS_SERVER = Path(sys.executable).parent / "nats-server"
INSTALL = ROOT / "docs" / "installing-on-kubernetes.md"
SECONDS = 60
RENDERED = objects(
    "minimal",
    "nats.url=",
    "nats.urlSecret.name=dsm-nats",
    "nats.caSecret.name=nats-ca",
    "postgresql.passwordSecret.name=dsm-databases",
    "jobs.seed.enabled=true",
)


@dataclass(frozen=True)
class Machine:
    """Where on this machine is what a cluster would have."""

    folder: Path
    nats_url: str
    here: dict[str, str]
    ports: dict[str, int]

    def environ(self, container: Object) -> dict[str, str]:
        """What a container is given, with the places of this machine. Nothing else is in the environment."""
        held = environ(container, RENDERED)
        if "DSM_NATS_URL" in held:
            held["DSM_NATS_URL"] = self.nats_url
        for there, here in self.here.items():
            held = {name: value.replace(there, here) for name, value in held.items()}
        return held | {"HOME": str(self.folder)}

    def run(self, container: Object) -> str:
        """Run a container to its end; its output."""
        command = [str(DSM), *container["args"]]
        done = subprocess.run(
            command, env=self.environ(container), cwd=self.folder, capture_output=True, text=True, timeout=SECONDS
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, service: str, container: Object) -> subprocess.Popen[bytes]:
        """Start the container of a service; every service of a cluster has the same port, here each has its own."""
        own = {"DSM_HOST": "127.0.0.1", "DSM_PORT": str(self.ports[service]), "DSM_METRICS_PORT": "0"}
        command = [str(DSM), *container["args"]]
        with (self.folder / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                command, env=self.environ(container) | own, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )

    def health(self, service: str, name: str) -> int:
        """What a gRPC probe is told; 0 if nobody answers."""
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[service]}") as channel:
            check: Any = getattr(health_pb2_grpc.HealthStub(channel), "Check")  # noqa: B009
            try:
                return int(check(health_pb2.HealthCheckRequest(service=name), timeout=5).status)
            except grpc.RpcError:
                return 0


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """PostgreSQL as the documentation makes it, and a NATS of its own."""
    if not shutil.which("openssl"):
        pytest.skip("no openssl, which makes the certificates")
    folder = tmp_path_factory.mktemp("machine")
    _make_databases(stack)
    ports: dict[str, int] = {}
    for name in (*SERVICES, "nats"):
        ports[name] = choose_port(0, 0, taken=tuple(ports.values()))
    here = {f"dsm-{name}:7600": f"127.0.0.1:{ports[name]}" for name in SERVICES}
    here |= {
        "@postgresql:5432": f"@127.0.0.1:{stack.postgres.port}",
        "/etc/dsm/nats/ca.crt": str(folder / "ca.crt"),
    }
    with _nats(folder, ports["nats"]):
        yield Machine(folder, f"nats://dsm:secret@localhost:{ports['nats']}", here, ports)


def _make_databases(stack: Stack) -> None:
    """Run what the documentation tells a superuser to run."""
    match = re.search(r"^```sql\n(.*?)^```", INSTALL.read_text(), re.MULTILINE | re.DOTALL)
    assert match
    database = "postgres"
    for line in match[1].splitlines():
        if line.startswith("\\connect "):
            database = line.removeprefix("\\connect ")
        else:
            with psycopg.connect(stack.postgres.url(database), autocommit=True) as connection:
                connection.execute(line.encode())


def _nats(folder: Path, port: int) -> ExitStack:
    def openssl(words: str) -> None:
        subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)

    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test-ca -keyout ca.key -out ca.crt")
    openssl("req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout nats.key -out nats.csr")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    openssl("x509 -req -days 2 -in nats.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out nats.crt")
    config = {
        "host": "127.0.0.1",
        "port": port,
        "jetstream": {"store_dir": str(folder / "store")},
        "tls": {"cert_file": str(folder / "nats.crt"), "key_file": str(folder / "nats.key")},
        "authorization": {"user": "dsm", "password": "secret"},
    }
    (folder / "nats.conf").write_text(json.dumps(config))
    with (folder / "nats.log").open("wb") as log:
        server = subprocess.Popen([NATS_SERVER, "-c", folder / "nats.conf"], stderr=log)
    stop = ExitStack()
    stop.callback(server.wait, SECONDS)
    stop.callback(server.terminate)
    return stop


def _pod(kind: str, name: str) -> Pod:
    [pod] = [pod for pod in pods(RENDERED) if (pod.kind, pod.name) == (kind, name)]
    return pod


@pytest.mark.timeout(240)
def test_from_nothing_to_a_seeded_backlog(machine: Machine) -> None:
    for container in _pod("Job", "dsm-migrate").containers:
        assert "ok" in machine.run(container)
    with ExitStack() as stop:
        running = {}
        for service in SERVICES:
            [container] = _pod("Deployment", f"dsm-{service}").containers
            process = running[service] = machine.start(service, container)
            stop.callback(process.kill)
        _await_probes(machine)
        health, read = _pod("Pod", "dsm-test").containers
        machine.run(health)
        json.loads(machine.run(read))
        [seed] = _pod("Job", "dsm-seed").containers
        assert json.loads(machine.run(seed))["tasks_count"] == 8
        status = json.loads(machine.run({**health, "args": ["status", "--json"]}))
        connected = [it["service"] for it in status["services"] if it.get("event_stream", {}).get("connected")]
        assert sorted(connected) == sorted(STATEFUL)
        _stop_as_a_cluster_does(running)


def _await_probes(machine: Machine) -> None:
    """Until every probe of every service is told SERVING."""
    names = {
        probe: container[probe]["grpc"].get("service", "")
        for it in of_kind(RENDERED, "Deployment").values()
        for container in it["spec"]["template"]["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    until = time.monotonic() + SECONDS
    waiting = {(service, name) for service in SERVICES for name in names.values()}
    while waiting and time.monotonic() < until:
        waiting = {it for it in waiting if machine.health(*it) != health_pb2.HealthCheckResponse.SERVING}
    logs = {service: (machine.folder / f"{service}.log").read_text()[-2000:] for service, _ in waiting}
    assert not waiting, logs


def _stop_as_a_cluster_does(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """SIGTERM, and every process is gone within the grace period of its pod."""
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    for service, process in running.items():
        assert process.wait(_pod("Deployment", f"dsm-{service}").spec["terminationGracePeriodSeconds"]) == 0


def test_postgresql_is_verified_where_an_authority_is_named(machine: Machine) -> None:
    """A server that offers no TLS, as the one here, is refused rather than talked to in the clear."""
    rendered = objects("minimal", "postgresql.caSecret.name=ca")
    [job] = [pod for pod in pods(rendered) if pod.name == "dsm-migrate"]
    container = next(it for it in job.containers if it["name"] == STATEFUL[0])
    held = {
        name: value.replace("@postgresql:5432", machine.here["@postgresql:5432"])
        for name, value in environ(container, rendered).items()
    }
    assert held["PGSSLMODE"] == "verify-full"
    held |= {"HOME": str(machine.folder), "PGSSLROOTCERT": str(machine.folder / "ca.crt")}
    done = subprocess.run(
        [DSM, *container["args"]], env=held, cwd=machine.folder, capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 1
    assert "SSL" in done.stderr
