"""`dsm plan`: plan a sprint and begin it."""

from collections.abc import Iterable
from typing import Annotated

import typer
from dsm.sprint.v1.sprint_pb2 import PersonLoad, Reassignment, Sprint
from dsm.sprint.v1.sprint_service_pb2 import StartSprintRequest, StartSprintResponse
from rich.console import Console

from services.cli.charts import bar
from services.cli.client import TargetOption, connect
from services.cli.lookup import Names, name, names_of
from services.cli.output import JsonOption, escape, out, print_json, table

# Longer than the 60 seconds after which a planning is whole or undone.
_TIMEOUT_SECONDS = 65.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(plan)


def plan(
    project: Annotated[str, typer.Argument(help="The project.")],
    weeks: Annotated[int, typer.Option(help="Length in weeks, 1 to 6.", min=1, max=6)] = 2,
    name: Annotated[str, typer.Option(help="Name of the sprint.", show_default='"Sprint N"')] = "",
    goal: Annotated[str, typer.Option(help="Goal of the sprint.")] = "",
    start: Annotated[str, typer.Option(help="First day, ISO 8601; may be past.", show_default="today")] = "",
    max_tasks: Annotated[int, typer.Option(help="Most tasks.", show_default="as capacity allows", min=0, max=5000)] = 0,
    max_points: Annotated[
        float | None, typer.Option(help="Most points.", show_default="as capacity and past sprints allow")
    ] = None,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Plan a sprint: take tasks from the top of the backlog as capacity allows, give each to somebody, and begin.

    Example: [bold]dsm plan SHOP --weeks 2 --goal "Pay by invoice"[/bold]
    """
    request = StartSprintRequest(
        project_id=project,
        name=name,
        goal=goal,
        start_date=start,
        duration_weeks=weeks,
        max_tasks=max_tasks,
        max_points=max_points,
    )
    with connect(target) as dsm:
        answer = dsm.sprint.StartSprint(request, timeout=_TIMEOUT_SECONDS)
        names = {} if as_json else names_of(dsm, project)
    if as_json:
        print_json(answer)
    else:
        _show(answer, names)


def _show(answer: StartSprintResponse, names: Names) -> None:
    out.print(headline(answer.sprint))
    if answer.sprint.goal:
        out.print(escape(f"Goal: {answer.sprint.goal}"))
    if answer.limit_basis:
        out.print(escape(answer.limit_basis))
    out.print()
    show_loads(out, answer.loads, names)
    if answer.reassignments:
        out.print()
        show_reassignments(out, answer.reassignments, names)


def headline(sprint: Sprint) -> str:
    """A sprint in one line of markup."""
    summary = sprint.task_summary
    return (
        f"[bold]{escape(sprint.sprint_id)}[/bold] {escape(sprint.name)}, {sprint.start_date} to {sprint.end_date}: "
        f"{summary.total_tasks} tasks, {summary.total_points:g} points, "
        f"{sprint.capacity_person_days:g} person-days of capacity."
    )


def show_loads(console: Console, loads: Iterable[PersonLoad], names: Names) -> None:
    """What each person got; the line in a bar is the person's fair share by capacity."""
    loads = list(loads)
    points, days = sum(load.points for load in loads), sum(load.person_days for load in loads)
    shares = [points * load.person_days / days if days else 0.0 for load in loads]
    full = max([1.0, *shares, *(load.points for load in loads)])
    rows = [
        (
            name(names, load.employee_id),
            f"{load.person_days:g}",
            load.tasks,
            f"{load.points:g}",
            bar(load.points, full, mark=share),
        )
        for load, share in zip(loads, shares, strict=True)
    ]
    columns = ["Person", "Person-days", "Tasks", "Points", "Points, │ = share by capacity"]
    console.print(table("", columns, rows, right=columns[1:4]))


def show_reassignments(console: Console, reassignments: Iterable[Reassignment], names: Names) -> None:
    """Tasks that planning gave to others than the backlog had."""
    rows = [
        (moved.task_id, name(names, moved.from_employee_id), name(names, moved.to_employee_id), moved.reason)
        for moved in reassignments
    ]
    console.print(table("Reassigned", ["Task", "From", "To", "Why"], rows))
