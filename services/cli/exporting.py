"""`dsm export`: write a project's stories and tasks to a file."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated

import typer
from dsm.backlog.v1.backlog_service_pb2 import ExportProjectRequest
from rich.progress import DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from services.cli.client import Client, TargetOption, connect
from services.cli.errors import CliError
from services.cli.output import err, escape

_TIMEOUT_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(export)


def export(
    project: Annotated[str, typer.Argument(help="The project.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write.", show_default="stdout", dir_okay=False)
    ] = None,
    target: TargetOption = "",
) -> None:
    """Write a project's stories and tasks as JSON, which `dsm import --format dsm` takes back.

    Example: [bold]dsm export SHOP --output shop.json[/bold]
    """
    with connect(target) as dsm:
        if output is None:
            _write(dsm, project, sys.stdout.buffer)
            return
        with _replacing(output) as file:
            size = _write(dsm, project, file)
    err.print(f"{escape(project)} is in {escape(str(output))} ({size:,} bytes).")


def _write(dsm: Client, project: str, file: IO[bytes]) -> int:
    """Write the pieces as they come; the bytes written. A line on stderr shows how many there are."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), DownloadColumn(), TransferSpeedColumn())
    size = 0
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(f"Exporting {project}", total=None)
        for piece in dsm.backlog.ExportProject(ExportProjectRequest(project_id=project), timeout=_TIMEOUT_SECONDS):
            file.write(piece.data)
            size += len(piece.data)
            progress.advance(bar, len(piece.data))
    return size


@contextmanager
def _replacing(path: Path) -> Iterator[IO[bytes]]:
    """A file beside `path` that takes its place at the end: an export that fails leaves what was there."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise CliError(f"{path} cannot be written: {error.strerror}.") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
        # As a file that was opened for writing would be; mkstemp makes it the owner's alone.
        os.umask(mask := os.umask(0))
        Path(name).chmod(0o666 & ~mask)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
