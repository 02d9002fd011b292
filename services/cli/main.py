"""The `dsm` command: puts its commands together and turns every expected error into one sentence.

To add a command, write a module with `def register(app: typer.Typer) -> None` that adds it to the app, and name both in
`_COMMANDS`:

    def register(app: typer.Typer) -> None:
        app.command()(board)
        # or a group: group = typer.Typer(help="…", no_args_is_help=True); app.add_typer(group, name="events")

A command raises CliError with one sentence when it cannot do what was asked, and `typer.Exit(1)` when it did its work
and the answer is 'no' (for example: not ready). Modules must be quick to import: what is heavy (a service, the kit's
server, Alembic, plotext) is imported inside of the function that needs it.
"""

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from typing import Annotated

import typer

from services.cli.errors import CliError
from services.cli.output import err, escape
from services.cli.tls import give_options
from services.cli.who import give_option
from services.local.errors import StackError

# Command -> module, in the order of `dsm --help`.
_COMMANDS = {
    "up": "up",
    "down": "down",
    "status": "status",
    "serve": "serve",
    "migrate": "migrate",
    "token": "minting",
    "events": "events",
    "dlq": "dlq",
    "outbox": "outbox",
    "recover": "recover",
    "reconcile": "reconcile",
    "doctor": "doctor",
    "import": "importing",
    "export": "exporting",
    "seed": "seed",
    "plan": "planning",
    "scrum": "scrum",
    "close": "close",
    "board": "board",
    "report": "report",
    "decide": "decide",
    "forecast": "forecast",
    "schedule": "schedule",
    "memory": "memory",
    "strategies": "strategies",
    "demo": "demo",
}

app = typer.Typer(
    name="dsm",
    help="DSM, the Digital Scrum Master: plans, runs and closes a team's sprints.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        sys.stdout.write(f"dsm {version('dsm')}\n")
        raise typer.Exit


@app.callback()
def _options(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Options of `dsm` itself; what it is for says the app's help."""


def main() -> None:
    """Run the command line; DSM_DEBUG=1 shows where an error comes from."""
    # gRPC would write a line, in a form of its own, for each failed handshake: whoever looks for open ports makes one.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    try:
        load(sys.argv[1:])
        app()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        if os.environ.get("DSM_DEBUG") == "1":
            raise
        err.print(f"[red]{escape(_sentence(error))}[/red]", soft_wrap=True)
        sys.exit(1)


def load(words: Sequence[str]) -> None:
    """Add the commands to the app: the one that is asked for, or all. One alone is there in half the time."""
    asked = words[0] if words else ""
    for module in [_COMMANDS[asked]] if asked in _COMMANDS else _COMMANDS.values():
        import_module(f"services.cli.{module}").register(app)
    give_options(app)
    give_option(app)


def _sentence(error: Exception) -> str:
    if isinstance(error, CliError | StackError) or type(error).__module__.startswith("services.kit."):
        return str(error)
    return f"DSM failed unexpectedly ({type(error).__name__}: {error}): run it again with DSM_DEBUG=1 to see where."
