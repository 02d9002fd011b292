"""`dsm recover`: brings a service whose database was restored up to what the streams still hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from uuid import uuid4

import typer
from dsm.common.v1 import admin_service_pb2 as pb

from services.cli.client import TargetOption, connect
from services.cli.data import DataOption
from services.cli.events import parse_since
from services.cli.names import STATEFUL
from services.cli.output import JsonOption, counted, err, out, print_json
from services.kit.convert import from_time

# The time that it takes to read a week of events.
_TIMEOUT_SECONDS = 1800.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(recover)


def recover(
    service: Annotated[str, typer.Argument(help=f"One of {', '.join(STATEFUL)}.", metavar="SERVICE")],
    since: Annotated[
        str, typer.Option(help="Look no further back than this, as 2h or an ISO 8601 time before the backup.")
    ] = "",
    target: TargetOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what a service did since the backup that its database was restored from, and what others told it since.

    Run it right after the restore. It may be repeated: with nothing lost it changes nothing.

    Example: [bold]dsm recover backlog[/bold]
    """
    begin = from_time(parse_since(since, datetime.now(UTC))) if since else None
    request = pb.RecoverRequest(service=service, since_time=begin, request_id=str(uuid4()))
    with connect(target, data) as client, err.status("Reading the streams …"):
        answer = client.admin(service).Recover(request, timeout=_TIMEOUT_SECONDS)
    if as_json:
        print_json(answer)
        return
    out.print(
        f"Took back {counted(answer.event_count, 'event')} of the {service} service's own, and reads "
        f"{counted(answer.stream_count, 'stream')} anew: `dsm status` shows what is left to apply. "
        "Then look at `dsm reconcile`.",
        soft_wrap=True,
    )
