"""`dsm import`: bring a backlog from another system's file into a project."""

import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import grpc
import typer
from dsm.backlog.v1.backlog_service_pb2 import ImportTasksRequest
from dsm.backlog.v1.import_pb2 import (
    IMPORT_FORMAT_DSM_JSON,
    IMPORT_FORMAT_GITHUB_JSON,
    IMPORT_FORMAT_JIRA_CSV,
    IMPORT_FORMAT_MAPPED_CSV,
    ImportOptions,
    ImportReport,
)
from dsm.backlog.v1.task_pb2 import TaskState
from dsm.project.v1.project_pb2 import Project
from dsm.project.v1.project_service_pb2 import CreateProjectRequest, GetProjectRequest
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, SpinnerColumn, TextColumn, TransferSpeedColumn

from services.cli.client import Client, TargetOption, connect, failure
from services.cli.errors import CliError
from services.cli.output import JsonOption, err, out, print_json, table

_CHUNK = 256 * 1024
_TIMEOUT_SECONDS = 600.0
_MOST_REFUSED_ROWS = 20
# The contract allows no other states for what comes from outside.
_STATES = ("UNASSIGNED", "IN_PROGRESS", "COMPLETED", "CANCELLED")


class FileFormat(StrEnum):
    """How to read a file."""

    JIRA = "jira"
    CSV = "csv"
    GITHUB = "github"
    DSM = "dsm"


_FORMATS = {
    FileFormat.JIRA: IMPORT_FORMAT_JIRA_CSV,
    FileFormat.CSV: IMPORT_FORMAT_MAPPED_CSV,
    FileFormat.GITHUB: IMPORT_FORMAT_GITHUB_JSON,
    FileFormat.DSM: IMPORT_FORMAT_DSM_JSON,
}

_WITH_COLUMNS = (IMPORT_FORMAT_JIRA_CSV, IMPORT_FORMAT_MAPPED_CSV)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_)


def import_(
    file: Annotated[Path, typer.Argument(help="The file.", exists=True, dir_okay=False, readable=True)],
    project: Annotated[str, typer.Option("--project", "-p", help="Project to import into.", metavar="ID")],
    file_format: Annotated[
        FileFormat,
        typer.Option(
            "--format",
            help="jira: CSV with Jira's column names; csv: with those of --map; github: GitHub's issues as JSON; "
            "dsm: what `dsm export` wrote.",
        ),
    ] = FileFormat.JIRA,
    mapping: Annotated[
        list[str] | None,
        typer.Option("--map", help="Which column is which field, for example title=Name; again for each field."),
    ] = None,
    status_map: Annotated[
        list[str] | None,
        typer.Option(help=f'What a status means, for example "In Review=IN_PROGRESS": {", ".join(_STATES)}.'),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Write nothing if a single row is bad.")] = False,
    encoding: Annotated[str, typer.Option(help="Encoding of the file, for example latin-1.")] = "utf-8",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, write nothing.")] = False,
    create_project: Annotated[bool, typer.Option("--create-project", help="Make the project if it is new.")] = False,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Import a backlog. The origin's keys decide what is new, so a second run changes only what changed.

    Example: [bold]dsm import issues.csv --project SHOP --create-project[/bold]

    With other columns: [bold]dsm import list.csv -p SHOP --format csv --map title=Name --map points=Size[/bold]
    """
    options = ImportOptions(
        project_id=project,
        format=_FORMATS[file_format],
        column_mapping=parse_mapping(mapping or ()),
        status_map=parse_status_map(status_map or ()),
        strict=strict,
        encoding=encoding,
        dry_run=dry_run,
    )
    with connect(target) as dsm:
        if create_project:
            make_sure_of_project(dsm, project, dry_run=dry_run)
        report, seconds = import_file(dsm, file, options)
    if as_json:
        print_json(report)
        return
    if dry_run:
        out.print("A dry run: nothing was written.")
    show_report(out, report, seconds)


def parse_mapping(given: list[str] | tuple[str, ...]) -> dict[str, str]:
    """`field=column` pairs. Raises CliError for anything else, and for a field named twice."""
    mapping: dict[str, str] = {}
    for pair in given:
        name, found, column = (part.strip() for part in pair.partition("="))
        if not (name and found and column):
            raise CliError(f"--map {pair!r} is not of the form field=column, for example --map title=Name.")
        if name in mapping:
            raise CliError(f"--map names the field {name!r} twice: leave one of them out.")
        mapping[name] = column
    return mapping


def parse_status_map(given: list[str] | tuple[str, ...]) -> dict[str, TaskState.ValueType]:
    """`status=STATE` pairs; a status may hold '='. Raises CliError for anything else."""
    states: dict[str, TaskState.ValueType] = {}
    for pair in given:
        status, found, state = (part.strip() for part in pair.rpartition("="))
        if not (status and found):
            raise CliError(
                f'--status-map {pair!r} is not of the form status=STATE, for example "In Review=IN_PROGRESS".'
            )
        if state.upper() not in _STATES:
            raise CliError(f"--status-map {pair!r} means no state: it is one of {', '.join(_STATES)}.")
        states[status] = TaskState.Value(f"TASK_STATE_{state.upper()}")
    return states


def import_file(dsm: Client, file: Path, options: ImportOptions) -> tuple[ImportReport, float]:
    """Send a file; its report, and the seconds it took from here. A bar on stderr shows how far it is.

    Raises CliError if the columns are not those expected.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    began = time.monotonic()
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task(f"Sending {file.name}", total=file.stat().st_size)

        def sent(size: int) -> None:
            progress.advance(bar, size)
            if progress.finished:
                progress.update(bar, description="Waiting until it is stored")

        try:
            answer = dsm.backlog.ImportTasks(_requests(file, options, sent), timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            failed = failure(error)
            if failed.reason != "IMPORT_HEADER_INVALID" or options.format not in _WITH_COLUMNS:
                raise
            raise CliError(f"{failed.message} Name the right column with --map, as in --map title=Name.") from None
    return answer.report, time.monotonic() - began


def show_report(console: Console, report: ImportReport, seconds: float) -> None:
    """What an import did, and the first rows that it refused."""
    columns = ["Rows", "Created", "Updated", "Unchanged", "Stories", "Refused", "Seconds", "Rows/s"]
    row = (
        report.rows,
        report.created_tasks,
        report.updated_tasks,
        report.unchanged_tasks,
        report.stories,
        report.refused_count,
        f"{seconds:.2f}",
        f"{report.rows / seconds:,.0f}" if seconds else "",
    )
    console.print(table("", columns, [row], right=columns))
    if report.skipped_rows:
        console.print(f"Pull requests passed over: {report.skipped_rows}.")
    if report.states_kept:
        console.print(f"{report.states_kept} tasks are in an open sprint: the sprint keeps their state.")
    if report.refused_count:
        _show_refused(console, report)


def _show_refused(console: Console, report: ImportReport) -> None:
    shown = report.refused_rows[:_MOST_REFUSED_ROWS]
    rows = [(row.line, row.key, row.field, row.rule, row.value) for row in shown]
    console.print()
    console.print(table("Refused rows", ["Line", "Key", "Field", "Rule", "Value"], rows, right=["Line"]))
    if more := report.refused_count - len(shown):
        console.print(f"… and {more} more; `--json` lists the first 1,000.")


def _requests(file: Path, options: ImportOptions, sent: Callable[[int], None]) -> Iterator[ImportTasksRequest]:
    yield ImportTasksRequest(options=options)
    with file.open("rb") as source:
        while data := source.read(_CHUNK):
            yield ImportTasksRequest(data=data)
            sent(len(data))


def make_sure_of_project(dsm: Client, project_id: str, *, dry_run: bool = False) -> None:
    """Make a project unless it is there. Raises CliError where a dry run would have to."""
    try:
        dsm.project.GetProject(GetProjectRequest(project_id=project_id))
    except grpc.RpcError as error:
        if failure(error).reason != "PROJECT_NOT_FOUND":
            raise
        if dry_run:
            raise CliError(
                f"A dry run makes no project, and {project_id} does not exist: leave one of the two options out."
            ) from None
        dsm.project.CreateProject(CreateProjectRequest(project=Project(project_id=project_id, name=project_id)))
