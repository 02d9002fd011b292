"""`dsm reconcile`: whether backlog and sprints agree."""

from __future__ import annotations

from typing import Annotated

import typer
from dsm.common.v1 import admin_service_pb2 as pb

from services.cli.client import TargetOption, connect
from services.cli.data import DataOption
from services.cli.output import JsonOption, counted, err, out, print_json, table

_TIMEOUT_SECONDS = 600.0
_MOST_ROWS = 100


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(reconcile)


def reconcile(
    project: Annotated[
        str, typer.Option("--project", "-p", help="Project to compare.", metavar="ID", show_default="all")
    ] = "",
    grace: Annotated[
        int, typer.Option(min=0, max=3600, help="Seconds that events have to arrive; what is younger is no fault.")
    ] = 5,
    target: TargetOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare backlog and sprints task by task; exit code 1 if they disagree. It changes nothing.

    Example: [bold]dsm reconcile --project SHOP[/bold]
    """
    request = pb.ReconcileRequest(project_id=project, grace_seconds=grace)
    # The server waits for young events at most half of the time that it is given.
    timeout = _TIMEOUT_SECONDS + 2 * grace
    with connect(target, data) as client, err.status("Comparing backlog and sprints …"):
        answer = client.admin("sprint").Reconcile(request, timeout=timeout)
    if as_json:
        print_json(answer)
    else:
        _show(answer)
    if answer.disagreements:
        raise typer.Exit(1)


def _show(answer: pb.ReconcileResponse) -> None:
    compared = (
        f"{counted(answer.tasks_compared, 'task')} and {counted(answer.sprints_compared, 'open sprint')} compared, "
        f"{counted(answer.unpublished_events, 'event')} to publish."
    )
    if not answer.disagreements:
        out.print(f"[green]Backlog and sprints agree[/green]: {compared}", soft_wrap=True)
        return
    found = answer.disagreements
    rows = [
        (d.project_id, d.task_id, d.sprint_id, d.field, d.backlog_value, d.sprint_value) for d in found[:_MOST_ROWS]
    ]
    out.print(table("", ["Project", "Task", "Sprint", "What", "The backlog says", "The sprint service says"], rows))
    if more := len(found) - len(rows):
        out.print(f"… and {more:,} more; `--json` lists all.")
    out.print(
        f"\n[bold red]{counted(len(found), 'disagreement')}[/bold red]: {compared} "
        "See `dsm status` and `dsm dlq list`; what never arrived comes again by `dsm outbox replay`.",
        soft_wrap=True,
    )
