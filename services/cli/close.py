"""`dsm close`: end a sprint."""

from enum import StrEnum
from typing import Annotated

import typer
from dsm.backlog.v1.backlog_service_pb2 import RELEASE_POLICY_ROLL_OVER, RELEASE_POLICY_TO_BACKLOG
from dsm.chronicle.v1.note_pb2 import ActionItemState, Retrospective
from dsm.sprint.v1.sprint_pb2 import SprintState
from dsm.sprint.v1.sprint_service_pb2 import CloseSprintRequest, CloseSprintResponse
from rich.console import Console
from rich.table import Table

from services.cli.client import TargetOption, connect
from services.cli.lookup import Names, name, names_of, open_sprint, word
from services.cli.output import JsonOption, escape, out, print_json, table

_TIMEOUT_SECONDS = 65.0


class Policy(StrEnum):
    """What becomes of unfinished tasks."""

    TO_BACKLOG = "to-backlog"
    ROLL_OVER = "roll-over"


_POLICIES = {Policy.TO_BACKLOG: RELEASE_POLICY_TO_BACKLOG, Policy.ROLL_OVER: RELEASE_POLICY_ROLL_OVER}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(close)


def close(
    sprint: Annotated[
        str,
        typer.Argument(
            help="A sprint, or a project with an open one.", metavar="SPRINT|PROJECT", show_default="the open sprint"
        ),
    ] = "",
    policy: Annotated[
        Policy,
        typer.Option(help="Unfinished tasks: back to the backlog, or on top of it with assignee and progress."),
    ] = Policy.TO_BACKLOG,
    date: Annotated[str, typer.Option(help="Day of closing, ISO 8601.", show_default="today")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, change nothing.")] = False,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Close a sprint: unfinished tasks go back, the figures are frozen, the retrospective is written.

    Example: [bold]dsm close SHOP --policy roll-over --dry-run[/bold]
    """
    with connect(target) as dsm:
        found = open_sprint(dsm, sprint)
        request = CloseSprintRequest(
            sprint_id=found.sprint_id, close_date=date, policy=_POLICIES[policy], dry_run=dry_run
        )
        answer = dsm.sprint.CloseSprint(request, timeout=_TIMEOUT_SECONDS)
        names = {} if as_json else names_of(dsm, found.project_id)
    if as_json:
        print_json(answer)
        return
    show_closing(out, answer)
    if dry_run:
        out.print("[yellow]This was a dry run: nothing was changed.[/yellow]")
    out.print()
    show_retrospective(out, answer.retrospective, names)


def show_closing(console: Console, answer: CloseSprintResponse) -> None:
    """How a sprint ended, and its figures."""
    # Without a retrospective it was only asked what would be.
    verb = "is" if answer.retrospective_id else "would be"
    console.print(
        f"[bold]{escape(answer.sprint.sprint_id)}[/bold] {verb} {word(SprintState, answer.final_state)}: "
        f"{answer.completed_tasks_count} tasks completed, {answer.released_tasks_count} given back."
    )
    figures = answer.retrospective.statistics
    rows = [
        ("Planned", figures.planned_tasks, f"{figures.planned_points:g}"),
        ("Completed", figures.completed_tasks, f"{figures.completed_points:g}"),
        ("Given back", figures.released_tasks, f"{figures.released_points:g}"),
    ]
    console.print()
    console.print(table("", ["", "Tasks", "Points"], rows, right=["Tasks", "Points"]))
    parts = [f"{figures.capacity_person_days:g} person-days on {figures.working_days} working days"]
    if figures.HasField("completion_rate"):
        parts.append(f"completion rate {figures.completion_rate:.0%}")
    if figures.HasField("points_per_person_day"):
        parts.append(f"{figures.points_per_person_day:.2f} points per person-day")
    parts.append(f"{figures.impediments_raised} impediments, {figures.impediments_resolved} of them resolved")
    console.print("; ".join(parts) + ".")


def show_retrospective(console: Console, note: Retrospective, names: Names) -> None:
    """What a team takes from a sprint."""
    _show_list(console, "What went well", list(note.what_went_well))
    _show_list(console, "What could be improved", list(note.what_could_be_improved))
    items = [
        f"{item.description} ({word(ActionItemState, item.state)}, {name(names, item.owner_id)})"
        for item in note.action_items
    ]
    _show_list(console, "Action items", items)
    present = ", ".join(name(names, employee_id) for employee_id in note.attendee_ids)
    leader = name(names, note.facilitator_id) if note.facilitator_id else "DSM"
    console.print(escape(f"Attended by {present or 'nobody'}; led by {leader}."))


def _show_list(console: Console, title: str, lines: list[str]) -> None:
    if not lines:
        return
    console.print(f"[bold]{title}[/bold]")
    bullets = Table.grid(padding=(0, 1))
    for line in lines:
        bullets.add_row("  •", escape(line))
    console.print(bullets)
