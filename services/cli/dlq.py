"""`dsm dlq`: dead letters, which are events that a consumer gave up on."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from datetime import UTC
from itertools import islice
from typing import Annotated, Any
from uuid import uuid4

import typer
from dsm.common.v1 import admin_service_pb2 as pb
from dsm.events.v1 import event_pb2
from google.protobuf.message import DecodeError

from services.cli.client import Client, ServiceOption, TargetOption, connect
from services.cli.data import DataOption
from services.cli.errors import CliError
from services.cli.output import JsonOption, counted, out, plain, print_json, progress, table

_PAGE = 100
# Letters replayed by one call, each in a transaction of its own.
_BATCH = 50
_TIMEOUT_SECONDS = 120.0
# Enough of a random id to tell it from the others.
_SHORT_ID = 8


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Look at dead letters, and try them again.", no_args_is_help=True)
    group.command("list")(list_)
    group.command()(show)
    group.command()(replay)
    app.add_typer(group, name="dlq")


def list_(
    service: ServiceOption = "",
    count: Annotated[int, typer.Option(min=1, help="Show at most so many.")] = 50,
    target: TargetOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the events that a consumer gave up on, oldest first."""
    with connect(target, data) as client:
        found = list(islice(dead_letters(client, service), count + 1))
    letters = found[:count]
    if as_json:
        print_json(letters)
        return
    if not letters:
        out.print("There are no dead letters.")
        return
    rows = [
        (
            it.dead_letter_id[:_SHORT_ID],
            f"{it.create_time.ToDatetime(UTC).astimezone():%Y-%m-%d %H:%M:%S}",
            it.consumer,
            it.subject.removeprefix("dsm."),
            it.attempts,
            it.error.partition("\n")[0],
        )
        for it in letters
    ]
    out.print(table("", ["Id", "Since", "Consumer", "Subject", "Tries", "Error"], rows, right=["Tries"]))
    if len(found) > count:
        out.print(f"\nThere are more: show them with --count {count * 10}.")


def show(
    dead_letter_id: Annotated[str, typer.Argument(help="Its id, or the beginning of it.", metavar="ID")],
    service: ServiceOption = "",
    target: TargetOption = "",
    data: DataOption = None,
) -> None:
    """Show one dead letter as JSON, with the event in it."""
    with connect(target, data) as client:
        [letter] = _chosen(client, [dead_letter_id], service)
    print_json(plain(letter) | {"event": _event(letter.payload)})


def replay(
    ids: Annotated[list[str] | None, typer.Argument(help="Ids, or their beginnings.", metavar="ID")] = None,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    service: ServiceOption = "",
    target: TargetOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Hand dead letters to their consumers again; exit code 1 if one fails again, which stays then.

    Example: [bold]dsm dlq replay --all --service backlog[/bold]
    """
    if bool(ids) == every:
        raise CliError("Name the dead letters to replay by their ids, or say --all.")
    with connect(target, data) as client:
        answer = _replay(client, _chosen(client, ids or [], service))
    if as_json:
        print_json(answer)
    elif answer.failed_count:
        total = answer.applied_count + answer.failed_count
        out.print(f"{answer.failed_count:,} of {counted(total, 'dead letter')} failed again: `dsm dlq list` shows why.")
    else:
        out.print(f"Applied {counted(answer.applied_count, 'dead letter')}.")
    if answer.failed_count:
        raise typer.Exit(1)


def dead_letters(client: Client, service: str = "") -> Iterator[pb.DeadLetter]:
    """The dead letters of one service, or of all in every process, oldest first."""
    asked = [service] if service else client.processes()
    yield from heapq.merge(*(_pages(client, name, service) for name in asked), key=_age)


def _pages(client: Client, process: str, service: str) -> Iterator[pb.DeadLetter]:
    request = pb.ListDeadLettersRequest(service=service, page_size=_PAGE)
    while True:
        answer = client.admin(process).ListDeadLetters(request, timeout=_TIMEOUT_SECONDS)
        yield from answer.dead_letters
        request.page_token = answer.next_page_token
        if not request.page_token:
            return


def _age(letter: pb.DeadLetter) -> tuple[int, int, str]:
    return letter.create_time.seconds, letter.create_time.nanos, letter.dead_letter_id


def _chosen(client: Client, ids: Sequence[str], service: str) -> list[pb.DeadLetter]:
    """The dead letters that begin with these ids, without ids all. Raises CliError unless each id means one letter."""
    every = list(dead_letters(client, service))
    if not ids:
        return every
    chosen: dict[str, pb.DeadLetter] = {}
    for wanted in ids:
        meant = [letter for letter in every if letter.dead_letter_id.startswith(wanted.lower())]
        if len(meant) != 1:
            what = f"{len(meant)} dead letters begin" if meant else "No dead letter begins"
            raise CliError(f"{what} with {wanted!r}: `dsm dlq list --json` shows whole ids.")
        chosen[meant[0].dead_letter_id] = meant[0]
    return list(chosen.values())


def _replay(client: Client, letters: Sequence[pb.DeadLetter]) -> pb.ReplayDeadLettersResponse:
    """Replay letters in batches, service by service; the counts of all together."""
    total = pb.ReplayDeadLettersResponse()
    with progress() as bar:
        task = bar.add_task("Replaying", total=len(letters))
        for service in dict.fromkeys(letter.service for letter in letters):
            ids = [letter.dead_letter_id for letter in letters if letter.service == service]
            for start in range(0, len(ids), _BATCH):
                some = ids[start : start + _BATCH]
                request = pb.ReplayDeadLettersRequest(service=service, dead_letter_ids=some, request_id=str(uuid4()))
                answer = client.admin(service).ReplayDeadLetters(request, timeout=_TIMEOUT_SECONDS)
                total.applied_count += answer.applied_count
                total.failed_count += answer.failed_count
                bar.advance(task, len(some))
    return total


def _event(payload: bytes) -> Any:
    """The event in a message as JSON; None if it is none."""
    try:
        return plain(event_pb2.Event.FromString(payload))
    except DecodeError:
        return None
