"""`dsm status`: how every service is."""

from __future__ import annotations

import grpc
import typer
from dsm.common.v1 import status_service_pb2 as pb
from rich.text import Text

from services.cli.client import Client, TargetOption, connect, failure
from services.cli.data import DataOption
from services.cli.output import JsonOption, out, print_json, table

_TIMEOUT_SECONDS = 10.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(target: TargetOption = "", data: DataOption = None, as_json: JsonOption = False) -> None:
    """Show how every service is; exit code 1 if one does not take calls."""
    with connect(target, data) as client:
        found = statuses(client)
    if as_json:
        print_json({"ready": all(it.ready for it in found), "services": found})
    else:
        _show(found)
    if not all(it.ready for it in found):
        raise typer.Exit(1)


def statuses(client: Client) -> list[pb.ServiceStatus]:
    """The status of every service; those of a process that does not answer are not ready.

    Raises grpc.RpcError if none answers.
    """
    found: dict[str, pb.ServiceStatus] = {}
    errors = []
    for address in dict.fromkeys(client.addresses.values()):
        names = [name for name in client.addresses if client.addresses[name] == address]
        try:
            answer = client.status(names[0]).GetStatus(pb.GetStatusRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            errors.append(error)
            reason = f"Its process at {address} does not answer ({failure(error).code})."
            found |= {name: pb.ServiceStatus(service=name, not_ready_reasons=[reason]) for name in names}
        else:
            found |= {it.service: it for it in answer.services}
    if len(errors) == len(set(client.addresses.values())):
        raise errors[0]
    return list(found.values())


def _show(found: list[pb.ServiceStatus]) -> None:
    columns = ("Service", "Ready", "Database", "Events", "Calls", "Embeddings")
    out.print(table("", columns, [_row(it) for it in found]))
    for it in found:
        for reason in it.not_ready_reasons:
            out.print(Text(f"{it.service} is not ready: {reason}", style="red"), soft_wrap=True)
        for reason in it.degraded_reasons:
            out.print(Text(f"{it.service} is degraded: {reason}", style="yellow"), soft_wrap=True)


def _row(it: pb.ServiceStatus) -> tuple[str | Text, ...]:
    ready = Text("yes", style="green") if it.ready else Text("no", style="bold red")
    return it.service, ready, _database(it), _events(it), _callees(it), _embeddings(it)


def _database(it: pb.ServiceStatus) -> str:
    """Round trip, and what is odd; what a service does not have stays empty, here and below."""
    if not it.HasField("database"):
        return ""
    database = it.database
    if not database.reachable:
        return "unreachable"
    parts = [f"{database.latency_ms:.1f} ms"]
    if database.pool_waiting:
        parts.append(f"{database.pool_waiting} wait for {database.pool_size} connections")
    if database.migration_revision != database.migration_head:
        parts.append(f"at {database.migration_revision or 'none'}, the code knows {database.migration_head}")
    return ", ".join(parts)


def _events(it: pb.ServiceStatus) -> str:
    if not it.HasField("event_stream"):
        return ""
    stream = it.event_stream
    parts = ["connected" if stream.connected else "unreachable"]
    if stream.outbox_depth:
        parts.append(f"{stream.outbox_depth} to publish, oldest {stream.outbox_lag_seconds:.0f} s")
    if pending := sum(consumer.pending + consumer.unacknowledged for consumer in stream.consumers):
        parts.append(f"{pending} to apply")
    if stream.dead_letters:
        parts.append(f"{stream.dead_letters} dead letters")
    return ", ".join(parts)


def _callees(it: pb.ServiceStatus) -> str:
    """How many are well, and by name those that are not."""
    odd = [callee for callee in it.callees if not callee.reachable or callee.breaker != pb.BREAKER_STATE_CLOSED]
    parts = [f"{callee.service} {_reachable(callee.reachable)}{_breaker(callee.breaker)}" for callee in odd]
    if well := len(it.callees) - len(odd):
        parts.insert(0, f"{well} ok")
    return ", ".join(parts)


def _embeddings(it: pb.ServiceStatus) -> str:
    if not it.HasField("embedding_backend"):
        return ""
    backend = it.embedding_backend
    return f"{backend.backend} {_reachable(backend.reachable)}{_breaker(backend.breaker)}"


def _reachable(reachable: bool) -> str:
    return "ok" if reachable else "away"


def _breaker(state: pb.BreakerState.ValueType) -> str:
    """What a breaker does, unless it is closed as it should be."""
    names = {pb.BREAKER_STATE_OPEN: " (breaker open)", pb.BREAKER_STATE_HALF_OPEN: " (breaker half open)"}
    return names.get(state, "")
