"""`dsm forecast`: whether the sprint gets done, how far the team gets, and how past forecasts did."""

from collections.abc import Sequence
from datetime import date
from typing import Annotated

import typer
from dsm.orchestrator.v1.forecast_pb2 import (
    BacklogForecast,
    DateForecast,
    ForecastBasis,
    ForecastCalibration,
    SprintForecast,
    TasksForecast,
)
from dsm.orchestrator.v1.orchestrator_service_pb2 import ForecastBacklogRequest, ForecastSprintRequest
from rich.console import Console
from rich.table import Table

from services.cli import charts
from services.cli.client import Client, TargetOption, connect
from services.cli.lookup import is_sprint, open_sprint_of
from services.cli.output import JsonOption, counted, escape, out, print_json

_TIMEOUT_SECONDS = 60.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(forecast)


def forecast(
    target_of_forecast: Annotated[
        str, typer.Argument(help="A project, or one of its sprints that is under way.", metavar="PROJECT|SPRINT")
    ],
    by: Annotated[str, typer.Option(help="How many tasks are done by the end of this day? ISO 8601.")] = "",
    tasks: Annotated[
        int, typer.Option(help="By which day are so many tasks done?", show_default="all that remain", min=0)
    ] = 0,
    as_of: Annotated[str, typer.Option(help="First day to simulate, ISO 8601.", show_default="today")] = "",
    simulations: Annotated[int, typer.Option(help="How many futures to simulate.", min=100, max=100_000)] = 10_000,
    seed: Annotated[
        int | None, typer.Option(help="The same seed and data give the same forecast.", show_default="by chance", min=0)
    ] = None,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Forecast the open sprint and the backlog by simulation from the team's own closed sprints.

    A forecast is a chance, not a promise: "85 %" means that it comes true about 85 times in 100. Whether past ones
    did is shown below it. The team's last sprints count most, and people who are away are taken into account.

    Examples: [bold]dsm forecast SHOP[/bold], [bold]dsm forecast SHOP --by 2026-06-30[/bold],
    [bold]dsm forecast SHOP --tasks 40[/bold], [bold]dsm forecast SHOP-S03[/bold]
    """
    common = {"as_of_date": as_of, "simulations": simulations, "seed": seed}
    with connect(target) as dsm:
        sprint_id = target_of_forecast if is_sprint(target_of_forecast) else ""
        of_sprint = of_backlog = None
        if not sprint_id:
            request = ForecastBacklogRequest(
                project_id=target_of_forecast,
                target_date=by,
                task_count=tasks,
                **common,  # type: ignore[arg-type]
            )
            of_backlog = dsm.orchestrator.ForecastBacklog(request, timeout=_TIMEOUT_SECONDS).forecast
            sprint_id = _sprint_under_way(dsm, target_of_forecast, as_of)
        if sprint_id:
            asked = ForecastSprintRequest(sprint_id=sprint_id, **common)  # type: ignore[arg-type]
            of_sprint = dsm.orchestrator.ForecastSprint(asked, timeout=_TIMEOUT_SECONDS).forecast
    if as_json:
        found = {"sprint": of_sprint, "backlog": of_backlog}
        print_json({name: answer for name, answer in found.items() if answer})
        return
    show(out, of_sprint, of_backlog)


def show(console: Console, of_sprint: SprintForecast | None, of_backlog: BacklogForecast | None) -> None:
    """The forecasts, what they rest on, and how past ones did."""
    if of_sprint:
        _show_sprint(console, of_sprint)
        console.print()
    if of_backlog:
        _show_backlog(console, of_backlog)
        console.print()
    if answer := of_backlog or of_sprint:
        _show_basis(console, answer.basis)
        console.print()
        show_calibration(console, answer.calibration)


def show_calibration(console: Console, calibration: ForecastCalibration) -> None:
    """How often what was said with a confidence came true."""
    console.print("[bold]Past forecasts[/bold]")
    if not calibration.forecasts_evaluated:
        console.print("None whose end is known yet: close a sprint that was forecast, and this tells how that went.")
        return
    known = counted(calibration.forecasts_evaluated, "forecast")
    brier = ""
    if calibration.HasField("brier_score"):
        brier = f"; Brier score of the chances {calibration.brier_score:.2f} (0 is perfect, 0.25 is a coin)"
    few = " [yellow]Too few to judge by.[/yellow]" if calibration.not_enough_data else ""
    console.print(f"{known} whose end is known{brier}.{few}")
    drawn = Table("said", "came true, │ = as said", "", box=None, header_style="bold")
    for entry in calibration.coverage:
        if entry.HasField("observed_rate"):
            bar = charts.bar(entry.observed_rate, 1, mark=entry.confidence_percent / 100)
            drawn.add_row(f"{entry.confidence_percent} %", bar, f"{entry.observed_rate:.0%} of {entry.forecasts}")
    console.print(drawn)
    filled = [bucket for bucket in calibration.buckets if bucket.forecasts]
    if not filled:
        return
    drawn = Table("chance said", "sprints completed, │ = as said", "", box=None, header_style="bold")
    for bucket in filled:
        bar = charts.bar(bucket.observed_rate, 1, mark=bucket.mean_probability)
        low, high = f"{bucket.probability_low:.0%}", f"{bucket.probability_high:.0%}"
        drawn.add_row(f"{low} to {high}", bar, f"{bucket.observed_rate:.0%} of {bucket.forecasts}")
    console.print(drawn)


def _sprint_under_way(dsm: Client, project_id: str, as_of: str) -> str:
    """The project's open sprint, if the day asked about is one of its days; else ""."""
    sprint = open_sprint_of(dsm, project_id)
    if sprint is None or (as_of and not sprint.start_date <= as_of <= sprint.end_date):
        return ""
    return sprint.sprint_id


def _show_sprint(console: Console, answer: SprintForecast) -> None:
    console.print(
        f"[bold]{escape(answer.sprint_id)}[/bold] ends on {answer.end_date}: "
        f"{counted(answer.remaining_tasks, 'task')} left, {counted(answer.remaining_working_days, 'working day')}."
    )
    if not answer.remaining_tasks:
        console.print("Everything that it holds is done.")
        return
    if not answer.remaining_working_days:
        console.print("Nobody works on it any more before it ends: what is left goes back when it is closed.")
        return
    line = Table(box=None, show_header=False)
    chance = answer.completion_probability
    line.add_row("Chance that all get done by then", charts.bar(chance, 1), f"[bold]{chance:.0%}[/bold]")
    console.print(line)
    _show_counts(console, f"Of the {answer.remaining_tasks} left, done by {answer.end_date}", answer.tasks_by_end)
    _show_dates(console, "All done by", answer.completion_dates, answer.basis.as_of_date, answer.end_date)


def _show_backlog(console: Console, answer: BacklogForecast) -> None:
    console.print(
        f"[bold]{escape(answer.project_id)}[/bold] from {answer.basis.as_of_date}: "
        f"{counted(answer.remaining_tasks, 'open task')}."
    )
    if answer.tasks_by_date:
        _show_counts(console, f"Done by {answer.target_date}", answer.tasks_by_date)
    title = f"{counted(answer.task_count, 'task')} done by"
    _show_dates(console, title, answer.completion_dates, answer.basis.as_of_date)


def _show_counts(console: Console, title: str, counts: Sequence[TasksForecast]) -> None:
    most = max((entry.task_count for entry in counts), default=0)
    drawn = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    for entry in counts:
        drawn.add_row(
            f"{entry.confidence_percent} %", charts.bar(entry.task_count, most), f"at least {entry.task_count:,}"
        )
    console.print(drawn)


def _show_dates(console: Console, title: str, entries: Sequence[DateForecast], first: str, mark: str = "") -> None:
    """Days with a given chance on a line of time that begins on the first day simulated."""
    known = [_days(first, entry.completion_date) for entry in entries if entry.HasField("completion_date")]
    if mark:
        title = f"{title}, │ = the sprint's end"
    full = max([*known, _days(first, mark) if mark else 0, 1])
    drawn = Table(title=title, title_justify="left", title_style="bold", box=None, show_header=False)
    for entry in entries:
        late = not entry.HasField("completion_date")
        days = full if late else _days(first, entry.completion_date)
        bar = charts.bar(days, full, mark=_days(first, mark) if mark else None)
        drawn.add_row(f"{entry.confidence_percent} %", bar, "later than five years" if late else entry.completion_date)
    console.print(drawn)


def _show_basis(console: Console, basis: ForecastBasis) -> None:
    console.print(
        f"[dim]From {counted(basis.sampled_sprints, 'closed sprint')} of {basis.sampled_days} working days, "
        f"{basis.mean_tasks_per_day:.2f} tasks a day; {basis.simulations:,} simulations, seed {basis.seed}.[/dim]"
    )


def _days(first: str, last: str) -> int:
    """Days from one to the other, both included."""
    return (date.fromisoformat(last) - date.fromisoformat(first)).days + 1
