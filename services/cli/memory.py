"""`dsm memory`: what the orchestrator remembers of its decisions."""

from datetime import UTC
from typing import Annotated

import typer
from dsm.orchestrator.v1.episode_pb2 import Episode, EpisodeMatch
from dsm.orchestrator.v1.orchestrator_service_pb2 import SearchEpisodesRequest

from services.cli.client import TargetOption, connect
from services.cli.output import JsonOption, escape, out, print_json, table


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="What is remembered of past decisions.", no_args_is_help=True)
    # Told to be a group though it has one command: typer would make that one `dsm memory` itself.
    group.callback()(_memory)
    group.command()(search)
    app.add_typer(group, name="memory")


def _memory() -> None:
    """What is remembered of past decisions."""


def search(
    text: Annotated[str, typer.Argument(help="A situation in words.")],
    project: Annotated[str, typer.Option(help="Only this project's.", show_default="all")] = "",
    count: Annotated[int, typer.Option(help="Most episodes shown.", min=1, max=50)] = 5,
    least: Annotated[float, typer.Option(help="Least likeness, 0 to 1.", min=0, max=1)] = 0.0,
    with_outcome: Annotated[bool, typer.Option("--with-outcome", help="Only those whose sprint has closed.")] = False,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Find past decisions whose situation is like what the text says.

    Example: [bold]dsm memory search "small team, plan far too heavy" --with-outcome[/bold]
    """
    request = SearchEpisodesRequest(
        query=text, project_id=project, max_results=count, minimum_similarity=least, with_outcome_only=with_outcome
    )
    with connect(target) as dsm:
        found = dsm.orchestrator.SearchEpisodes(request)
    if as_json:
        print_json(found)
        return
    if not found.matches:
        out.print("Nothing like it is remembered: `dsm decide PROJECT` makes decisions, and their sprints outcomes.")
        return
    columns = ["Like", "Project", "When", "Decided", "Came to"]
    out.print(table("", columns, map(_row, found.matches), right=["Like"]))
    out.print()
    for number, match in enumerate(found.matches, start=1):
        out.print(f"{number}. {escape(match.episode.context_text)}")


def _row(match: EpisodeMatch) -> tuple[str, ...]:
    episode = match.episode
    when = f"{episode.create_time.ToDatetime(UTC).astimezone():%Y-%m-%d}"
    return f"{match.similarity:.2f}", episode.project_id, when, _decided(episode), _came_to(episode)


def _decided(episode: Episode) -> str:
    decision = episode.decision
    if not decision.create_new_sprint:
        return "no sprint"
    points = f", at most {decision.points_to_assign:g} points" if decision.HasField("points_to_assign") else ""
    return f"{decision.tasks_to_assign} tasks in {decision.sprint_duration_weeks} weeks{points}"


def _came_to(episode: Episode) -> str:
    if not episode.HasField("outcome"):
        return "not known yet" if episode.sprint_id else "nothing was done"
    outcome = episode.outcome
    rate = f", {outcome.completion_rate:.0%}" if outcome.HasField("completion_rate") else ""
    return f"{outcome.completed_tasks} of {outcome.planned_tasks} tasks{rate}"
