"""`dsm doctor`: whether this machine can run DSM, and what to do where it cannot."""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib import import_module
from pathlib import Path

import psutil
import typer
from rich.text import Text

from services.cli.data import DataOption, data_folder
from services.cli.names import DEFAULT_METRICS_PORT, DEFAULT_PORT
from services.cli.output import JsonOption, err, out, print_json, table
from services.local import nats, postgres
from services.local.errors import StackError
from services.local.folder import read_state
from services.local.process import ON_LINUX, port_is_free

_GIGABYTE = 1024**3
_DISK_WARN = 1 * _GIGABYTE
_DISK_FAIL = _GIGABYTE // 5
_MEMORY_WARN = _GIGABYTE // 2  # DSM with its servers takes less than this.
# Those that bring code for one platform, or must fit each other.
_NATIVE = ("grpc", "dsm.events.v1.event_pb2", "protovalidate", "psycopg", "uvloop", "onnxruntime", "tokenizers")


class Outcome(StrEnum):
    """What a check found. WARN = DSM runs, but read on; FAIL = it does not run."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One check: what was found, and what to do unless it is ok."""

    check: str
    outcome: Outcome
    found: str
    advice: str = ""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(data: DataOption = None, as_json: JsonOption = False) -> None:
    """Check whether this machine can run DSM; exit code 1 if it cannot."""
    folder = data_folder(data)
    findings: list[Finding] = []
    with err.status("Checking …"):
        for check in (_python, _packages, _folder, _disk, _memory, _kernel, _ports, _postgres, _nats):
            findings += check(folder)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        _show(findings)
    if any(finding.outcome is Outcome.FAIL for finding in findings):
        raise typer.Exit(1)


def _show(findings: list[Finding]) -> None:
    styles = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "bold red"}
    rows = [(it.check, Text(it.outcome, style=styles[it.outcome]), it.found) for it in findings]
    out.print(table("", ["Check", "", "Found"], rows))
    for it in findings:
        if it.advice:
            out.print(Text(f"{it.check}: {it.advice}", style=styles[it.outcome]), soft_wrap=True)


def _python(_: Path) -> Iterator[Finding]:
    outcome = Outcome.OK if sys.version_info >= (3, 11) else Outcome.FAIL
    advice = "" if outcome is Outcome.OK else "Install Python 3.11 or newer and make the environment anew."
    yield Finding("Python", outcome, f"{platform.python_version()} on {platform.system()} {platform.machine()}", advice)


def _packages(_: Path) -> Iterator[Finding]:
    broken = []
    for name in _NATIVE:
        try:
            import_module(name)
        except Exception as error:
            broken.append(f"{name} ({error})")
    if broken:
        yield Finding("Packages", Outcome.FAIL, ", ".join(broken), "Install the packages again: `pip install dsm`.")
    else:
        yield Finding("Packages", Outcome.OK, f"{len(_NATIVE)} native packages load")


def _folder(folder: Path) -> Iterator[Finding]:
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"dsm")
    except OSError as error:
        advice = "Choose another one with --data or DSM_DATA_DIR, or mend its permissions."
        yield Finding("Data folder", Outcome.FAIL, f"{folder}: {error.strerror}", advice)
    else:
        yield Finding("Data folder", Outcome.OK, f"{folder} can be written")


def _disk(folder: Path) -> Iterator[Finding]:
    if folder.exists():
        free = shutil.disk_usage(folder).free
        advice = "Free some space, or choose a folder on another disk with --data."
        yield _least("Disk space", free, _DISK_WARN, _DISK_FAIL, advice)


def _memory(_: Path) -> Iterator[Finding]:
    yield _least("Memory", psutil.virtual_memory().available, _MEMORY_WARN, 0, "Stop something else: DSM may be slow.")


def _least(check: str, free: int, warn: int, fail: int, advice: str) -> Finding:
    outcome = Outcome.FAIL if free < fail else Outcome.WARN if free < warn else Outcome.OK
    return Finding(check, outcome, f"{free / _GIGABYTE:.1f} GB free", "" if outcome is Outcome.OK else advice)


def _kernel(_: Path) -> Iterator[Finding]:
    """PostgreSQL refuses root; the embedded one then needs a user namespace or the user nobody."""
    if not ON_LINUX:
        advice = "If `dsm up` is killed outright, PostgreSQL and NATS stop at the next start only."
        yield Finding("Kernel", Outcome.WARN, f"{platform.system()} has no parent-death signal", advice)
    if os.geteuid() != 0:
        yield Finding("User", Outcome.OK, "an ordinary user")
        return
    unshare = shutil.which("unshare")
    if unshare and subprocess.run([unshare, "--user", "true"], capture_output=True, check=False).returncode == 0:
        yield Finding("User", Outcome.OK, "root, and PostgreSQL can run in a user namespace")
        return
    advice = "PostgreSQL runs as `nobody`, who must be able to enter the data folder; better start as an ordinary user."
    yield Finding("User", Outcome.WARN, "root without user namespaces", advice)


def _ports(folder: Path) -> Iterator[Finding]:
    if state := read_state(folder):
        yield Finding("Ports", Outcome.OK, f"in use by the DSM that runs here (process {state.pid})")
        return
    wanted = {
        "gRPC": DEFAULT_PORT,
        "metrics": DEFAULT_METRICS_PORT,
        "PostgreSQL": postgres.DEFAULT_PORT,
        "NATS": nats.DEFAULT_PORT,
    }
    busy = [f"{port} ({what})" for what, port in wanted.items() if not port_is_free(port)]
    if busy:
        advice = "`dsm up` takes other ports and tells which."
        yield Finding("Ports", Outcome.WARN, f"{', '.join(busy)} taken by another program", advice)
    else:
        yield Finding("Ports", Outcome.OK, ", ".join(map(str, wanted.values())) + " are free")


def _postgres(_: Path) -> Iterator[Finding]:
    yield _trial("PostgreSQL", lambda folder: postgres.Postgres.start(folder / "postgres", 0, durable=False))


def _nats(_: Path) -> Iterator[Finding]:
    yield _trial("NATS", lambda folder: nats.NatsServer.start(folder / "nats", 0, monitor_port=0, durable=False))


def _trial(name: str, start: Callable[[Path], postgres.Postgres | nats.NatsServer]) -> Finding:
    """Starts a server in a folder of its own, and stops it again."""
    with tempfile.TemporaryDirectory(prefix="dsm-doctor-") as folder:
        began = time.monotonic()
        try:
            start(Path(folder)).stop()
        except StackError as error:
            return Finding(name, Outcome.FAIL, "it does not start", str(error))
        return Finding(name, Outcome.OK, f"starts and stops, {time.monotonic() - began:.1f} s")
