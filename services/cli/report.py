"""`dsm report`: burndown of a sprint and velocity of its team, drawn in the terminal."""

from typing import Annotated

import typer
from dsm.chronicle.v1.analytics_pb2 import Velocity
from dsm.chronicle.v1.chronicle_service_pb2 import GetVelocityRequest
from dsm.sprint.v1.sprint_service_pb2 import GetBurndownRequest, GetBurndownResponse
from rich.console import Console
from rich.table import Table

from services.cli import charts
from services.cli.client import TargetOption, connect
from services.cli.lookup import last_sprint
from services.cli.output import JsonOption, escape, out, print_json
from services.cli.planning import headline


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(report)


def report(
    sprint: Annotated[
        str, typer.Argument(help="A sprint, or a project: its open sprint, else its last.", metavar="PROJECT|SPRINT")
    ],
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Draw a sprint's burndown and the velocity of its project's closed sprints.

    Example: [bold]dsm report SHOP[/bold]
    """
    with connect(target) as dsm:
        found = last_sprint(dsm, sprint)
        burndown = dsm.sprint.GetBurndown(GetBurndownRequest(sprint_id=found.sprint_id))
        velocity = dsm.chronicle.GetVelocity(GetVelocityRequest(project_id=found.project_id)).velocity
    if as_json:
        print_json({"sprint_id": found.sprint_id, "burndown": burndown, "velocity": velocity})
        return
    out.print(headline(found))
    out.print()
    show_burndown(out, burndown)
    out.print()
    show_velocity(out, velocity)


def show_burndown(console: Console, answer: GetBurndownResponse) -> None:
    """What was left day by day, and what changed the scope."""
    console.print(charts.burndown(answer.days, answer.start_points, answer.start_tasks))
    for day in answer.days:
        if day.added_tasks or day.removed_tasks:
            console.print(
                f"{day.date}: {day.added_tasks} tasks came in and {day.removed_tasks} went out "
                f"({day.scope_change_points:+g} points)."
            )


def show_velocity(console: Console, velocity: Velocity) -> None:
    """What was completed sprint by sprint."""
    if not velocity.velocity_trend_data:
        console.print("No closed sprint yet, so there is no velocity.")
        return
    drawn = Table(title="Velocity, │ = planned", title_justify="left", title_style="bold", box=None, show_header=False)
    for name, bar, figures in charts.velocity(velocity.velocity_trend_data):
        drawn.add_row(escape(name), bar, figures)
    console.print(drawn)
    if velocity.velocity_analysis:
        console.print(escape(velocity.velocity_analysis))
