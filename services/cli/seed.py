"""`dsm seed`: a small backlog to try things with."""

from typing import Annotated

import grpc
import typer
from dsm.backlog.v1.backlog_service_pb2 import SeedSampleDataRequest

from services.cli.client import Client, TargetOption, connect, failure
from services.cli.importing import make_sure_of_project
from services.cli.output import JsonOption, err, escape, out, print_json

_DEFAULT = "TEST-001"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(seed)


def seed(
    project: Annotated[str, typer.Argument(help="The project; made if it is new.")] = _DEFAULT,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the sample backlog: 8 tasks in 4 stories, given in turn to the project's team. A second run doubles nothing.

    Example: [bold]dsm seed[/bold]
    """
    with connect(target) as dsm:
        _make_sure_of_project(dsm, project)
        answer = dsm.backlog.SeedSampleData(SeedSampleDataRequest(project_id=project))
    if as_json:
        print_json(answer)
        return
    if not (answer.tasks_count or answer.stories_count or answer.links_count):
        out.print(f"{escape(project)} has the sample already; nothing was made.")
        return
    made = f"{answer.tasks_count} tasks, {answer.stories_count} stories and {answer.links_count} links"
    people = ", ".join(answer.assignee_ids) or "nobody: the project has no team"
    out.print(f"{escape(project)} has {made} more; the tasks belong to {escape(people)}.")
    if answer.default_team:
        err.print("The project service could not be asked for the team, so the tasks went to a default list.")


def _make_sure_of_project(dsm: Client, project_id: str) -> None:
    """A project service that is away does not matter: the sample is made without it."""
    try:
        make_sure_of_project(dsm, project_id)
    except grpc.RpcError as error:
        if failure(error).code != "UNAVAILABLE":
            raise
