"""`dsm up` and its neighbours as people run them: real processes, real servers, signals."""

import json
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from dsm.project.v1 import project_pb2, project_service_pb2

from services.cli.client import connect
from services.cli.names import DEFAULT_PORT, SERVICES
from services.local.folder import StackState, read_state
from services.local.nats import NatsServer
from services.local.postgres import Postgres
from services.local.process import LOOPBACK, choose_port, wait_until
from tests.processes import alive, all_gone, clean_environ, family

pytestmark = pytest.mark.slow

REPOSITORY = Path(__file__).resolve().parents[2]
DSM = [sys.executable, "-m", "services.cli"]
START_SECONDS = 60.0
GONE_SECONDS = 15.0


def environ(folder: Path, **settings: str) -> dict[str, str]:
    """An environment without the caller's own settings of DSM."""
    kept = clean_environ()
    return kept | {"PYTHONPATH": str(REPOSITORY), "DSM_DATA_DIR": str(folder)} | settings


def dsm(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    """Run a command to its end."""
    return subprocess.run(
        [*DSM, *arguments],
        env=environ(folder, **settings),
        capture_output=True,
        text=True,
        timeout=START_SECONDS,
        check=False,
    )


@contextmanager
def running(folder: Path, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """`dsm up` in the foreground, ready; killed at the end if it still runs."""
    command = [*DSM, "up", *arguments]
    with subprocess.Popen(
        command, env=environ(folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        try:
            assert process.stdout
            told = []
            for line in process.stdout:
                told.append(line)
                if "dsm demo" in line:
                    break
            else:
                pytest.fail("".join(told))
            yield process
        finally:
            process.kill()


def state_of(folder: Path) -> StackState:
    """Who runs in a folder; somebody must."""
    state = read_state(folder)
    assert state
    return state


def assert_ready(folder: Path) -> None:
    """Wait until every service takes calls; tells what does not, if it never comes to that."""
    told: list[str] = []

    def ready() -> bool:
        status = dsm(folder, "status")
        told.append(status.stdout + status.stderr)
        return status.returncode == 0

    assert wait_until(ready, START_SECONDS), told[-1]


def one_sentence(result: "subprocess.CompletedProcess[str]") -> str:
    """What a command said that could not do what it was asked: one line, no traceback."""
    assert result.returncode == 1, result
    assert result.stdout == ""
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The URLs of a PostgreSQL and a NATS that `dsm up` did not start."""
    folder = tmp_path_factory.mktemp("outside")
    postgres = Postgres.start(folder / "postgres", 0, durable=False)
    nats = NatsServer.start(folder / "nats", 0, monitor_port=0, durable=False)
    yield postgres.url(), nats.url
    nats.stop()
    postgres.stop()


def test_from_start_to_ctrl_c(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        processes = family(process.pid)
        status = dsm(tmp_path, "status", "--json")
        assert status.returncode == 0, status
        told = json.loads(status.stdout)
        assert told["ready"]
        assert {service["service"] for service in told["services"]} == set(SERVICES)
        assert "yes" in dsm(tmp_path, "status").stdout

        metrics = state_of(tmp_path).urls["metrics.project"]
        with urllib.request.urlopen(metrics) as answer:
            assert b"dsm_calls" in answer.read()

        assert str(process.pid) in one_sentence(dsm(tmp_path, "up"))

        process.send_signal(signal.SIGINT)
        assert process.wait(GONE_SECONDS) == 0
    assert wait_until(lambda: all_gone(processes), GONE_SECONDS)
    assert read_state(tmp_path) is None
    down = dsm(tmp_path, "down")
    assert down.returncode == 0
    assert str(tmp_path) in down.stdout


def test_a_second_start_finds_the_data_and_events_tell_of_it(tmp_path: Path) -> None:
    request = project_service_pb2.CreateProjectRequest(
        project=project_pb2.Project(project_id="KEPT-1", name="Kept", status=project_pb2.PROJECT_STATUS_ACTIVE)
    )
    assert dsm(tmp_path, "up", "--detach").returncode == 0
    with connect(data=tmp_path) as client:
        client.project.CreateProject(request)
    tail = dsm(tmp_path, "events", "tail", "project.*", "--since", "1h", "--count", "1", "--json")
    assert json.loads(tail.stdout)["project_created"]["project"]["project_id"] == "KEPT-1"
    processes = family(state_of(tmp_path).pid)
    assert dsm(tmp_path, "down").returncode == 0
    assert all_gone(processes)

    assert dsm(tmp_path, "up", "--detach").returncode == 0
    with connect(data=tmp_path) as client:
        answer = client.project.GetProject(project_service_pb2.GetProjectRequest(project_id="KEPT-1"))
        assert answer.project.name == "Kept"
    assert "KEPT-1" in dsm(tmp_path, "events", "tail", "--since", "1h", "--no-follow").stdout
    assert dsm(tmp_path, "migrate", "--check").returncode == 0
    assert dsm(tmp_path, "down").returncode == 0


def test_kill_9_leaves_no_process(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        processes = family(process.pid)
        assert len(processes) > 3
        process.kill()
    assert wait_until(lambda: all_gone(processes), GONE_SECONDS)
    # What it left behind must not stop the next one.
    with running(tmp_path) as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(GONE_SECONDS) == 0


def test_a_process_per_service(tmp_path: Path) -> None:
    with running(tmp_path, "--processes") as process:
        assert len(set(state_of(tmp_path).ports.values())) == len(SERVICES)
        assert dsm(tmp_path, "status").returncode == 0
        processes = family(process.pid)
        (project,) = [child for child in processes[1:] if child.cmdline()[-2:] == ["serve", "project"]]
        project.kill()
        assert wait_until(lambda: serves(process.pid, "project"), GONE_SECONDS)
        assert_ready(tmp_path)

        processes = family(process.pid)
        process.kill()
    assert wait_until(lambda: all_gone(processes), GONE_SECONDS)


def serves(parent: int, service: str) -> bool:
    """Whether a living child runs the service."""
    children = filter(alive, psutil.Process(parent).children())
    return any(child.cmdline()[-2:] == ["serve", service] for child in children)


def test_servers_that_die_come_back(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        for name in ("postgres", "nats-server"):
            (server,) = [child for child in psutil.Process(process.pid).children() if child.name() == name]
            server.kill()
            server.wait(GONE_SECONDS)
        assert_ready(tmp_path)
        process.send_signal(signal.SIGTERM)
        assert process.wait(GONE_SECONDS) == 0


def test_outside_servers_and_busy_ports(tmp_path: Path, outside: tuple[str, str]) -> None:
    postgres_url, nats_url = outside
    with socket.create_server((LOOPBACK, choose_port(None, DEFAULT_PORT))) as busy:
        taken = busy.getsockname()[1]
        servers = ("--postgres-url", postgres_url, "--nats-url", nats_url)
        assert str(taken) in one_sentence(dsm(tmp_path, "up", "--port", str(taken), *servers))
        with running(tmp_path, *servers) as process:
            state = state_of(tmp_path)
            assert DEFAULT_PORT not in state.ports.values()
            assert (state.urls["postgres"], state.urls["nats"]) == outside
            assert psutil.Process(process.pid).children() == []
            assert dsm(tmp_path, "status").returncode == 0


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DSM_POOL_SIZE", "many"),
        ("DSM_NONSENSE", "1"),
        ("DSM_POSTGRES_URL", "postgresql://nobody@127.0.0.1:1"),
        ("DSM_DATA_DIR", "/proc/nowhere"),
    ],
)
def test_a_bad_setting_is_one_sentence(tmp_path: Path, outside: tuple[str, str], variable: str, value: str) -> None:
    settings = {"DSM_POSTGRES_URL": outside[0], "DSM_NATS_URL": outside[1], variable: value}
    told = one_sentence(dsm(tmp_path, "up", **settings))
    assert variable in told or value in told


def test_serve_tells_what_is_missing(tmp_path: Path) -> None:
    assert "DSM_PROJECT_DATABASE_URL" in one_sentence(dsm(tmp_path, "serve", "project"))
    assert "nonsense" in one_sentence(dsm(tmp_path, "serve", "nonsense"))


def test_nobody_answers(tmp_path: Path) -> None:
    assert f"{LOOPBACK}:1" in one_sentence(dsm(tmp_path, "status", "--target", f"{LOOPBACK}:1"))
    assert "14222" in one_sentence(dsm(tmp_path, "events", "tail", "--nats-url", f"nats://{LOOPBACK}:14222"))


def test_doctor(tmp_path: Path) -> None:
    result = dsm(tmp_path, "doctor", "--json")
    assert result.returncode == 0, result
    found = {finding["check"]: finding["outcome"] for finding in json.loads(result.stdout)}
    assert {"Python", "Packages", "Data folder", "Disk space", "PostgreSQL", "NATS"} <= set(found)
    assert "fail" not in found.values()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; this run is an ordinary user's")
@pytest.mark.parametrize("how", ["nobody", "namespace"])
def test_it_runs_as_an_ordinary_user(how: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        wrapper, become = ["unshare", "--user", "--map-user=65534", "--map-group=65534"], {}
        if how == "nobody":
            nobody = pwd.getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
            wrapper, become = [], {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}

        def as_user(*command: str) -> "subprocess.CompletedProcess[str]":
            return subprocess.run(  # type: ignore[call-overload,no-any-return]
                [*wrapper, *command],
                env=environ(Path(home) / "data", HOME=home),
                cwd="/",
                capture_output=True,
                text=True,
                check=False,
                **become,
            )

        try:
            usable = as_user(sys.executable, "-c", "import psutil").returncode == 0
        except PermissionError:
            usable = False
        if not usable:
            pytest.skip(f"{sys.executable} cannot be run by an ordinary user made by {how}")
        for command in (["up", "--detach"], ["status"], ["down"]):
            done = as_user(*DSM, *command)
            assert done.returncode == 0, done
