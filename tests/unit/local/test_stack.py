"""The machine-local stack, with real servers: starting, finding data again, and leaving nothing behind."""

import asyncio
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nats
import psutil
import psycopg
import pytest

from services.cli import servers
from services.cli.names import STATEFUL, database_variable
from services.local import folder
from services.local.errors import StackError, failed
from services.local.nats import NatsServer
from services.local.postgres import Postgres
from services.local.process import LOOPBACK, choose_port, wait_until
from services.local.stack import running
from tests.processes import all_gone, family

REPOSITORY = Path(__file__).resolve().parents[3]
GONE_SECONDS = 10.0

# Runs the stack, says where, and waits to be killed; with `once` it leaves by itself.
RUNNER = """
import json, os, pathlib, psycopg, signal, sys
from services.local.stack import running
with running(pathlib.Path(sys.argv[1]), durable=False, postgres_port=0, nats_port=0) as stack:
    stack.postgres.ensure_database("dsm")
    with psycopg.connect(stack.postgres.url("dsm")) as connection:
        (version,) = connection.execute("SHOW server_version").fetchone()
    pids = [stack.postgres.pid, stack.nats.pid]
    print(json.dumps({"pids": pids, "version": version, "user": os.geteuid()}), flush=True)
    if sys.argv[2:] != ["once"]:
        signal.pause()
"""


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[Postgres]:
    server = Postgres.start(tmp_path / "postgres", 0, durable=False)
    yield server
    server.stop()


@pytest.fixture
def nats_server(tmp_path: Path) -> Iterator[NatsServer]:
    server = NatsServer.start(tmp_path / "nats", 0, monitor_port=0)
    yield server
    server.stop()


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(statement.encode())
        return cursor.fetchall() if cursor.description else []


def run_runner(python: list[str], data: Path, **options: object) -> "subprocess.Popen[str]":
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "HOME": str(data), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(  # type: ignore[call-overload,no-any-return]
        [*python, "-c", RUNNER, str(data), *options.pop("arguments", [])],  # type: ignore[misc]
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        **options,
    )


def test_a_second_start_finds_the_data_and_the_port_can_be_kept(postgres: Postgres) -> None:
    postgres.ensure_database("first", "second")
    postgres.ensure_database("first", "second")
    query(postgres.url("first"), "CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.stop()

    again = Postgres.start(postgres.data_dir, postgres.port, durable=False)
    try:
        assert query(again.url("first"), "SELECT answer FROM kept") == [(42,)]
    finally:
        again.stop()


def test_stop_leaves_no_process(postgres: Postgres, nats_server: NatsServer) -> None:
    processes = family(postgres.pid, nats_server.pid)
    assert len(processes) > 2
    postgres.stop()
    nats_server.stop()
    assert not postgres.running
    assert not nats_server.running
    assert wait_until(lambda: all_gone(processes), GONE_SECONDS)


def test_a_killed_parent_leaves_no_child(tmp_path: Path) -> None:
    with run_runner([sys.executable], tmp_path) as parent:
        assert parent.stdout
        processes = family(*json.loads(parent.stdout.readline())["pids"])
        parent.kill()
    assert wait_until(lambda: all_gone(processes), GONE_SECONDS)


def test_a_start_right_after_the_parent_was_killed_works(tmp_path: Path) -> None:
    with run_runner([sys.executable], tmp_path) as parent:
        assert parent.stdout
        parent.stdout.readline()
        parent.kill()
    with running(tmp_path, durable=False, postgres_port=0, nats_port=0) as stack:
        assert query(stack.postgres.url("dsm"), "SELECT 1") == [(1,)]


def test_ctrl_c_in_the_terminal_does_not_reach_the_servers(postgres: Postgres, nats_server: NatsServer) -> None:
    for pid in (postgres.pid, nats_server.pid):
        assert os.getsid(pid) == pid
        assert os.getpgid(pid) == pid


def test_a_busy_preferred_port_gives_another_and_a_busy_given_port_is_refused() -> None:
    with socket.create_server((LOOPBACK, 0)) as busy:
        port = busy.getsockname()[1]
        assert choose_port(None, port) != port
        with pytest.raises(StackError, match=str(port)):
            choose_port(port, port)
    assert choose_port(None, port) == port


def test_any_port_is_none_that_an_outgoing_connection_may_take_first() -> None:
    ephemeral = Path("/proc/sys/net/ipv4/ip_local_port_range")
    first = int(ephemeral.read_text().split()[0]) if ephemeral.exists() else 49_152
    assert max(choose_port(0, 0) for _ in range(50)) < first


def test_servers_start_beside_others_on_their_preferred_ports(tmp_path: Path) -> None:
    with running(tmp_path / "a", durable=False) as one, running(tmp_path / "b", durable=False) as other:
        ports = [one.postgres.port, one.nats.port, one.nats.monitor_port]
        ports += [other.postgres.port, other.nats.port, other.nats.monitor_port]
        assert len(set(ports)) == 6


def test_pgvector_and_trigrams_are_there(postgres: Postgres) -> None:
    query(postgres.url(), "CREATE EXTENSION vector")
    query(postgres.url(), "CREATE EXTENSION pg_trgm")
    assert query(postgres.url(), "SELECT '[1,0]'::vector <=> '[0,1]'::vector") == [(1.0,)]


@pytest.mark.parametrize("durable", [True, False])
def test_durability_settings(tmp_path: Path, durable: bool) -> None:
    server = Postgres.start(tmp_path / "postgres", 0, durable=durable)
    try:
        for setting in ("fsync", "full_page_writes"):
            assert query(server.url(), f"SHOW {setting}") == [("on" if durable else "off",)]
        assert query(server.url(), "SHOW synchronous_commit") == [("on",)]
    finally:
        server.stop()


def test_the_pid_file_of_a_dead_server_is_coped_with(postgres: Postgres) -> None:
    query(postgres.url(), "CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.kill()
    assert (postgres.data_dir / "postmaster.pid").exists()
    postgres.restart()
    assert query(postgres.url(), "SELECT answer FROM kept") == [(42,)]


def test_a_pid_file_whose_pid_belongs_to_another_program_is_coped_with(postgres: Postgres) -> None:
    postgres.kill()
    pid_file = postgres.data_dir / "postmaster.pid"
    rest = pid_file.read_text().splitlines()[1:]
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as innocent:
        pid_file.write_text("\n".join([str(innocent.pid), *rest]) + "\n")
        postgres.restart()
        assert innocent.poll() is None
        assert innocent.stdin
        innocent.stdin.close()
    assert query(postgres.url(), "SELECT 1") == [(1,)]


def test_a_crashed_server_recovers(postgres: Postgres) -> None:
    query(postgres.url(), "CREATE TABLE kept AS SELECT generate_series(1, 100000) AS n")
    postgres.stop_immediately()
    postgres.restart()
    assert query(postgres.url(), "SELECT count(*) FROM kept") == [(100000,)]


def test_an_initialisation_that_died_is_begun_anew(tmp_path: Path) -> None:
    half = tmp_path / "postgres.init"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    server = Postgres.start(tmp_path / "postgres", 0, durable=False)
    server.stop()
    assert not half.exists()


def test_a_folder_with_something_else_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "postgres" / "letters.txt"
    precious.parent.mkdir()
    precious.write_text("dear")
    with pytest.raises(StackError, match=str(precious.parent)):
        Postgres.start(precious.parent, 0, durable=False)
    assert precious.read_text() == "dear"


def test_a_path_too_long_for_a_socket_still_works(tmp_path: Path) -> None:
    server = Postgres.start(tmp_path / ("long" * 30) / "postgres", 0, durable=False)
    try:
        assert server.socket_dir is None
        assert query(server.url(), "SELECT 1") == [(1,)]
    finally:
        server.stop()


def test_the_socket_is_in_the_data_folder() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        server = Postgres.start(Path(short) / "postgres", 0, durable=False)
        try:
            assert query(f"host={server.socket_dir} port={server.port} user=postgres", "SELECT 1") == [(1,)]
        finally:
            server.stop()


def test_a_failed_start_says_what_the_log_says(tmp_path: Path) -> None:
    with pytest.raises(StackError, match="max_connections"):
        Postgres.start(tmp_path / "postgres", 0, durable=False, settings={"max_connections": "none"})


def test_a_full_disk_is_named_wherever_the_log_says_so(tmp_path: Path) -> None:
    logged = "\n".join(["FATAL: could not write: No space left on device", *["noise"] * 50])
    message = str(failed("It did not start", logged, tmp_path))
    assert "disk is full" in message
    assert "\n" not in message


def test_two_servers_on_one_folder_are_refused(postgres: Postgres, nats_server: NatsServer) -> None:
    with pytest.raises(StackError, match=str(postgres.pid)):
        Postgres.start(postgres.data_dir, 0, durable=False)
    with pytest.raises(StackError, match=str(nats_server.pid)):
        NatsServer.start(nats_server.store_dir, 0, monitor_port=0)
    assert postgres.running
    assert nats_server.running


def test_two_stacks_on_one_folder_are_refused_with_the_holder_named(tmp_path: Path) -> None:
    with run_runner([sys.executable], tmp_path) as parent:
        assert parent.stdout
        parent.stdout.readline()
        with pytest.raises(StackError, match=f"process {parent.pid}"), running(tmp_path, durable=False):
            pass
        parent.terminate()


def test_the_lock_is_free_again_afterwards(tmp_path: Path) -> None:
    for _ in range(2):
        with folder.locked(tmp_path), pytest.raises(StackError, match=str(os.getpid())), folder.locked(tmp_path):
            pass


def test_the_state_is_read_while_its_process_lives(tmp_path: Path) -> None:
    assert folder.read_state(tmp_path) is None
    written = folder.write_state(tmp_path, {"postgres": 5432}, {"nats": "nats://127.0.0.1:4222"})
    assert folder.read_state(tmp_path) == written
    assert written.pid == os.getpid()
    folder.remove_state(tmp_path)
    folder.remove_state(tmp_path)
    assert folder.read_state(tmp_path) is None


@pytest.mark.parametrize("change", [{"pid": 2**22 + 1}, {"process_created": 1.0}, {"surprise": 1}])
def test_a_stale_state_is_no_state(tmp_path: Path, change: dict[str, object]) -> None:
    folder.write_state(tmp_path, {}, {})
    path = tmp_path / "stack.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert folder.read_state(tmp_path) is None


def test_an_acknowledged_message_survives_a_killed_server(nats_server: NatsServer) -> None:
    asyncio.run(publish(nats_server.url, b"kept"))
    nats_server.kill()
    assert not nats_server.running
    nats_server.restart()
    assert asyncio.run(last_message(nats_server.url)) == b"kept"


def test_a_deleted_store_is_made_again(nats_server: NatsServer) -> None:
    nats_server.kill()
    shutil.rmtree(nats_server.store_dir)
    nats_server.restart()
    asyncio.run(publish(nats_server.url, b"new"))
    assert asyncio.run(last_message(nats_server.url)) == b"new"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else; this run is an ordinary user's")
@pytest.mark.parametrize("how", ["nobody", "namespace"])
def test_it_runs_as_an_ordinary_user(how: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        if how == "nobody":
            nobody = pwd.getpwnam("nobody")
            os.chown(home, nobody.pw_uid, nobody.pw_gid)
            wrapper, options = [], {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        else:  # An ordinary user in all but the owner of the files: reaches an interpreter in root's home, too.
            wrapper, options = ["unshare", "--user", "--map-user=65534", "--map-group=65534"], {}
        try:
            usable = subprocess.run([*wrapper, sys.executable, "-c", "import psutil, psycopg"], **options, check=False)  # type: ignore[call-overload]
        except PermissionError:
            usable = None
        if usable is None or usable.returncode != 0:
            pytest.skip(f"{sys.executable} cannot be run by an ordinary user made by {how}")
        with run_runner([*wrapper, sys.executable], Path(home), arguments=["once"], **options) as runner:
            answer = json.loads(runner.communicate(timeout=60)[0])
        assert answer["user"] == 65534
        assert answer["version"].startswith("18.")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to nobody")
def test_as_root_without_namespaces_it_runs_as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")  # No `unshare` is found, as on a machine without it.
    with tempfile.TemporaryDirectory(dir="/tmp") as home:
        data_dir = Path(home) / "postgres"
        with pytest.raises(StackError, match="nobody"):
            Postgres.start(data_dir, 0, durable=False)
        Path(home).chmod(0o755)
        server = Postgres.start(data_dir, 0, durable=False)
        try:
            assert psutil.Process(server.pid).uids().effective == pwd.getpwnam("nobody").pw_uid
        finally:
            server.stop()
        monkeypatch.undo()
        again = Postgres.start(data_dir, 0, durable=False)
        again.stop()


def test_a_signal_to_the_parent_during_the_start_leaves_no_child(tmp_path: Path) -> None:
    with run_runner([sys.executable], tmp_path) as parent:
        assert wait_until(lambda: bool(psutil.Process(parent.pid).children()), GONE_SECONDS)
        children = psutil.Process(parent.pid).children(recursive=True)
        parent.send_signal(signal.SIGINT)
    assert wait_until(lambda: all_gone(children), GONE_SECONDS)


async def publish(url: str, data: bytes) -> None:
    client = await nats.connect(url)
    stream = client.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept"])
    await stream.publish("kept", data)
    await client.close()


async def last_message(url: str) -> bytes | None:
    client = await nats.connect(url)
    message = await client.jetstream().get_last_msg("KEPT", "kept")
    await client.close()
    return message.data


@pytest.mark.parametrize("durable", [True, False])
def test_what_the_stream_acknowledges_is_on_disk(tmp_path: Path, durable: bool) -> None:
    """JetStream's own default syncs every two minutes: a power cut would lose what was acknowledged since."""
    server = NatsServer.start(tmp_path / "nats", 0, monitor_port=0, durable=durable)
    try:
        assert bool(_jetstream_config(server).get("sync_always")) is durable
    finally:
        server.stop()


def test_what_dsm_up_starts_is_durable(tmp_path: Path) -> None:
    elsewhere = {database_variable(name): "postgresql://nowhere" for name in STATEFUL}
    with servers.running(tmp_path, elsewhere) as started:
        assert started.nats
        assert _jetstream_config(started.nats)["sync_always"]


def _jetstream_config(server: NatsServer) -> dict[str, object]:
    with urllib.request.urlopen(f"{server.monitor_url}/jsz", timeout=10) as answer:
        config: dict[str, object] = json.load(answer)["config"]
    return config
