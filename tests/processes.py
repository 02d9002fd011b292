"""Processes that tests start: what is handed to them, who belongs to them, and whether they have gone."""

import os
from collections.abc import Iterable

import psutil


def clean_environ() -> dict[str, str]:
    """Our environment without settings of DSM."""
    return {name: value for name, value in os.environ.items() if not name.startswith("DSM_")}


def family(*pids: int) -> list[psutil.Process]:
    """The processes with all their children: they must be listed while they live."""
    parents = [psutil.Process(pid) for pid in pids]
    return [*parents, *(child for parent in parents for child in parent.children(recursive=True))]


def alive(process: psutil.Process) -> bool:
    """True if a process does more than wait for somebody to ask how it ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def all_gone(processes: Iterable[psutil.Process]) -> bool:
    """True if none of them is alive."""
    return not any(map(alive, processes))
