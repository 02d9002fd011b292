"""`dsm recover`: brings a service whose database was restored up to what the streams still hold."""

from __future__ import annotations

from typing import Annotated
from uuid import uuid4

import typer
from dsm.common.v1 import admin_service_pb2 as pb

from services.cli.client import TargetOption, connect
from services.cli.data import DataOption
from services.cli.names import STATEFUL
from services.cli.output import JsonOption, counted, err, out, print_json

# The time that it takes to read a week of events.
_TIMEOUT_SECONDS = 1800.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(recover)


def recover(
    service: Annotated[str, typer.Argument(help=f"One of {', '.join(STATEFUL)}.", metavar="SERVICE")],
    target: TargetOption = "",
    data: DataOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back what a service did since the backup that its database was restored from, and what others told it since.

    Run it right after the restore. It may be repeated: with nothing lost it changes nothing.

    Example: [bold]dsm recover backlog[/bold]
    """
    request = pb.RecoverRequest(service=service, request_id=str(uuid4()))
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
