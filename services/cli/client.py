"""A running DSM, as commands see it: blocking stubs of every service, and errors as one sentence.

A command that talks to DSM looks like this:

    def board(project_id: str, target: TargetOption = "", as_json: JsonOption = False) -> None:
        with connect(target) as dsm:
            answer = dsm.sprint.GetActiveSprint(GetActiveSprintRequest(project_id=project_id))

Calls that fail inside `with connect(…)` become a CliError, which `main` prints as one sentence; a command that wants
to look at an error itself catches grpc.RpcError around its call and asks `failure(error)` for code and reason.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

import grpc
import typer
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.chronicle.v1.chronicle_service_pb2_grpc import ChronicleServiceStub
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub
from dsm.common.v1.status_service_pb2_grpc import StatusServiceStub
from dsm.embedding.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from dsm.sprint.v1.daily_scrum_service_pb2_grpc import DailyScrumServiceStub
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.cli.data import data_folder
from services.cli.errors import CliError
from services.cli.names import DEFAULT_PORT, HOST, SERVICES, STATEFUL, address_variable
from services.cli.tls import fault, open_channel
from services.cli.who import introduced
from services.local.folder import read_state

DEFAULT_TARGET = f"{HOST}:{DEFAULT_PORT}"
_GIVE_TOKEN = "with --token or in a file that DSM_TOKEN_FILE names"
_TOKEN_WANTED = {
    "TOKEN_MISSING": f"DSM at {{}} asks who you are: give your token {_GIVE_TOKEN}; `dsm token` makes one.",
    "TOKEN_INVALID": f"DSM at {{}} does not take your token: give one that is meant for it {_GIVE_TOKEN}.",
    "TOKEN_EXPIRED": f"Your token has expired, says DSM at {{}}: give a new one {_GIVE_TOKEN}.",
}
_CHANNEL_OPTIONS = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]

TargetOption = Annotated[
    str,
    typer.Option(
        "--target",
        envvar="DSM_TARGET",
        metavar="HOST:PORT",
        help="Address of DSM.",
        show_default=f"DSM_<SERVICE>_ADDRESS, else what runs in the data folder, else {DEFAULT_TARGET}",
    ),
]


def _stateful(service: str) -> str:
    if service and service not in STATEFUL:
        raise CliError(f"{service!r} is no service with events: it is one of {', '.join(STATEFUL)}.")
    return service


ServiceOption = Annotated[
    str,
    typer.Option("--service", "-s", metavar="NAME", help="The service.", show_default="all", callback=_stateful),
]


class Client:
    """The stubs of every service. `addresses` tells where each one listens; several may share an address."""

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        # One channel per process that listens.
        self._channels = {
            address: introduced(open_channel(address, _CHANNEL_OPTIONS))
            for address in dict.fromkeys(self.addresses.values())
        }
        self.project = ProjectServiceStub(self.channel("project"))
        self.backlog = BacklogServiceStub(self.channel("backlog"))
        self.sprint = SprintServiceStub(self.channel("sprint"))
        self.daily_scrum = DailyScrumServiceStub(self.channel("sprint"))
        self.chronicle = ChronicleServiceStub(self.channel("chronicle"))
        self.orchestrator = OrchestratorServiceStub(self.channel("orchestrator"))
        self.embedding = EmbeddingServiceStub(self.channel("embedding"))

    def channel(self, service: str) -> grpc.Channel:
        """The channel to the process that runs a service."""
        return self._channels[self.addresses[service]]

    def status(self, service: str) -> StatusServiceStub:
        """The StatusService of the process that runs a service; every process has one."""
        return StatusServiceStub(self.channel(service))

    def admin(self, service: str) -> AdminServiceStub:
        """The AdminService of the process that runs a service."""
        return AdminServiceStub(self.channel(service))

    def processes(self) -> list[str]:
        """One service of each process: the name to ask for what concerns every service that runs there."""
        first: dict[str, str] = {}
        for name, address in self.addresses.items():
            first.setdefault(address, name)
        return list(first.values())

    def close(self) -> None:
        """Close every channel."""
        for channel in self._channels.values():
            channel.close()


@dataclass(frozen=True)
class Failure:
    """What a failed call said. `reason` is empty if the answer did not come from DSM's own code."""

    code: str
    reason: str
    message: str
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)


@contextmanager
def connect(target: str = "", data: Path | None = None) -> Iterator[Client]:
    """The DSM at `target`, else by DSM_<SERVICE>_ADDRESS, else the one of the data folder, else at localhost:7600.

    Raises CliError for every failed call inside.
    """
    client = Client(find_addresses(target, data))
    try:
        yield client
    except grpc.RpcError as error:
        failed, addresses = failure(error), dict.fromkeys(client.addresses.values())
        unreached = failed.code == "UNAVAILABLE" and not failed.reason
        of_tls = next(filter(None, map(fault, addresses)), "") if unreached else ""
        raise CliError(of_tls or sentence(failed, ", ".join(addresses))) from error
    finally:
        client.close()


def find_addresses(target: str = "", data: Path | None = None) -> dict[str, str]:
    """Where each service listens: at `target`, else by DSM_<SERVICE>_ADDRESS, as the services find each other, else as
    the data folder tells, else at localhost:7600.
    """
    if target:
        return dict.fromkeys(SERVICES, target)
    state = read_state(data_folder(data))
    known = state.urls if state else {}
    return {name: os.environ.get(address_variable(name)) or known.get(name) or DEFAULT_TARGET for name in SERVICES}


def failure(error: grpc.RpcError) -> Failure:
    """What a failed call said, with ErrorInfo and violations taken apart."""
    call = cast("grpc.Call", error)  # gRPC's types do not say so, but every error of a stub is its call as well.
    status = rpc_status.from_call(call)
    info, bad = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    for detail in status.details if status else ():
        for known in (info, bad):
            if detail.Is(known.DESCRIPTOR):
                detail.Unpack(known)
    return Failure(
        code=call.code().name,
        reason=info.reason,
        message=call.details() or "",
        metadata=dict(info.metadata),
        violations=[(violation.field, violation.description) for violation in bad.field_violations],
    )


def sentence(failed: Failure, where: str) -> str:
    """What to tell people about a failed call."""
    if failed.reason in _TOKEN_WANTED:
        return f"{_TOKEN_WANTED[failed.reason].format(where)} ({failed.reason})"
    if failed.reason:
        # The message names the first violation already.
        further = "; ".join(f"{name or 'the request'}: {rule}" for name, rule in failed.violations[1:])
        return f"{failed.message}{f' Also {further}.' if further else ''} ({failed.reason})"
    match failed.code:
        case "UNAVAILABLE":
            return f"DSM does not answer at {where}: start it with `dsm up`, or name its address with --target."
        case "DEADLINE_EXCEEDED":
            return f"DSM at {where} did not answer in time: try again, and look at `dsm status` if it happens again."
        case "UNIMPLEMENTED":
            return f"What listens at {where} does not know this call: it is no DSM, or another version of it."
        case _:
            return f"The call to {where} failed ({failed.code}: {failed.message}): look at `dsm status`."
