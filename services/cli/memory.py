"""`dsm memory`: what the orchestrator remembers of its decisions."""

from datetime import UTC
from typing import Annotated
from uuid import uuid4

import typer
from dsm.orchestrator.v1.episode_pb2 import Episode, EpisodeMatch
from dsm.orchestrator.v1.orchestrator_service_pb2 import EmbedEpisodesRequest, SearchEpisodesRequest

from services.cli.client import TargetOption, connect
from services.cli.output import JsonOption, counted, err, escape, out, print_json, progress, table

# A batch on a slow machine, or by a large model.
_BATCH_SECONDS = 120.0


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="What is remembered of past decisions.", no_args_is_help=True)
    group.command()(search)
    group.command()(backfill)
    app.add_typer(group, name="memory")


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


def backfill(target: TargetOption = "", as_json: JsonOption = False) -> None:
    """Embed every past decision that waits for it, and tell when that is done; exit code 1 if it could not be.

    It happens by itself all the time: this makes sure of it, as after a change of the model. A second run finds
    nothing to do.

    Example: [bold]dsm memory backfill[/bold]
    """
    embedded = 0
    with connect(target) as dsm, progress() as bar:
        line = bar.add_task("Embedding episodes", total=None)
        while True:
            request = EmbedEpisodesRequest(request_id=str(uuid4()))
            answer = dsm.orchestrator.EmbedEpisodes(request, timeout=_BATCH_SECONDS)
            embedded += answer.embedded_episodes
            whole = embedded + answer.waiting_episodes
            bar.update(line, completed=embedded, total=whole)
            if not err.is_terminal:
                err.print(f"{embedded:,} of {counted(whole, 'episode')} embedded")
            if not answer.waiting_episodes:
                break
    if as_json:
        print_json({"embedded_episodes": embedded, "embedding_model": answer.embedding_model})
        return
    by = f" by {escape(answer.embedding_model)}" if answer.embedding_model else ""
    out.print(f"{counted(embedded, 'episode')} embedded{by}; none waits.")


def _row(match: EpisodeMatch) -> tuple[str, ...]:
    episode = match.episode
    when = f"{episode.create_time.ToDatetime(UTC).astimezone():%Y-%m-%d}"
    return f"{match.similarity:.2f}", episode.project_id, when, _decided(episode), _came_to(episode)


def _decided(episode: Episode) -> str:
    decision = episode.decision
    if not decision.create_new_sprint:
        return "no sprint"
    points = f", at most {decision.points_to_assign:g} points" if decision.HasField("points_to_assign") else ""
    tasks = counted(decision.tasks_to_assign, "task")
    return f"{tasks} in {counted(decision.sprint_duration_weeks, 'week')}{points}"


def _came_to(episode: Episode) -> str:
    if not episode.HasField("outcome"):
        return "not known yet" if episode.sprint_id else "nothing was done"
    outcome = episode.outcome
    rate = f", {outcome.completion_rate:.0%}" if outcome.HasField("completion_rate") else ""
    return f"{outcome.completed_tasks} of {outcome.planned_tasks} tasks{rate}"
