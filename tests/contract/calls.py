"""Any call of the contract on a real socket, and what came back: an answer, or a well-formed refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from services.kit.serving.watch import TOKEN_HEADER
from services.kit.telemetry import metrics
from tests.contract.methods import named_reasons, short
from tests.harness import World

# What grpc.aio says of a stream that is refused before it is sent, and then never what the server said. Asked again.
_UNSENT = "Internal error from Core"
# A watch has no end: one that was let in and then said nothing wrong for so many seconds is well.
_WATCHED = 0.3

Headers = Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Outcome:
    """What a call came to. `body` is the answer as it went over the wire."""

    code: str
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[str, ...] = ()
    body: bytes = b""
    details: str = ""

    @property
    def ok(self) -> bool:
        """True if the call was answered."""
        return self.code == "OK"

    def __str__(self) -> str:
        return f"{self.code} {self.reason} {self.metadata} {self.violations} {self.details!r}"


class Caller:
    """Calls any method of the contract on the service of a world that has it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def call(
        self,
        method: MethodDescriptor,
        *requests: Message | bytes,
        seconds: float | None = None,
        headers: Headers = (),
    ) -> Outcome:
        """One call, with a deadline in `seconds` or none; a client stream sends all `requests`."""
        channel = await self._world.channel(_home(method))
        try:
            return Outcome("OK", body=await asyncio.wait_for(_send(channel, method, requests, seconds, headers), 30))
        except grpc.aio.AioRpcError as error:
            if method.client_streaming and error.details() == _UNSENT:
                return await self.call(method, *requests, seconds=seconds, headers=headers)
            return _refusal(method, error, alone=seconds is not None)
        except asyncio.CancelledError:
            # What grpc.aio says of a client stream whose deadline passes before it is sent.
            if seconds is None:
                raise
            return Outcome("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")

    async def answer(self, method: MethodDescriptor, *requests: Message) -> Any:
        """The answer to a call that must be answered."""
        outcome = await self.call(method, *requests)
        assert outcome.ok, f"{method.full_name}({requests}): {outcome}"
        return message_factory.GetMessageClass(method.output_type).FromString(outcome.body)


def _home(method: MethodDescriptor) -> str:
    """The service that answers; those that every process has are asked where there are consumers."""
    package = method.containing_service.file.package.split(".")[1]
    if method.name == "Reconcile":
        return "sprint"
    return "backlog" if package == "common" else package


async def _send(
    channel: grpc.aio.Channel,
    method: MethodDescriptor,
    requests: Sequence[Message | bytes],
    seconds: float | None,
    headers: Headers,
) -> bytes:
    """The bytes of the answer; of a server stream, those of all its messages."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = "stream_unary" if method.client_streaming else "unary_stream" if method.server_streaming else "unary_unary"
    callable_: Any = getattr(channel, kind)(path, request_serializer=_bytes)
    given = _each(requests) if method.client_streaming else requests[0]
    sent = callable_(given, timeout=seconds, metadata=list(headers))
    return await _drain(sent) if method.server_streaming else bytes(await sent)


async def _drain(stream: Any) -> bytes:
    received: list[bytes] = []
    # Only a watch that was let in has the header; every other stream ends by itself, however long that takes.
    limit = _WATCHED if TOKEN_HEADER in dict(await stream.initial_metadata() or ()) else None
    try:
        while (message := await asyncio.wait_for(stream.read(), limit)) is not grpc.aio.EOF:
            received.append(message)
    except TimeoutError:
        stream.cancel()
    return b"".join(received)


async def _each(requests: Sequence[Message | bytes]) -> AsyncIterator[Message | bytes]:
    for request in requests:
        yield request


def _bytes(request: Message | bytes) -> bytes:
    return request if isinstance(request, bytes) else request.SerializeToString()


def _refusal(method: MethodDescriptor, error: grpc.aio.AioRpcError, *, alone: bool) -> Outcome:
    """What an error says, checked: exactly one ErrorInfo of domain dsm with a reason of the call's, and no INTERNAL.

    `alone`: the client may have given up by itself, and then there is no word from the server.
    """
    code, details = error.code().name, error.details() or ""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an AioRpcError has what from_call needs
    if status is None and alone and code == "DEADLINE_EXCEEDED":
        return Outcome(code, "DEADLINE_EXCEEDED", details=details)
    assert code not in ("INTERNAL", "UNKNOWN"), f"{code}: {details}"
    assert status is not None, f"{code} without details: {details}"
    infos = [_unpack(detail, error_details_pb2.ErrorInfo()) for detail in status.details]
    [info] = [found for found in infos if found is not None]
    assert info.domain == "dsm", info
    assert info.reason in named_reasons(method), f"the comment of {short(method)} does not name {info.reason}"
    requests = [_unpack(detail, error_details_pb2.BadRequest()) for detail in status.details]
    violations = tuple(violation.field for found in requests if found for violation in found.field_violations)
    return Outcome(code, info.reason, dict(info.metadata), violations, details=details)


def _unpack(detail: Any, message: Any) -> Any:
    if not detail.Is(message.DESCRIPTOR):
        return None
    detail.Unpack(message)
    return message


def failures() -> dict[str, float]:
    """How often each method failed by a fault of its own; the servers run in this process and count it."""
    return {
        sample.labels["method"]: sample.value
        for metric in metrics.CALLS.collect()
        for sample in metric.samples
        if sample.name.endswith("_total") and sample.labels["code"] in ("INTERNAL", "UNKNOWN")
    }
