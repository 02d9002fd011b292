"""`dsm strategies`: the rules that the orchestrator has learned from its own decisions."""

from collections.abc import Iterable, Iterator
from typing import Annotated
from uuid import uuid4

import typer
from dsm.orchestrator.v1.orchestrator_service_pb2 import EvolveStrategiesRequest, ListStrategiesRequest
from dsm.orchestrator.v1.strategy_pb2 import Strategy, StrategyState
from rich.text import Text

from services.cli.client import Client, TargetOption, connect
from services.cli.errors import CliError
from services.cli.lookup import word
from services.cli.output import JsonOption, counted, out, print_json, table

_PAGE = 250
_TIMEOUT_SECONDS = 120.0
_STATES = ("candidate", "active", "retired")

ProjectOption = Annotated[str, typer.Option(help="Only what concerns this project.", show_default="all")]


def register(app: typer.Typer) -> None:
    """Add the group, which without a command lists."""
    group = typer.Typer(help="The rules learned from past decisions; without a command they are listed.")
    group.callback(invoke_without_command=True)(strategies)
    group.command()(evolve)
    app.add_typer(group, name="strategies")


def strategies(
    context: typer.Context,
    project: ProjectOption = "",
    state: Annotated[str, typer.Option(help="Only candidate, active or retired ones.", show_default="any")] = "",
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the rules learned from past decisions, surest first.

    Example: [bold]dsm strategies --project SHOP[/bold]
    """
    if context.invoked_subcommand:
        return
    if state and state not in _STATES:
        raise CliError(f"There is no state {state}: use candidate, active or retired.")
    with connect(target) as dsm:
        found = list(_all(dsm, project, state))
    if as_json:
        print_json(found)
    elif found:
        _show(found)
    else:
        out.print("Nothing has been learned: it takes at least eight sprints that were decided on and have closed.")


def evolve(
    project: ProjectOption = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Learn now from what became of past decisions; it happens by itself every hour."""
    request = EvolveStrategiesRequest(project_id=project, dry_run=dry_run, request_id=str(uuid4()))
    with connect(target) as dsm:
        answer = dsm.orchestrator.EvolveStrategies(request, timeout=_TIMEOUT_SECONDS)
    if as_json:
        print_json(answer)
        return
    would = "would be " if dry_run else ""
    figures = f"{len(answer.created)} {would}learned, {len(answer.updated)} changed, {len(answer.retired)} retired"
    out.print(f"From {counted(answer.episodes_considered, 'episode')} with an outcome: {figures}.")
    if changed := [*answer.created, *answer.updated, *answer.retired]:
        out.print()
        _show(changed)


def _all(dsm: Client, project: str, state: str) -> Iterator[Strategy]:
    wanted = StrategyState.Value(f"STRATEGY_STATE_{state.upper() or 'UNSPECIFIED'}")
    request = ListStrategiesRequest(project_id=project, state=wanted, page_size=_PAGE)
    while True:
        answer = dsm.orchestrator.ListStrategies(request)
        yield from answer.strategies
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token


def _show(found: Iterable[Strategy]) -> None:
    out.print(table("", ["Sure", "State", "Rule, and what speaks for it"], map(_row, found), right=["Sure"]))


def _row(strategy: Strategy) -> tuple[object, ...]:
    """Figures that say which rules count, and beside them everything else in words, so that it fits any width."""
    words = Text.assemble(strategy.description, "\n", (_in_words(strategy), "dim"))
    return f"{strategy.confidence:.2f}", word(StrategyState, strategy.state), words


def _in_words(strategy: Strategy) -> str:
    supporting, contradicting = map(_up_to, (strategy.supporting_episode_ids, strategy.contradicting_episode_ids))
    sentences = [f"{strategy.project_id or 'All projects'}: {supporting} outcomes for it, {contradicting} against"]
    if strategy.times_applied:
        applied = f"{counted(strategy.times_applied, 'decision')} followed it"
        sentences.append(f"{applied}, {strategy.successes} well and {strategy.failures} badly so far")
    if strategy.retire_reason:
        sentences.append(strategy.retire_reason.removesuffix("."))
    return "; ".join(sentences) + "."


def _up_to(episode_ids: Iterable[str]) -> str:
    """How many there are; of more than a hundred only the newest hundred are told."""
    count = len(list(episode_ids))
    return f"{count}+" if count >= 100 else str(count)
