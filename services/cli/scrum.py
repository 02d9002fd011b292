"""`dsm scrum`: the daily scrum of an open sprint."""

from typing import Annotated

import grpc
import typer
from dsm.chronicle.v1.note_pb2 import DailyScrumReport
from dsm.sprint.v1.sprint_service_pb2 import RunDailyScrumRequest
from rich.console import Console

from services.cli.client import TargetOption, connect, failure
from services.cli.lookup import Names, name, names_of, open_sprint
from services.cli.output import JsonOption, err, escape, out, print_json, table

# A schedule knows neither holidays nor that the sprint closed a moment ago.
_NO_SCRUM_TODAY = {"NOT_A_WORKING_DAY", "DATE_OUT_OF_RANGE", "SPRINT_NOT_IN_PROGRESS"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(scrum)


def scrum(
    sprint: Annotated[
        str,
        typer.Argument(
            help="A sprint, or a project with an open one.", metavar="SPRINT|PROJECT", show_default="the open sprint"
        ),
    ] = "",
    date: Annotated[str, typer.Option(help="Day of the report, ISO 8601.", show_default="today")] = "",
    simulate: Annotated[
        bool | None,
        typer.Option(
            "--simulate/--no-simulate", help="Simulate a day's progress first.", show_default="as the project says"
        ),
    ] = None,
    seed: Annotated[
        int, typer.Option(help="The same seed gives the same simulation.", show_default="by sprint and day")
    ] = 0,
    scheduled: Annotated[
        bool,
        typer.Option(
            "--scheduled", help="For schedules: a day off, or a sprint that is not under way, is no failure then."
        ),
    ] = False,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Run the daily scrum: who did what since the last one, what comes next, what is in the way, who is away.

    Example: [bold]dsm scrum SHOP --simulate[/bold]
    """
    with connect(target) as dsm:
        found = open_sprint(dsm, sprint)
        request = RunDailyScrumRequest(sprint_id=found.sprint_id, report_date=date, simulate=simulate, seed=seed)
        try:
            answer = dsm.sprint.RunDailyScrum(request)
        except grpc.RpcError as error:
            failed = failure(error)
            if not scheduled or failed.reason not in _NO_SCRUM_TODAY:
                raise
            err.print(escape(failed.message))
            return
        names = {} if as_json else names_of(dsm, found.project_id)
    if as_json:
        print_json(answer)
        return
    if answer.repeated:
        out.print("The day had its daily scrum already; this is its report.")
    show_scrum(out, answer.report, names)


def show_scrum(console: Console, report: DailyScrumReport, names: Names) -> None:
    """A report of a working day, person by person."""
    simulated = ", simulated" if report.simulated else ""
    console.print(f"[bold]Daily scrum of {escape(report.sprint_id)}, {report.report_date}{simulated}[/bold]")
    console.print(escape(report.summary))
    rows: list[tuple[object, ...]] = []
    for person in report.reports:
        who = name(names, person.employee_id)
        if person.away:
            rows.append((who, "", "away", "", "", ""))
        for task in person.tasks:
            rows.append(
                (
                    who,
                    task.task_id,
                    f"{task.progress_percent} %",
                    task.yesterday_work,
                    task.today_work,
                    task.impediments,
                )
            )
            who = ""
    console.print()
    console.print(table("", ["Person", "Task", "Done", "Yesterday", "Today", "Impediments"], rows, right=["Done"]))
    figures = report.summary_metrics
    console.print(
        f"\n{figures.completed_tasks} of {figures.total_tasks} tasks and {figures.completed_points:g} of "
        f"{figures.total_points:g} points done, {figures.blocked_tasks} blocked; "
        f"{figures.total_team_members} people on the team."
    )
