"""Child processes of `dsm up --processes`: one `dsm serve` per service, started again when it dies."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from services.cli.errors import CliError
from services.local.process import log_end, logged_since, spawn, stop

_FIRST_DELAY = 0.5  # seconds before a dead child is started again; doubled each time
_LONGEST_DELAY = 15.0
_STEADY_SECONDS = 10.0  # After so long a life, the delay is the first one again.


class Child:
    """One service in a process of its own, which stops when this one dies. Needs the main thread."""

    def __init__(self, name: str, environ: Mapping[str, str], log_file: Path) -> None:
        self.name = name
        self._environ = environ
        self._log_file = log_file
        self._delay = _FIRST_DELAY
        self._start_at = 0.0
        self._log_start = log_end(log_file)
        self._process = self._start()

    def check(self) -> Iterator[str]:
        """Start it again if it died, after a delay that grows while it keeps dying; tells so in a sentence."""
        if self._process.poll() is None:
            return
        now = time.monotonic()
        if not self._start_at:
            if now - self._started > _STEADY_SECONDS:
                self._delay = _FIRST_DELAY
            self._start_at = now + self._delay
            how = _how(self._process.returncode)
            yield f"The {self.name} service died ({how}) and starts again; log: {self._log_file}"
            self._delay = min(2 * self._delay, _LONGEST_DELAY)
        elif now >= self._start_at:
            self._process = self._start()

    def refuse_death(self) -> None:
        """Raise CliError with its own last words if it is dead."""
        if self._process.poll() is not None:
            words = logged_since(self._log_file, self._log_start).strip().splitlines()
            last = words[-1] if words else f"it left no word, see {self._log_file}"
            raise CliError(f"The {self.name} service did not start: {last}")

    def ask_to_stop(self) -> None:
        """Make it drain; returns at once."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)

    def stop(self, grace: float) -> None:
        """Make it drain and wait for it, at most `grace` seconds."""
        stop(self._process, ((signal.SIGTERM, grace),))

    def _start(self) -> "subprocess.Popen[bytes]":
        self._started = time.monotonic()
        self._start_at = 0.0
        return spawn(
            [sys.executable, "-m", "services.cli", "serve", self.name],
            log_file=self._log_file,
            on_parent_death=signal.SIGTERM,
            env=self._environ,
        )


def stop_all(children: list[Child], grace: float) -> None:
    """Stop all at once; together they have `grace` seconds to end their calls."""
    for child in children:
        child.ask_to_stop()
    deadline = time.monotonic() + grace
    for child in children:
        child.stop(max(0.1, deadline - time.monotonic()))


def _how(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
