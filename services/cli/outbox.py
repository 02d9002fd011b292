"""`dsm outbox replay`: publishes events again, for a stream that was lost."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer
from dsm.common.v1 import admin_service_pb2 as pb
from dsm.common.v1 import status_service_pb2

from services.cli.client import Client, ServiceOption, TargetOption, connect
from services.cli.data import DataOption
from services.cli.events import parse_since
from services.cli.output import JsonOption, counted, out, print_json, progress, table
from services.kit.convert import from_time

# The time it takes to mark a week of events.
_TIMEOUT_SECONDS = 600.0


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Publish events again.", no_args_is_help=True)
    group.command()(replay)
    # With one command alone, typer would leave the command's name out.
    group.callback()(lambda: None)
    app.add_typer(group, name="outbox")


def replay(
    since: Annotated[str, typer.Option(help="From when: 10m, 2h, 1d (ago), or an ISO 8601 time.")],
    service: ServiceOption = "",
    target: TargetOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish what was committed since a time again, so that a lost stream is rebuilt. Consumers apply none twice.

    Example: [bold]dsm outbox replay --since 2h --service sprint[/bold]
    """
    begin = parse_since(since, datetime.now(UTC))
    counts: dict[str, int] = {}
    with connect(target, data) as client, progress() as bar:
        names = [service] if service else _publishers(client)
        task = bar.add_task("Queueing events", total=len(names))
        for name in names:
            request = pb.ReplayOutboxRequest(service=name, since_time=from_time(begin), request_id=str(uuid4()))
            counts[name] = client.admin(name).ReplayOutbox(request, timeout=_TIMEOUT_SECONDS).event_count
            bar.advance(task)
    if as_json:
        print_json({"event_count": sum(counts.values()), "services": counts})
        return
    out.print(
        table("", ["Service", "Events"], [(name, f"{count:,}") for name, count in counts.items()], right=["Events"])
    )
    out.print(
        f"\nQueued {counted(sum(counts.values()), 'event')} since {begin.astimezone():%Y-%m-%d %H:%M:%S} again; "
        "`dsm status` shows how many are left.",
        soft_wrap=True,
    )


def _publishers(client: Client) -> list[str]:
    """The services that publish, as each process says which of them it runs."""
    found: list[str] = []
    for name in client.processes():
        answer = client.status(name).GetStatus(status_service_pb2.GetStatusRequest())
        found += [it.service for it in answer.services if it.HasField("database")]
    return found
