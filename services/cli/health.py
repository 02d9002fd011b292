"""Whether processes take calls, by the standard health check."""

from collections.abc import Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.cli.tls import open_channel

_TIMEOUT_SECONDS = 1.0


def all_serving(addresses: Iterable[str]) -> bool:
    """Whether the processes at all these addresses take calls."""
    return all(serving(address) for address in dict.fromkeys(addresses))


def serving(address: str) -> bool:
    """Whether the process at an address takes calls for all its services."""
    with open_channel(address) as channel:
        try:
            # The package's types leave the methods of its stub out.
            check: Any = getattr(health_pb2_grpc.HealthStub(channel), "Check")  # noqa: B009
            answer: health_pb2.HealthCheckResponse = check(health_pb2.HealthCheckRequest(), timeout=_TIMEOUT_SECONDS)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)
