"""Calls to another service: with a deadline, repeated when that is safe, behind a circuit breaker."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

import grpc
import pybreaker
import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from services.kit import call
from services.kit.call import ACTOR_HEADER, CORRELATION_HEADER, TOKEN_HEADER
from services.kit.calling.breaker import make_breaker
from services.kit.calling.channel import open_channel
from services.kit.errors import DeadlineExceeded, DependencyUnavailable
from services.kit.security.tls import PemFiles
from services.kit.security.tokens import TokenOf, no_token, token_in
from services.kit.settings import ServiceSettings
from services.kit.status import error_info, from_rpc_error
from services.kit.telemetry import metrics, trace
from services.kit.telemetry.trace import Kind

log = structlog.get_logger()

Response = TypeVar("Response")

# CANCELLED is what gRPC says of a call that reaches a server in the moment in which it closes.
_NOT_THERE = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
_AWAY = (*_NOT_THERE, grpc.StatusCode.DEADLINE_EXCEEDED)
_NOT_TRUSTED = (grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED)
_ATTEMPTS = 3
_CHANNEL_OPTIONS = [
    # Calls are spread over the replicas, where the name of a service gives the addresses of all.
    ("grpc.lb_policy_name", "round_robin"),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
]


class Callee:
    """One other service, as one service sees it. Holds the channel and the breaker."""

    def __init__(
        self, caller: str, name: str, address: str, settings: ServiceSettings, files: PemFiles | None = None
    ) -> None:
        """`files`: those of TLS; None = in plaintext."""
        self.name = name
        self._caller = caller
        self._address = address
        self._seconds = metrics.CALLEE_SECONDS.labels(caller, name)
        self._timeout = settings.call_timeout_seconds
        # Who this service is to the other; without a file the server gives its own where it has the means.
        self.own_token: TokenOf = token_in(settings.service_token_file) if settings.service_token_file else no_token
        self.channel = open_channel(address, files, _CHANNEL_OPTIONS)
        self._told = ""
        self._breaker = make_breaker(
            caller,
            name,
            failures=settings.breaker_failures,
            reset_seconds=settings.breaker_reset_seconds,
            successes=settings.breaker_successes,
            exclude=[lambda error: not _is_away(error)],
        )

    @property
    def breaker_state(self) -> str:
        """closed, open or half-open."""
        return str(self._breaker.current_state)

    async def call(
        self,
        method: Callable[..., Any],
        request: Any,
        response: type[Response],
        *,
        timeout: float | None = None,  # noqa: ASYNC109  # one of several limits; the least counts
        repeatable: bool = True,
    ) -> Response:
        """Call `method` of a stub and get its response.

        At most `timeout` seconds (default: the setting), and never past the deadline of the call at hand. Only that the
        service is not there is tried again, and only if `repeatable`: reads, and mutations that carry a request_id or
        are idempotent by nature. Raises DependencyUnavailable if the service is away, else what it answered.
        """
        name = type(request).__name__.removesuffix("Request")
        limit = self._limit(timeout)
        method_name = f"{request.DESCRIPTOR.file.package}.{name}"
        attributes = {"rpc.system.name": "grpc", "rpc.method": method_name, "server.address": self._address}
        with self._seconds.time(), trace.span(self._caller, method_name, Kind.CLIENT, attributes):
            return await self._call(method, request, name, limit, repeatable)  # type: ignore[no-any-return]  # as asked

    async def _call(self, method: Callable[..., Any], request: Any, name: str, limit: float, repeatable: bool) -> Any:
        try:
            with self._breaker.calling():
                result = await self._repeat(method, request, limit, repeatable)
        except pybreaker.CircuitBreakerError:
            self._count("BREAKER_OPEN")
            raise DependencyUnavailable(self.name, name, "open") from None
        except grpc.aio.AioRpcError as error:
            self._count(error.code().name)
            if error.code() in _NOT_TRUSTED:
                # A fault of this installation, not of the caller, whose own token was good.
                log.error("callee.does_not_trust_us", service=self.name, method=name, code=error.code().name)
                raise DependencyUnavailable(self.name, name, self.breaker_state) from None
            if not _is_away(error):
                raise from_rpc_error(error) from None
            remaining = call.current().remaining()
            if remaining is not None and remaining <= 0:
                raise DeadlineExceeded(name) from None
            self._tell_of_handshake(error)
            raise DependencyUnavailable(self.name, name, self.breaker_state) from None
        self._count("OK")
        return result

    async def check(self) -> float | None:
        """Round trip of a health check in milliseconds; None if the service is not serving."""
        began = time.monotonic()
        stub = health_pb2_grpc.HealthStub(self.channel)  # typed for the channel of the other, blocking kind
        try:
            answer = await getattr(stub, "Check")(health_pb2.HealthCheckRequest(service=self.name), timeout=1)  # noqa: B009
        except grpc.aio.AioRpcError as error:
            self._tell_of_handshake(error)
            return None
        serving = answer.status == health_pb2.HealthCheckResponse.SERVING
        return (time.monotonic() - began) * 1000 if serving else None

    async def close(self) -> None:
        """Close the channel."""
        await self.channel.close()

    async def _repeat(self, method: Callable[..., Any], request: Any, limit: float, repeatable: bool) -> Any:
        until = time.monotonic() + limit
        async for attempt in AsyncRetrying(
            retry=retry_if_exception(_may_repeat),
            stop=stop_after_attempt(_ATTEMPTS if repeatable else 1),
            wait=wait_random_exponential(multiplier=0.05, max=0.5),
            sleep=asyncio.sleep,
            reraise=True,
        ):
            with attempt:
                left = max(0.001, until - time.monotonic())
                return await method(request, timeout=left, metadata=_metadata(self._caller, self.own_token()))
        raise AssertionError("unreachable")

    def _limit(self, timeout: float | None) -> float:
        limits = [timeout or self._timeout]
        remaining = call.current().remaining()
        if remaining is not None:
            limits.append(remaining)
        return min(limits)

    def _tell_of_handshake(self, error: grpc.aio.AioRpcError) -> None:
        """A certificate that does not hold is not mended by waiting: say so, once for each fault."""
        details = error.details() or ""
        if "verif" in details.lower() and details != self._told:
            self._told = details
            log.error("callee.is_not_trusted", service=self.name, error=details)

    def _count(self, code: str) -> None:
        metrics.CALLEE_CALLS.labels(self._caller, self.name, code).inc()


def _metadata(caller: str, token: str) -> list[tuple[str, str]]:
    at_hand = call.current()
    actor = at_hand.actor if at_hand.method else f"service:{caller}"
    headers = [(ACTOR_HEADER, actor)]
    if token:
        headers.append((TOKEN_HEADER, f"Bearer {token}"))
    if traceparent := trace.current().traceparent:
        headers.append((trace.HEADER, traceparent))
    return [*headers, (CORRELATION_HEADER, at_hand.correlation_id)] if at_hand.correlation_id else headers


def _is_away(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() in _AWAY


def _may_repeat(error: BaseException) -> bool:
    if not isinstance(error, grpc.aio.AioRpcError) or error.code() not in _NOT_THERE:
        return False
    info = error_info(error)
    # Its own dependency is away: it has tried already, and trying again from here would multiply the load.
    return info is None or info.reason != "DEPENDENCY_UNAVAILABLE"
