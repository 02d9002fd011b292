"""Migrations in operation: several at once, blocked, killed, newer and older than the code; on real PostgreSQL."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import psycopg
import pytest
from dsm.backlog.v1 import backlog_service_pb2 as backlog_pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.common.v1 import status_service_pb2 as status_pb
from dsm.common.v1.status_service_pb2_grpc import StatusServiceStub
from dsm.project.v1 import project_service_pb2 as project_pb
from dsm.project.v1.project_pb2 import Project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from typer.testing import CliRunner, Result

from services.cli.errors import CliError
from services.cli.main import app, load
from services.kit.data import migrate
from services.kit.data.migrate import MigrationError, head_revision, revisions, upgrade
from services.kit.status import error_info
from services.local.process import wait_until
from services.local.stack import Stack
from tests.harness import STATEFUL, World, eventually
from tests.processes import clean_environ

load(())
_FIRST = "CREATE TABLE thing (id bigint CONSTRAINT thing_pkey PRIMARY KEY); INSERT INTO thing VALUES (1)"


@pytest.fixture
def url(stack: Stack, request: pytest.FixtureRequest) -> str:
    """An empty database for each test."""
    name = f"it_{abs(hash(request.node.name)):x}"
    stack.postgres.ensure_database(name)
    return stack.postgres.url(name)


@pytest.fixture
def steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replaces the histories by one of the test's own: each step is the body of its `upgrade`, and constants."""
    monkeypatch.setattr(migrate, "history", lambda _: tmp_path)

    def write(*bodies: str, **constants: str) -> None:
        for number, body in enumerate(bodies, start=1):
            before = f'"{number - 1:04}"' if number > 1 else "None"
            named = constants.get(f"_{number:04}", "")
            text = f'from alembic import op\nrevision = "{number:04}"\ndown_revision = {before}\n{named}\n'
            (tmp_path / f"{number:04}_step.py").write_text(f"{text}def upgrade():\n    {body}\n")

    return write


def _sql(statement: str) -> str:
    return f"op.execute({statement!r})"


def _at(url: str) -> str:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
        return str(row and row[0])


def _dsm(monkeypatch: pytest.MonkeyPatch, url: str, *words: str) -> Result:
    monkeypatch.setenv("DSM_PROJECT_DATABASE_URL", url)
    return CliRunner().invoke(app, ["migrate", "--service", "project", *words])


@contextmanager
def _migrating(url: str) -> Iterator[subprocess.Popen[str]]:
    """A `dsm migrate` in a process of its own."""
    environ = clean_environ()
    command = [sys.executable, "-m", "services.cli", "migrate", "--service", "project"]
    process = subprocess.Popen(
        command,
        env=environ | {"DSM_PROJECT_DATABASE_URL": url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _await_activity(url: str, condition: str, least: int = 1) -> None:
    """Wait until so many connections to the database are in some state."""
    sql = f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND ({condition})"
    with psycopg.connect(url, autocommit=True) as connection:

        def there() -> bool:
            row = connection.execute(sql).fetchone()
            return bool(row and row[0] >= least)

        assert wait_until(there, 120)


@pytest.mark.parametrize("service", STATEFUL)
def test_a_second_time_changes_nothing(stack: Stack, service: str) -> None:
    stack.postgres.ensure_database(f"twice_{service}")
    for _ in range(2):
        upgrade(service, stack.postgres.url(f"twice_{service}"))
    assert _at(stack.postgres.url(f"twice_{service}")) == head_revision(service)


def test_several_processes_at_once_take_turns(url: str) -> None:
    # None begins before all of them are there.
    with psycopg.connect(url, autocommit=True) as turn:
        turn.execute("SELECT pg_advisory_lock(6583150)")
        with _migrating(url) as one, _migrating(url) as two, _migrating(url) as three:
            _await_activity(url, "pid <> pg_backend_pid()", least=4)
            turn.execute("SELECT pg_advisory_unlock(6583150)")
            for process in (one, two, three):
                told, _ = process.communicate(timeout=60)
                assert process.returncode == 0, told
    assert _at(url) == head_revision("project")


def test_a_killed_one_leaves_nothing_half_done(url: str) -> None:
    upgrade("project", url, "0001")
    with psycopg.connect(url) as blocking:
        blocking.execute("SELECT FROM employee")
        with _migrating(url) as process:
            _await_activity(url, "wait_event_type = 'Lock'")
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert _at(url) == "0001"
    upgrade("project", url)
    assert _at(url) == head_revision("project")


def test_a_blocked_one_ends_with_a_sentence_and_may_be_repeated(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade("project", url, "0001")
    with psycopg.connect(url) as blocking:
        blocking.execute("SELECT FROM employee")
        blocked = _dsm(monkeypatch, url, "--lock-timeout", "0.2")
        assert blocked.exit_code == 1
        assert isinstance(blocked.exception, MigrationError)
    assert _at(url) == "0001"
    assert _dsm(monkeypatch, url).exit_code == 0


def test_a_long_statement_ends_with_a_sentence(url: str, steps: Callable[..., None]) -> None:
    steps(_sql(_FIRST), _sql("SELECT pg_sleep(60)"))
    with pytest.raises(MigrationError):
        upgrade("project", url, statement_seconds=0.2)
    # What was done before it stays.
    assert _at(url) == "0001"


def test_a_wrong_statement_ends_with_a_sentence(url: str, steps: Callable[..., None]) -> None:
    steps(_sql(_FIRST), _sql("ALTER TABLE thing ADD COLUMN one int; ALTER TABLE nothing ADD COLUMN two int"))
    with pytest.raises(MigrationError):
        upgrade("project", url)
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.UndefinedColumn):
        connection.execute("SELECT one FROM thing")


def test_an_index_may_be_made_concurrently(url: str, steps: Callable[..., None]) -> None:
    block = "with op.get_context().autocommit_block(): op.execute('CREATE INDEX CONCURRENTLY thing_idx ON thing (id)')"
    steps(_sql(_FIRST), block)
    upgrade("project", url)
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = 'thing_idx'::regclass").fetchone()
    assert row == (True,)
    assert _at(url) == "0002"


def test_one_goes_forward_only(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _dsm(monkeypatch, url, "--to", "0001").exit_code == 0
    behind = _dsm(monkeypatch, url, "--check", "--json")
    assert behind.exit_code == 1
    [told] = json.loads(behind.stdout)
    head = head_revision("project")
    behind_by = len(revisions("project")) - 1
    assert told == {"service": "project", "revision": "0001", "head": head, "behind": behind_by, "state": "behind"}
    assert _dsm(monkeypatch, url, "--check", "--to", "0001").exit_code == 0
    assert _dsm(monkeypatch, url).exit_code == 0
    assert _dsm(monkeypatch, url, "--check").exit_code == 0
    assert isinstance(_dsm(monkeypatch, url, "--to", "0001").exception, MigrationError)
    assert _at(url) == head


@pytest.mark.parametrize("words", [("--to", "0001"), ("--service", "backlog", "--to", "0001"), ("--to", "9999")])
def test_a_revision_is_of_one_service_and_known(
    url: str, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DSM_PROJECT_DATABASE_URL", url)
    named = () if words == ("--to", "0001") else ("--service", "project")
    assert isinstance(CliRunner().invoke(app, ["migrate", *named, *words]).exception, CliError)


def test_old_code_leaves_a_newer_database_alone(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    upgrade("project", url)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    checked = _dsm(monkeypatch, url, "--check", "--json")
    assert checked.exit_code == 0
    assert [it["state"] for it in json.loads(checked.stdout)] == ["newer"]
    assert isinstance(_dsm(monkeypatch, url).exception, MigrationError)
    with pytest.raises(MigrationError):
        upgrade("project", url)
    assert _at(url) == "9999"


def test_a_migration_says_what_code_it_needs(
    url: str, steps: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    steps(_sql(_FIRST), _sql("ALTER TABLE thing ADD COLUMN one int"), _0002='least_code = "0002"')
    upgrade("project", url)
    # The code of this version knows it; that of the first does not.
    assert _dsm(monkeypatch, url, "--check").exit_code == 0
    monkeypatch.setattr(migrate, "revisions", lambda _: ["0001"])
    checked = _dsm(monkeypatch, url, "--check", "--json")
    assert checked.exit_code == 1
    assert [it["state"] for it in json.loads(checked.stdout)] == ["too new"]


@contextmanager
def _set(url: str, sql: str) -> Iterator[None]:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(sql)
        yield


async def test_a_service_neither_answers_nor_consumes_while_the_schema_is_not_its_own(world: World) -> None:
    await world.start("project", "backlog")
    projects = ProjectServiceStub(await world.channel("project"))
    backlog = BacklogServiceStub(await world.channel("backlog"))
    url = world.stack.postgres.url("dsm_backlog")
    too_new = (
        "ALTER TABLE alembic_version ADD COLUMN least_code text NOT NULL DEFAULT ''; "
        "UPDATE alembic_version SET version_num = '9999', least_code = '9999'"
    )
    with _set(url, too_new):
        listing = backlog_pb.ListTasksRequest(project_id="LATER")
        await eventually(lambda: _unavailable(backlog.ListTasks(listing)))
        status = StatusServiceStub(await world.channel("backlog"))
        told = (await status.GetStatus(status_pb.GetStatusRequest())).services[0]
        assert not told.ready
        assert told.database.migration_revision == "9999"
        await projects.CreateProject(
            project_pb.CreateProjectRequest(project=Project(project_id="LATER", name="Later", time_zone="UTC"))
        )
    with _set(url, f"UPDATE alembic_version SET version_num = '{head_revision('backlog')}', least_code = ''"):
        await eventually(
            lambda: world.query("backlog", "SELECT project_id FROM project_state WHERE project_id = 'LATER'")
        )
    assert await world.query("backlog", "SELECT * FROM dead_letter") == []


async def _unavailable(call: Awaitable[object]) -> bool:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        info = error_info(error)
        return bool(info and info.reason == "DATABASE_UNAVAILABLE")
    return False
