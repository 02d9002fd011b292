"""Child processes that do not outlive the process that started them, and the ports they listen on."""

import ctypes
import os
import platform
import secrets
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import psutil

from services.local.errors import StackError

LOOPBACK = "127.0.0.1"
ON_LINUX = platform.system() == "Linux"
# Below those that systems give to outgoing connections, of which one could take a port between its choice and its use.
_ANY_PORTS = range(20_000, 32_000)
_POLL_SECONDS = 0.01
_LOG_KEEP_BYTES = 8 * 1024 * 1024
_LOG_READ_BYTES = 64 * 1024
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>


@dataclass(frozen=True)
class Identity:
    """Who a child runs as: a command that it is wrapped in, or another user. Empty means: as we do."""

    prefix: tuple[str, ...] = ()
    user: int | None = None
    group: int | None = None


def spawn(
    command: Sequence[str | Path],
    *,
    log_file: Path,
    on_parent_death: signal.Signals,
    identity: Identity | None = None,
    env: Mapping[str, str] | None = None,
) -> "subprocess.Popen[bytes]":
    """Starts a child that logs to a file and gets `on_parent_death` when this process dies, however it dies.

    Call it from the main thread or from one that lives as long as the child shall: Linux ties the parent-death signal
    to the *thread* that forked. Other systems have no such signal; there the next start deals with an orphan.
    The child has a session of its own, so that Ctrl-C in the terminal reaches this process only, which then drains
    its work before it takes the servers away.
    """
    identity = identity or Identity()
    try:
        with open_log(log_file) as log:
            return subprocess.Popen(
                [*identity.prefix, *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=env,
                user=identity.user,
                group=identity.group,
                extra_groups=None if identity.user is None else [],
                start_new_session=True,
                preexec_fn=_signal_when_parent_dies(on_parent_death),
            )
    except (OSError, subprocess.SubprocessError) as error:
        raise StackError(f"{command[0]} cannot be started ({error}): check its permissions and {log_file}.") from error


def stop(process: "subprocess.Popen[bytes]", steps: Iterable[tuple[signal.Signals, float]]) -> None:
    """Sends each signal in turn, giving the child that many seconds to leave, and in the end kills it."""
    for signum, grace in steps:
        if process.poll() is not None:
            return
        process.send_signal(signum)
        try:
            process.wait(grace)
            return
        except subprocess.TimeoutExpired:
            continue
    process.kill()
    process.wait()


def wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    """Polls a condition until it holds; false when `timeout` seconds pass without it."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def choose_port(port: int | None, prefer: int, taken: Iterable[int] = ()) -> int:
    """Chooses a port on the loopback: the given one; with None the preferred one if free, else any; with 0 any.

    Raises StackError if the given one is busy. Ports in `taken` are passed over: they are promised to somebody.
    """
    if port:
        if not port_is_free(port):
            raise StackError(f"Port {port} is taken by another program: stop that one or choose another port.")
        return port
    if port is None and prefer not in taken and port_is_free(prefer):
        return prefer
    while (found := _any_free_port()) in taken:
        pass
    return found


def port_is_free(port: int) -> bool:
    """Tells whether a server can listen on this port of the loopback now."""
    with socket.socket() as probe:
        # As the servers do: connections that are still in TIME_WAIT do not make a port busy.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
            return True
        except OSError:
            return False


def log_end(log_file: Path) -> int:
    """Gives the size of the log in bytes, to tell later what was written after now."""
    return log_file.stat().st_size if log_file.exists() else 0


def logged_since(log_file: Path, since: int) -> str:
    """Gives what was written to the log after the byte `since`, at most the last part of it."""
    end = log_end(log_file)
    if not end:
        return ""
    with log_file.open("rb") as log:
        log.seek(max(since if since <= end else 0, end - _LOG_READ_BYTES))  # A start may have begun a new log.
        return log.read().decode(errors="replace")


def processes_named(name: str, belongs: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    """Finds the living processes of that name for which `belongs` holds; those we may not look into are left out."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.name() == name and process.status() != psutil.STATUS_ZOMBIE and belongs(process):
                found.append(process)
        except psutil.Error:
            continue
    return found


def stop_orphans(processes: Iterable[psutil.Process], signum: signal.Signals) -> None:
    """Asks servers to stop whose parent died, on systems that have no parent-death signal to do so."""
    if ON_LINUX:
        return  # They have been signalled; and in a container the parent itself may be process 1.
    for process in processes:
        if process.ppid() == 1:
            process.send_signal(signum)


def open_log(log_file: Path) -> BinaryIO:
    """Opens a log to be written to; one that has grown large is set aside first, in the place of the last such."""
    log_file.parent.mkdir(parents=True, exist_ok=True)
    if log_end(log_file) > _LOG_KEEP_BYTES:
        log_file.replace(log_file.with_name(log_file.name + ".old"))
    return log_file.open("ab")


def _signal_when_parent_dies(signum: signal.Signals) -> Callable[[], None] | None:
    if not ON_LINUX:
        return None
    libc = ctypes.CDLL(None)  # Loaded before the fork: the child of a threaded process must not import or load.
    parent = os.getpid()

    def arm() -> None:
        # This runs after the change of user, which would clear the setting.
        libc.prctl(_PR_SET_PDEATHSIG, int(signum))
        if os.getppid() != parent:  # It died before the setting took effect.
            os._exit(1)

    return arm


def _any_free_port() -> int:
    while not port_is_free(found := secrets.choice(_ANY_PORTS)):
        pass
    return found
