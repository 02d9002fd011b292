"""What every call passes on its way to a handler and back: one interceptor, in this order.

1. translate: whatever is raised below becomes exactly one google.rpc.Status with one ErrorInfo; a metric follows.
2. admit: a draining or overfull server turns the call away before it costs anything.
3. guard, where identity or a rate limit is on: the token's caller, the caller's rate, the role that the call needs.
4. validate: the contract's own rules (protovalidate); the handler sees only well-formed requests.
5. identify: correlation id, actor, deadline and request_id, now known to be well-formed, become the call at hand.
6. answer once: a request_id that was answered gets its first answer, if the same caller asks.
7. repeat: a transaction that PostgreSQL asked to repeat is repeated, a few times.
"""

import asyncio
import functools
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from uuid import UUID

import grpc
import psycopg
import structlog
import uuid_utils
from dsm.common.v1 import error_reason_pb2
from google.protobuf.message import DecodeError, Message

from services.kit import call, failpoint, status
from services.kit.call import ACTOR_HEADER, ANONYMOUS, CORRELATION_HEADER, Call, RequestKey
from services.kit.data.database import CONFLICTS, AlreadyAnswered, Database
from services.kit.errors import (
    Aborted,
    Code,
    DeadlineExceeded,
    DsmError,
    InvalidArgument,
    NotImplementedYet,
    RequestIdReused,
    Unavailable,
)
from services.kit.security.guard import Guard, actor_of
from services.kit.security.identity import Caller, TokenExpired
from services.kit.serving.admission import Admission
from services.kit.serving.validation import validate, validated
from services.kit.telemetry import metrics, trace

log = structlog.get_logger()

Context = grpc.aio.ServicerContext[Any, Any]
Behaviour = Callable[[Any, Context], Any]
DatabaseOf = Callable[[Any], Database | None]

_ATTEMPTS = 4
_HEAR_SECONDS = 1.0
_REASONS = {name.removeprefix("ERROR_REASON_") for name in error_reason_pb2.ErrorReason.keys()}  # noqa: SIM118


class InternalError(DsmError):
    """A fault of our own; the log has it under the request id."""

    def __init__(self, request_id: str) -> None:
        super().__init__("DSM failed; its log has the cause under this request_id.", request_id=request_id)


class Gate(grpc.aio.ServerInterceptor):
    """The interceptor.

    `databases` maps a gRPC service ("dsm.backlog.v1.BacklogService") to where the answers to its requests are kept.
    """

    def __init__(
        self,
        databases: Mapping[str, DatabaseOf],
        *,
        max_concurrent_calls: int,
        max_open_streams: int,
        default_deadline: float,
        guard: Guard | None = None,
    ) -> None:
        """`guard`: who may pass; None = everybody."""
        self._databases = databases
        self._guard = guard
        self._calls = Admission("too many calls in flight", max_concurrent_calls, metrics.CALLS_IN_FLIGHT)
        # Apart from the calls: those who only watch must not keep others from working.
        self._streams = Admission("too many streams open", max_open_streams, metrics.STREAMS_OPEN)
        self._default_deadline = default_deadline
        self._handlers: dict[str, Any] = {}

    def drain(self) -> None:
        """Turn every new call away from now on."""
        self._calls.draining = self._streams.draining = True

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """gRPC's hook: the handler of a method, wrapped once and kept."""
        method = handler_call_details.method
        if method in self._handlers:
            return self._handlers[method]
        handler = await continuation(handler_call_details)
        if handler is not None and self._guard and method.startswith("/grpc.reflection."):
            return self._known_callers_only(self._guard, method, handler)
        # None: no such method, which gRPC answers itself. Health and reflection keep their own manners.
        if handler is None or not method.startswith("/dsm."):
            return handler
        wrapped = self._wrap(method, handler)
        self._handlers[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Any) -> Any:
        make, behaviour, wrap = {
            (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary, self._unary),
            (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary, self._stream_unary),
            (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream, self._unary_stream),
        }[(handler.request_streaming, handler.response_streaming)]
        return make(
            wrap(method, behaviour),
            request_deserializer=_decoded_or_error(handler.request_deserializer),
            response_serializer=_kept_or(handler.response_serializer),
        )

    def _unary(self, method: str, behaviour: Behaviour) -> Behaviour:
        database_of = self._databases.get(method[1:].rpartition("/")[0], _nowhere)

        async def handle(request: Message, context: Context) -> Any:
            async def answer() -> Any:
                caller = await self._guard.admit(method, context, request) if self._guard else None
                validate(request)
                at_hand = self._identify(method, context, request, caller)
                async with asyncio.timeout(at_hand.remaining()):
                    return await _answer_once(behaviour, request, context, database_of(request), at_hand)

            return await self._translate(method, context, answer)

        return handle

    def _stream_unary(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def handle(requests: AsyncIterator[Message], context: Context) -> Any:
            async def answer() -> Any:
                # Nothing is waited for that a stranger says.
                caller = await self._guard.authenticate(context) if self._guard else None
                try:
                    messages = requests
                    if self._guard:
                        first, messages = await _first_of(requests)
                        self._guard.authorize(caller, method, first)
                    self._identify(method, context, None, caller)
                    return await behaviour(validated(messages), context)
                except DsmError:
                    await _hear_out(requests)
                    raise

            return await self._translate(method, context, answer)

        return handle

    def _unary_stream(self, method: str, behaviour: Behaviour) -> Behaviour:
        async def handle(request: Message, context: Context) -> AsyncIterator[Any]:
            began = time.monotonic()
            with _traced(method, context):
                try:
                    with self._streams:
                        caller = await self._guard.admit(method, context, request) if self._guard else None
                        validate(request)
                        self._identify(method, context, None, caller)
                        responses = behaviour(request, context)
                        async for response in _until(caller.expires, responses) if caller else responses:
                            yield response
                    _count(method, "OK", began)
                except asyncio.CancelledError:
                    _count(method, "CANCELLED", began)
                    raise
                except Exception as error:
                    await self._fail(method, context, error, began)

        return handle

    async def _translate(self, method: str, context: Context, work: Callable[[], Awaitable[Any]]) -> Any:
        with _traced(method, context):
            return await self._answer(method, context, work)

    async def _answer(self, method: str, context: Context, work: Callable[[], Awaitable[Any]]) -> Any:
        began = time.monotonic()
        try:
            with self._calls:
                response = await work()
                await failpoint.reach(failpoint.GATE_BEFORE_ANSWER)
        except asyncio.CancelledError:
            _count(method, "CANCELLED", began)
            raise
        except Exception as error:
            await self._fail(method, context, error, began)
        _count(method, "OK", began)
        return response

    def _known_callers_only(self, guard: Guard, method: str, handler: Any) -> Any:
        """Reflection, for whoever has a good token."""

        async def handle(requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
            began = time.monotonic()
            try:
                await guard.authenticate(context)
            except DsmError as error:
                await self._fail(method, context, error, began)
            async for response in handler.stream_stream(requests, context):
                yield response

        return grpc.stream_stream_rpc_method_handler(handle, handler.request_deserializer, handler.response_serializer)

    def _identify(self, method: str, context: Context, request: Message | None, caller: Caller | None) -> Call:
        given: Any = context.invocation_metadata()
        metadata = {key: value for key, value in given or () if isinstance(value, str)}
        remaining: Any = context.time_remaining()
        if remaining is None and request is not None:
            remaining = self._default_deadline
        actor = metadata.get(ACTOR_HEADER, "")
        at_hand = Call(
            method=method,
            correlation_id=metadata.get(CORRELATION_HEADER, "")[:64] or str(uuid_utils.uuid7()),
            actor=actor_of(caller, actor, method) if caller else actor[:200] or ANONYMOUS,
            deadline=None if remaining is None else time.monotonic() + remaining,
            request_key=_request_key(method, request, caller.subject if caller else ""),
            service=_service_of(method),
        )
        call.enter(at_hand)
        return at_hand

    async def _fail(self, method: str, context: Context, error: Exception, began: float) -> None:
        failure = _as_failure(method, error)
        trace.current().failed(failure.code.name, failure.reason)
        _count(method, failure.code.name, began)
        await context.abort_with_status(status.to_status(failure))


def _service_of(method: str) -> str:
    """ "sprint" of "/dsm.sprint.v1.SprintService/GetSprint"."""
    return method.split(".", 2)[1]


def _traced(method: str, context: Context) -> trace.Span:
    """The span of a call, in the caller's trace if it is in one."""
    given: Any = context.invocation_metadata()
    attributes = {"rpc.system.name": "grpc", "rpc.method": method[1:]}
    return trace.follow(_service_of(method), method[1:], trace.Kind.SERVER, trace.header_of(given), attributes)


def _nowhere(_: Any) -> Database | None:
    return None


async def _answer_once(
    behaviour: Behaviour, request: Message, context: Context, database: Database | None, at_hand: Call
) -> Any:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            kept = await _kept_answer(database, at_hand.request_key)
            # An answer without fields is kept as no bytes, which is an answer too.
            return await behaviour(request, context) if kept is None else kept
        except AlreadyAnswered:
            continue
        except Unavailable:
            raise
        except DsmError:
            # What stands in the way may be this call's own effect, if the same call came twice and one was quicker.
            kept = await _kept_answer(database, at_hand.request_key)
            if kept is None:
                raise
            return kept
        except CONFLICTS:
            log.info("transaction.repeated", method=at_hand.method, attempt=attempt)
            await asyncio.sleep(0.005 * 2**attempt)
    raise Aborted("Other calls kept changing the same things: try again.")


def _kept_or(serializer: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    """A serializer that lets an answer pass that is kept as bytes already."""
    return lambda response: response if isinstance(response, bytes) else serializer(response)


async def _kept_answer(database: Database | None, key: RequestKey | None) -> bytes | None:
    """The first answer as it went over the wire; RequestIdReused if it was to another request."""
    if database is None or key is None:
        return None
    found = await database.find_answer(key)
    if found is None:
        return None
    method, fingerprint, response = found
    if (method, fingerprint) != (key.method, key.fingerprint):
        raise RequestIdReused(str(key.request_id))
    return response


def _request_key(method: str, request: Any, subject: str) -> RequestKey | None:
    """`subject`: who calls, so that nobody is told what another was answered; empty = nobody knows."""
    request_id = getattr(request, "request_id", "")
    if request is None or not request_id:
        return None
    body: bytes = request.SerializeToString(deterministic=True)
    whole = subject.encode() + b"\0" + body if subject else body
    return RequestKey(UUID(request_id), method, hashlib.sha256(whole).digest())


def _decoded_or_error(deserializer: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A deserializer that hands bytes that are no such message on as an error: raised there, gRPC would say UNKNOWN."""

    def decode(data: bytes) -> Any:
        try:
            return deserializer(data)
        except DecodeError as error:
            return error

    return decode


async def _first_of(requests: AsyncIterator[Message]) -> tuple[Message | None, AsyncIterator[Message]]:
    """The first message of a stream, and the stream with it."""
    first = await anext(requests, None)

    async def whole() -> AsyncIterator[Message]:
        if first is not None:
            yield first
        async for request in requests:
            yield request

    return first, whole()


async def _hear_out(requests: AsyncIterator[Message]) -> None:
    """Let a client that is refused say the rest, for a moment.

    Clients of grpc.aio that are still sending when the answer comes may take that for an INTERNAL error of their own,
    and never see the reason.
    """
    # Whatever is wrong with the rest, the call is refused for what came before.
    with suppress(Exception):
        async with asyncio.timeout(_HEAR_SECONDS):
            async for _ in requests:
                pass


async def _until(expires: float, responses: AsyncIterator[Any]) -> AsyncIterator[Any]:
    """A stream until the token of its caller expires (seconds since the epoch); TokenExpired then."""
    while True:
        limit = asyncio.timeout(max(0.0, expires - time.time()))
        try:
            async with limit:
                response = await anext(responses)
        except StopAsyncIteration:
            return
        except TimeoutError:
            if limit.expired():
                raise TokenExpired from None
            raise
        yield response


def _as_failure(method: str, error: Exception) -> DsmError:
    match error:
        case DsmError():
            if error.reason not in _REASONS:
                log.error("error.undeclared_reason", reason=error.reason)
            return error
        case TimeoutError():
            return DeadlineExceeded(method)
        case NotImplementedError():
            return NotImplementedYet(method)
        case DecodeError():
            return InvalidArgument("", "must be a valid message")
        case psycopg.DataError():
            # What passed the contract's rules and PostgreSQL still cannot keep.
            return InvalidArgument("", "holds text that cannot be stored, such as a null character")
        case grpc.aio.AioRpcError():
            return status.from_rpc_error(error)
    log.exception("call.failed", method=method)
    return InternalError(call.current().correlation_id)


@functools.cache
def _measures(method: str, code: str) -> tuple[Any, Any]:
    """The counter and histogram of a method and code; looking labels up is dearer than counting."""
    return metrics.CALLS.labels(method, code), metrics.CALL_SECONDS.labels(method)


def _count(method: str, code: str, began: float) -> None:
    seconds = time.monotonic() - began
    calls, call_seconds = _measures(method, code)
    calls.inc()
    call_seconds.observe(seconds)
    if code not in ("OK", Code.CANCELLED.name):
        log.info("call.refused", method=method, code=code, ms=round(seconds * 1000, 1))
