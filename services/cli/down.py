"""`dsm down`: stops what `dsm up` started."""

import os
import signal
import time
from typing import Annotated

import typer

from services.cli.data import DataOption, data_folder
from services.cli.errors import CliError
from services.cli.output import escape, out
from services.local.folder import read_state
from services.local.process import wait_until


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(down)


def down(
    data: DataOption = None,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for it to stop.")] = 90,
) -> None:
    """Stop the DSM that runs in the data folder; the data stays."""
    folder = data_folder(data)
    state = read_state(folder)
    if state is None:
        out.print(f"Nothing runs in {escape(str(folder))}.", soft_wrap=True)
        return
    began = time.monotonic()
    try:
        os.kill(state.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise CliError(f"Process {state.pid} belongs to another user: stop it as that user.") from None
    if not wait_until(lambda: not state.alive, wait):
        raise CliError(f"Process {state.pid} is still stopping: wait a little, or end it with `kill -9 {state.pid}`.")
    out.print(f"DSM in {escape(str(folder))} stopped after {time.monotonic() - began:.1f} s.", soft_wrap=True)
