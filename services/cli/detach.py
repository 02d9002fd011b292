"""`dsm up --detach`: the same command in the background, and waiting until it is ready."""

import subprocess
import sys
import time
from pathlib import Path

from services.cli.announce import announce
from services.cli.errors import CliError
from services.cli.health import all_serving
from services.cli.names import SERVICES
from services.local.errors import StackError, advice
from services.local.folder import StackState, read_state
from services.local.process import log_end, logged_since, open_log

_POLL_SECONDS = 0.05


def start_in_background(folder: Path) -> None:
    """Run this command line without --detach in the background; return when it is ready.

    Raises CliError with its last words if it does not get there.
    """
    log_file = folder / "logs" / "up.log"
    try:
        logged = log_end(log_file)
        with open_log(log_file) as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "services.cli", *(word for word in sys.argv[1:] if word != "--detach")],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        raise StackError(f"The folder {folder} cannot be used ({error}). {advice(str(error))}") from error
    try:
        state = _await_ready(process, folder, log_file, logged)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    announce(state, folder)


def _await_ready(process: "subprocess.Popen[bytes]", folder: Path, log_file: Path, logged: int) -> StackState:
    while process.poll() is None:
        state = read_state(folder)
        ours = state if state and state.pid == process.pid and state.urls else None
        if ours and all_serving(ours.urls[name] for name in SERVICES):
            return ours
        time.sleep(_POLL_SECONDS)
    words = logged_since(log_file, logged).strip().splitlines()
    raise CliError(words[-1] if words else f"DSM did not start: look into {log_file}.")
