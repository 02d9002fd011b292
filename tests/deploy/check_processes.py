"""The rendered chart runs, as far as that goes without a cluster: its commands, with exactly the environment it gives.

Every container becomes a process here, with the files that its volumes hold: migrations, services, the test pod and
every job, with TLS that asks clients for certificates, identified callers, and a NATS that asks for certificates too.
PostgreSQL is set up as the documentation says. Only addresses and the places of files are others.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest
from dsm.project.v1 import employee_pb2, project_service_pb2
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.names import SERVICES, STATEFUL
from services.kit.security.tokens import mint
from services.local.process import choose_port
from services.local.stack import Stack
from tests.certificates import Authority
from tests.deploy.rendering import ROOT, Object, Pod, environ, objects, of_kind, pods

DSM = Path(sys.executable).parent / "dsm"
NATS_SERVER = Path(sys.executable).parent / "nats-server"
INSTALL = ROOT / "docs" / "installing-on-kubernetes.md"
SECONDS = 60
# As long as the startup probe waits.
START_SECONDS = 120
PROJECT = "TEST-001"
SECRET = b"a secret that is longer than 32 bytes"
RENDERED = objects(
    "minimal",
    "nats.url=",
    "nats.urlSecret.name=dsm-nats",
    "nats.caSecret.name=server",
    "nats.clientSecret.name=client",
    "postgresql.passwordSecret.name=dsm-databases",
    "tls.serverSecret.name=server",
    "tls.clientCaSecret.name=server",
    "tls.clientSecret.name=client",
    "identity.jwtSecret.name=jwt",
    "jobs.tokenSecret.name=tokens",
    "jobs.seed.enabled=true",
    "jobs.backfill.enabled=true",
    "jobs.planning[0].name=first",
    f"jobs.planning[0].project={PROJECT}",
    "schedules.runner=KUBERNETES",
)


def documented_roles() -> dict[str, str]:
    """What role the token of each job needs, as the documentation says."""
    return dict(re.findall(r"^\| `([\w-]+)` \| `(\w+)` \|", INSTALL.read_text(), re.MULTILINE))


@dataclass(frozen=True)
class Machine:
    """Where on this machine is what a cluster would have; `secrets` are the secrets' contents by name and key."""

    folder: Path
    nats_url: str
    here: dict[str, str]
    ports: dict[str, int]
    secrets: dict[str, dict[str, bytes]]

    def mount(self, pod: Pod) -> Path:
        """Put the files there that the pod's volumes hold; the folder that stands for its /."""
        root = self.folder / "pods" / f"{pod.kind}-{pod.name}"
        maps = {name: it["data"] for name, it in of_kind(RENDERED, "ConfigMap").items()}
        places = {mount["name"]: mount["mountPath"] for it in pod.containers for mount in it["volumeMounts"]}
        for volume in pod.spec["volumes"]:
            place = root / places[volume["name"]].lstrip("/")
            place.mkdir(parents=True, exist_ok=True)
            for source in volume.get("projected", {}).get("sources", []):
                for item in source["secret"]["items"]:
                    (place / item["path"]).write_bytes(self.secrets[source["secret"]["name"]][item["key"]])
            for key, text in maps[volume["configMap"]["name"]].items() if "configMap" in volume else ():
                (place / key).write_text(text)
        return root

    def environ(self, pod: Pod, container: Object) -> dict[str, str]:
        """What a container is given, with the places of this machine. Nothing else is in the environment."""
        held = environ(container, RENDERED)
        if "DSM_NATS_URL" in held:
            held["DSM_NATS_URL"] = self.nats_url
        places = {f"dsm-{name}:7600": self.address(name, pod) for name in SERVICES}
        for there, here in {**self.here, **places, "/etc/dsm": f"{self.mount(pod)}/etc/dsm"}.items():
            held = {name: value.replace(there, here) for name, value in held.items()}
        return held | {"HOME": str(self.folder)}

    def address(self, service: str, caller: Pod) -> str:
        """Where a pod reaches a service; nowhere, if the service's NetworkPolicy does not let the pod in."""
        entrance = of_kind(RENDERED, "NetworkPolicy")[f"dsm-{service}"]["spec"]["ingress"][0]
        let_in = (it["podSelector"]["matchLabels"].items() for it in entrance["from"])
        own = service == caller.component
        allowed = own or any(labels <= caller.labels.items() for labels in let_in)
        return f"127.0.0.1:{self.ports[service if allowed else 'nobody']}"

    def run(self, pod: Pod, container: Object, *more: str, code: int = 0) -> str:
        """Run a container to its end; its output."""
        done = subprocess.run(
            [str(DSM), *container["args"], *more],
            env=self.environ(pod, container),
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    def start(self, pod: Pod) -> subprocess.Popen[bytes]:
        """Start the container of a service; every service of a cluster has the same ports, here each has its own."""
        [container] = pod.containers
        service = pod.component
        own = {
            "DSM_HOST": "127.0.0.1",
            "DSM_PORT": str(self.ports[service]),
            "DSM_METRICS_PORT": str(self.ports[f"{service}-metrics"]),
        }
        command = [str(DSM), *container["args"]]
        with (self.folder / f"{service}.log").open("wb") as log:
            return subprocess.Popen(
                command, env=self.environ(pod, container) | own, cwd=self.folder, stdout=log, stderr=subprocess.STDOUT
            )

    def probe(self, service: str, asked: Object) -> bool:
        """What a probe is told."""
        if "httpGet" in asked:
            url = f"http://127.0.0.1:{self.ports[f'{service}-metrics']}{asked['httpGet']['path']}"
            try:
                with urllib.request.urlopen(url, timeout=5) as answer:
                    return bool(answer.status == 200)
            except (urllib.error.URLError, OSError):
                return False
        request = health_pb2.HealthCheckRequest(service=asked["grpc"].get("service", ""))
        with grpc.insecure_channel(f"127.0.0.1:{self.ports[service]}") as channel:
            check: Any = getattr(health_pb2_grpc.HealthStub(channel), "Check")  # noqa: B009
            try:
                return bool(check(request, timeout=5).status == health_pb2.HealthCheckResponse.SERVING)
            except grpc.RpcError:
                return False


@pytest.fixture(scope="module")
def machine(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """PostgreSQL as the documentation makes it, and a NATS of its own."""
    folder = tmp_path_factory.mktemp("machine")
    authority = Authority(folder)
    secrets = {"server": _pair(authority), "client": _pair(authority), "jwt": {"jwt-secret": SECRET}}
    roles = documented_roles()
    assert roles.keys() == {"seed", "planning", "backfill", "daily-scrum", "test"}
    secrets["tokens"] = {job: mint(SECRET, f"job:{job}", 3600, roles=[role]).encode() for job, role in roles.items()}
    _make_databases(stack)
    ports: dict[str, int] = {}
    for name in (*SERVICES, *(f"{service}-metrics" for service in SERVICES), "nats", "nobody"):
        ports[name] = choose_port(0, 0, taken=tuple(ports.values()))
    here = {"@postgresql:5432": f"@127.0.0.1:{stack.postgres.port}"}
    with _nats(folder, ports["nats"], secrets["server"]):
        yield Machine(folder, f"nats://dsm:secret@localhost:{ports['nats']}", here, ports, secrets)


def _pair(authority: Authority) -> dict[str, bytes]:
    """A secret as cert-manager makes it."""
    pair = authority.sign()
    return {
        "tls.crt": pair.cert.read_bytes(),
        "tls.key": pair.key.read_bytes(),
        "ca.crt": authority.file.read_bytes(),
    }


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


def _nats(folder: Path, port: int, secret: dict[str, bytes]) -> ExitStack:
    """A NATS that asks for certificates and a password."""
    for name, data in secret.items():
        (folder / f"nats-{name}").write_bytes(data)
    tls = {
        "cert_file": str(folder / "nats-tls.crt"),
        "key_file": str(folder / "nats-tls.key"),
        "ca_file": str(folder / "nats-ca.crt"),
        "verify": True,
    }
    config = {
        "host": "127.0.0.1",
        "port": port,
        "jetstream": {"store_dir": str(folder / "store")},
        "tls": tls,
        "authorization": {"user": "dsm", "password": "secret"},
    }
    (folder / "nats.conf").write_text(json.dumps(config))
    with (folder / "nats.log").open("wb") as log:
        server = subprocess.Popen([NATS_SERVER, "-c", folder / "nats.conf"], stderr=log)
    stop = ExitStack()
    stop.callback(server.wait, SECONDS)
    stop.callback(server.terminate)
    return stop


def _pod(kind: str, name: str, rendered: tuple[Object, ...] = RENDERED) -> Pod:
    [pod] = [pod for pod in pods(rendered) if (pod.kind, pod.name) == (kind, name)]
    return pod


@pytest.mark.timeout(400)
def test_from_nothing_to_a_daily_scrum(machine: Machine) -> None:
    migrate = _pod("Job", "dsm-migrate")
    for container in migrate.containers:
        assert "ok" in machine.run(migrate, container)
    with ExitStack() as stop:
        running = {}
        for service in SERVICES:
            process = running[service] = machine.start(_pod("Deployment", f"dsm-{service}"))
            stop.callback(process.kill)
        _await_probes(machine, SERVICES, RENDERED)
        _run_the_test_pod(machine)
        _run_the_jobs(machine)
        _stop_as_a_cluster_does(running)


def _run_the_test_pod(machine: Machine) -> None:
    pod = _pod("Pod", "dsm-test")
    health, read = pod.containers
    # To NATS, with a certificate.
    assert machine.run(pod, health).count("connected") == len(STATEFUL)
    json.loads(machine.run(pod, read))
    nobody = [it for it in health["env"] if it["name"] != "DSM_TOKEN_FILE"]
    assert "TOKEN_MISSING" in machine.run(pod, {**health, "env": nobody}, code=1)


def _run_the_jobs(machine: Machine) -> None:
    def run(pod: Pod, *arguments: str) -> Any:
        [container] = pod.containers
        return json.loads(machine.run(pod, {**container, "args": list(arguments)} if arguments else container))

    assert run(_pod("Job", "dsm-seed"))["tasks_count"] == 8
    _make_team(machine)
    assert run(_pod("CronJob", "dsm-planning-first"))["sprint"]["sprint_id"] == f"{PROJECT}-S01"
    assert "embedded_episodes" in run(_pod("CronJob", "dsm-backfill"))
    scrum = _pod("DailyScrum", "dsm-daily-scrum")
    # A day off has no report, and is no failure.
    machine.run(scrum, {**scrum.containers[0], "args": ["scrum", f"{PROJECT}-S01", "--scheduled", "--json"]})


def _make_team(machine: Machine) -> None:
    """As a person with the role for it does, from outside."""
    ca, cert, key = (machine.secrets["client"][name] for name in ("ca.crt", "tls.crt", "tls.key"))
    token = mint(SECRET, "anna", 600, roles=["admin"])
    address = f"127.0.0.1:{machine.ports['project']}"
    with grpc.secure_channel(address, grpc.ssl_channel_credentials(ca, key, cert)) as channel:
        stub = ProjectServiceStub(channel)

        def call(method: Callable[..., object], request: object) -> None:
            method(request, timeout=10, metadata=[("authorization", f"Bearer {token}")])

        employee = employee_pb2.Employee(employee_id="E1", name="Anna")
        call(stub.CreateEmployee, project_service_pb2.CreateEmployeeRequest(employee=employee))
        request = project_service_pb2.AssignTeamMembersRequest(project_id=PROJECT)
        request.assignments.add(employee_id="E1", allocation_percent=100)
        call(stub.AssignTeamMembers, request)


def _await_probes(machine: Machine, names: tuple[str, ...], rendered: tuple[Object, ...]) -> None:
    """Until every probe of every service is told that all is well."""
    waiting = [
        (service, probe, container[probe])
        for service in names
        for container in _pod("Deployment", f"dsm-{service}", rendered).containers
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    ]
    until = time.monotonic() + START_SECONDS
    while waiting and time.monotonic() < until:
        waiting = [it for it in waiting if not machine.probe(it[0], it[2])]
    logs = {service: (machine.folder / f"{service}.log").read_text()[-2000:] for service, *_ in waiting}
    assert not waiting, logs


def _stop_as_a_cluster_does(running: dict[str, subprocess.Popen[bytes]]) -> None:
    """SIGTERM, and every process is gone within the grace period of its pod."""
    for process in running.values():
        process.send_signal(signal.SIGTERM)
    for service, process in running.items():
        assert process.wait(_pod("Deployment", f"dsm-{service}").spec["terminationGracePeriodSeconds"]) == 0


def test_in_plaintext_probes_are_answered_by_grpc(machine: Machine) -> None:
    rendered = objects("minimal")
    pod = _pod("Deployment", "dsm-embedding", rendered)
    assert "grpc" in pod.containers[0]["readinessProbe"]
    # Its configuration but for the certificates and the secret.
    [container] = pod.containers
    held = environ(container, rendered) | {"HOME": str(machine.folder), "DSM_HOST": "127.0.0.1"}
    held |= {"DSM_PORT": str(machine.ports["embedding"]), "DSM_METRICS_PORT": "0"}
    with (machine.folder / "embedding.log").open("wb") as log:
        process = subprocess.Popen([DSM, *container["args"]], env=held, cwd=machine.folder, stderr=log)
    try:
        _await_probes(machine, ("embedding",), rendered)
    finally:
        process.terminate()
        process.wait(SECONDS)


def test_postgresql_is_verified_where_an_authority_is_named(machine: Machine) -> None:
    """A server that offers no TLS, as the one here, is refused rather than talked to in the clear."""
    rendered = objects("minimal", "postgresql.caSecret.name=ca")
    job = _pod("Job", "dsm-migrate", rendered)
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
