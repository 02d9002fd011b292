"""`dsm board`: where a project's work stands."""

from collections.abc import Sequence
from typing import Annotated

import typer
from dsm.backlog.v1.backlog_service_pb2 import TASK_ORDER_RANK, ListTasksRequest
from dsm.backlog.v1.task_pb2 import (
    TASK_STATE_ASSIGNED_TO_SPRINT,
    TASK_STATE_BLOCKED,
    TASK_STATE_COMPLETED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_UNASSIGNED,
    Priority,
    Task,
)
from dsm.sprint.v1.sprint_pb2 import SPRINT_TASK_OUTCOME_CANCELLED, SPRINT_TASK_OUTCOME_REMOVED, Sprint, SprintTask
from rich.console import Console
from rich.table import Table
from rich.text import Text

from services.cli.client import TargetOption, connect
from services.cli.lookup import Names, name, names_of, open_sprint_of, word
from services.cli.output import JsonOption, err, escape, out, print_json, table
from services.cli.planning import headline

_COLUMNS = {
    TASK_STATE_ASSIGNED_TO_SPRINT: "To do",
    TASK_STATE_IN_PROGRESS: "In progress",
    TASK_STATE_BLOCKED: "Blocked",
    TASK_STATE_COMPLETED: "Done",
}
_LEFT_THE_SPRINT = (SPRINT_TASK_OUTCOME_REMOVED, SPRINT_TASK_OUTCOME_CANCELLED)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(board)


def board(
    project: Annotated[str, typer.Argument(help="The project.")],
    top: Annotated[int, typer.Option(help="Tasks to show of a backlog.", min=1, max=250)] = 20,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the open sprint's tasks by state or, without an open sprint, the top of the backlog.

    Example: [bold]dsm board SHOP[/bold]
    """
    with connect(target) as dsm:
        sprint = open_sprint_of(dsm, project)
        tasks: Sequence[Task] = ()
        if sprint is None:
            request = ListTasksRequest(
                project_id=project, states=[TASK_STATE_UNASSIGNED], order=TASK_ORDER_RANK, page_size=top
            )
            tasks = dsm.backlog.ListTasks(request).tasks
        names = names_of(dsm, project)
    if as_json:
        print_json({"sprint": sprint, "backlog": list(tasks)})
    elif sprint is not None:
        show_board(out, sprint, names)
    else:
        _show_backlog(project, tasks, names)


def show_board(console: Console, sprint: Sprint, names: Names) -> None:
    """A sprint's tasks in columns by state."""
    console.print(headline(sprint))
    console.print()
    present = [task for task in sprint.tasks if task.outcome not in _LEFT_THE_SPRINT]
    columns = {state: [task for task in present if task.state == state] for state in _COLUMNS}
    made = Table(show_edge=False, header_style="bold", expand=True)
    for state, tasks in columns.items():
        points = sum(task.points for task in tasks)
        heading = f"{_COLUMNS[state]} ({len(tasks)}, {points:g} points)" if tasks else _COLUMNS[state]
        made.add_column(heading, ratio=4 if tasks else 1)
    for row in range(max(len(tasks) for tasks in columns.values())):
        made.add_row(*(_card(tasks[row], names) if row < len(tasks) else "" for tasks in columns.values()))
    console.print(made)


def _card(task: SprintTask, names: Names) -> Text:
    parts = [name(names, task.assignee_id)]
    parts += [f"{task.points:g} points"] if task.HasField("points") else []
    parts += [f"{task.progress_percent} %"] if 0 < task.progress_percent < 100 else []
    # The project is in the headline.
    number = task.task_id.rpartition("-")[2]
    return Text.assemble((number, "cyan"), f" {task.title}\n", (f"{', '.join(parts)}\n", "dim"))


def _show_backlog(project: str, tasks: Sequence[Task], names: Names) -> None:
    if not tasks:
        out.print(f"{escape(project)} has no open sprint and nothing to plan.")
        return
    rows = [
        (
            task.task_id,
            task.title,
            task.type,
            f"{task.points:g}" if task.HasField("points") else "",
            word(Priority, task.priority),
            name(names, task.assignee_id) if task.assignee_id else "",
        )
        for task in tasks
    ]
    columns = ["Task", "Title", "Type", "Points", "Priority", "Assignee"]
    out.print(table(f"No open sprint; the top of the backlog of {project}", columns, rows, right=["Points"]))
    err.print(f"Plan a sprint from it with `dsm plan {escape(project)}`.")
