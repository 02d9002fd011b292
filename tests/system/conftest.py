"""A machine whose services are killed, one for all tests that do so."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.local.folder import StackState, read_state
from services.local.process import wait_until
from tests.processes import clean_environ

_LEASE_SECONDS = "2"


@pytest.fixture(scope="package")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StackState]:
    """`dsm up --processes` in a folder of its own."""
    folder = tmp_path_factory.mktemp("crash")
    environ = clean_environ()
    environ |= {"DSM_DATA_DIR": str(folder), "DSM_SPRINT_SAGA_LEASE_SECONDS": _LEASE_SECONDS}
    command = [sys.executable, "-m", "services.cli", "up", "--processes", "--port", "0", "--metrics-port", "0"]
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=Path(__file__).parents[2])
    try:
        assert wait_until(lambda: "dsm demo" in (folder / "up.log").read_text(), 60), (folder / "up.log").read_text()
        state = read_state(folder)
        assert state
        yield state
    finally:
        process.terminate()
        process.wait(30)
