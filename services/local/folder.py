"""The data folder's lock and its state file: who runs the stack here, and where to reach it."""

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil

from services.local.errors import StackError, advice

_LOCK = "lock"
_STATE = "stack.json"
_CREATE_TIME_TOLERANCE = 2.0  # seconds; the system derives it from a boot time that moves with the clock


@dataclass(frozen=True)
class StackState:
    """What a running stack tells `dsm down` and `dsm status`."""

    pid: int
    process_created: float
    started_at: str
    ports: Mapping[str, int]
    urls: Mapping[str, str]

    @property
    def alive(self) -> bool:
        """Whether the very process that wrote this still runs; its id may belong to another one since."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.process_created) < _CREATE_TIME_TOLERANCE
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process alone; the lock goes with the process, however it dies.

    Raises StackError naming the process that holds it. Servers started meanwhile do not inherit it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StackError(f"The folder {folder} cannot be used ({error}). {advice(str(error))}") from error
    try:
        _take(handle, folder)
        yield
        os.truncate(handle, 0)
    finally:
        os.close(handle)


def write_state(folder: Path, ports: Mapping[str, int], urls: Mapping[str, str]) -> StackState:
    """Says that this process runs the stack of the folder. A reader sees the old file or the new one, never half."""
    me = psutil.Process()
    state = StackState(me.pid, me.create_time(), datetime.now(UTC).isoformat(), dict(ports), dict(urls))
    handle, temporary = tempfile.mkstemp(dir=folder, prefix=_STATE)
    with os.fdopen(handle, "w") as file:
        json.dump(asdict(state), file, indent=2)
    os.replace(temporary, folder / _STATE)
    return state


def read_state(folder: Path) -> StackState | None:
    """Reads who runs the stack of the folder; None if nobody does, also when its process died without saying so."""
    try:
        state = StackState(**json.loads((folder / _STATE).read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return state if state.alive else None


def remove_state(folder: Path) -> None:
    """Says that nobody runs the stack of the folder any more."""
    (folder / _STATE).unlink(missing_ok=True)


def _take(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 32, 0).decode().strip()
        who = f"process {holder}" if holder else "another process"
        raise StackError(f"{folder} is in use by {who}: stop it (`dsm down`) or choose another folder.") from None
    os.truncate(handle, 0)
    os.pwrite(handle, str(os.getpid()).encode(), 0)
