"""`dsm demo`: starts DSM if none runs, tells the story, and says what to try next."""

import os
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from services.cli import grpcurl
from services.cli.client import TargetOption, connect
from services.cli.data import DataOption, data_folder
from services.cli.demo import cast
from services.cli.demo.story import Facts, Plot, Story
from services.cli.errors import CliError
from services.cli.importing import parse_mapping
from services.cli.output import JsonOption, err, escape, out, print_json
from services.local.folder import read_state

_SUMMARY = "dsm.backlog.v1.BacklogService/GetBacklogSummary"
_SAMPLE = Path(__file__).parent.parent / "samples" / "dsm-backlog.csv"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(demo)


def demo(
    backlog: Annotated[
        Path | None,
        typer.Option(help="Your own backlog, a Jira CSV.", exists=True, dir_okay=False, show_default="a sample"),
    ] = None,
    mapping: Annotated[
        list[str] | None, typer.Option("--map", help="Which column of it is which field, for example title=Name.")
    ] = None,
    project: Annotated[
        str, typer.Option(help="Id of the project to make.", metavar="ID", show_default="DEMO, DEMO-2, …")
    ] = "",
    keep_running: Annotated[
        bool, typer.Option("--keep-running/--down", help="Leave DSM running, or stop it if the demo started it.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Another seed is another sprint.")] = 7,
    data: DataOption = None,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show a team's sprint from end to end: team, backlog, planning, daily scrums, closing, and what is learned.

    Starts DSM on this machine if none runs. Example: [bold]dsm demo --backlog issues.csv[/bold]
    """
    if len(project) > cast.LONGEST_PROJECT_ID:
        raise CliError(
            f"{project} is too long for the demo: choose an id of at most {cast.LONGEST_PROJECT_ID} characters."
        )
    # With --json the story goes to stderr, and what came of it to stdout.
    console = err if as_json else out
    folder = data_folder(data)
    with ExitStack() as cleanup:
        if not target and read_state(folder) is None:
            if not keep_running:
                cleanup.callback(_dsm, "down", folder)
            _start(console, folder)
        plot = Plot(backlog or _SAMPLE, project, datetime.now(UTC).date(), seed, parse_mapping(mapping or ()))
        with connect(target, folder) as dsm:
            facts = Story(dsm, console, plot).tell()
            address = dsm.addresses["backlog"]
        console.print(f"\n[bold]The demo took {facts.seconds:.1f} s.[/bold]")
        if keep_running:
            _say_what_next(console, facts, _prefix(target, folder), address)
    if as_json:
        print_json(asdict(facts))


def _start(console: Console, folder: Path) -> None:
    """Start DSM in the background. Raises CliError with its last words if it does not start."""
    began = time.monotonic()
    with console.status("Starting PostgreSQL, NATS and the services …"):
        _dsm("up", folder, "--detach")
    console.print(
        f"DSM started in {time.monotonic() - began:.1f} s; its data is in {escape(str(folder))}.",
        soft_wrap=True,
    )


def _dsm(verb: str, folder: Path, *options: str) -> None:
    """Run another `dsm` command on the same data folder."""
    command = [sys.executable, "-m", "services.cli", verb, "--data", str(folder), *options]
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
    if done.returncode:
        words = done.stderr.strip().splitlines()
        raise CliError(words[-1] if words else f"`dsm {verb}` failed: run it yourself to see why.")


def _prefix(target: str, folder: Path) -> str:
    """What other commands need in front of them to find the same DSM."""
    if target:
        return f"DSM_TARGET={target} "
    return "" if folder == data_folder(None) else f"DSM_DATA_DIR={folder} "


def _say_what_next(console: Console, facts: Facts, prefix: str, address: str) -> None:
    dsm = prefix + _program()
    question = f'{{"project_id": "{facts.project_id}"}}'
    commands = [
        (f"{dsm} board {facts.project_id}", "the sprint that has just begun"),
        (f"{dsm} scrum {facts.project_id} --date {facts.next_start_date} --simulate", "its first day"),
        (f"{dsm} report {facts.sprint_id}", "the burndown again"),
        (f"grpcurl {grpcurl.options()} -d '{question}' {address} {_SUMMARY}", "the API itself"),
        (f"{dsm} down", "stop everything; the data stays"),
    ]
    console.print("\nDSM goes on running. Try next:")
    for command, what in commands:
        console.print(f"  [dim]# {what}[/dim]")
        console.print(f"  {escape(command)}", soft_wrap=True)


def _program() -> str:
    """How to call `dsm` from here: also where its environment is not activated, as under `make`."""
    return "dsm" if shutil.which("dsm") else os.path.relpath(sys.argv[0])
