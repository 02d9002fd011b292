"""Errors as google.rpc.Status, and back."""

from typing import TypeVar

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from services.kit.errors import Code, DsmError, InvalidArgument, RemoteError

DOMAIN = "dsm"
D = TypeVar("D", bound=Message)

_CODES = {code.value: code for code in Code}
_GRPC_CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def to_status(error: DsmError) -> grpc.Status:
    """The rich status of an error: one ErrorInfo, the field violations and when to try again."""
    details = [
        error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=error.metadata),
    ]
    status = status_pb2.Status(code=error.code.value, message=error.message, details=[_pack(d) for d in details])
    if isinstance(error, InvalidArgument):
        violations = [
            error_details_pb2.BadRequest.FieldViolation(field=field, description=rule)
            for field, rule in error.violations
        ]
        status.details.append(_pack(error_details_pb2.BadRequest(field_violations=violations)))
    if error.retry_after is not None:
        delay = duration_pb2.Duration(nanos=int(error.retry_after % 1 * 1e9), seconds=int(error.retry_after))
        status.details.append(_pack(error_details_pb2.RetryInfo(retry_delay=delay)))
    return rpc_status.to_status(status)


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    """The ErrorInfo that a failed call carries, if any."""
    return _detail(error, error_details_pb2.ErrorInfo)


def from_rpc_error(error: grpc.aio.AioRpcError) -> RemoteError:
    """The error that another service answered with, to be passed on: code, reason, metadata and when to try again."""
    info = error_info(error)
    code = _CODES.get(error.code().value[0], Code.INTERNAL)
    if info is None or info.domain != DOMAIN:
        return RemoteError(code, "INTERNAL", "Another service failed.", {})
    remote = RemoteError(code, info.reason, error.details() or "", dict(info.metadata))
    if retry := _detail(error, error_details_pb2.RetryInfo):
        remote.retry_after = retry.retry_delay.ToTimedelta().total_seconds()
    return remote


def grpc_code(error: DsmError) -> grpc.StatusCode:
    """gRPC's own enum value of an error's code."""
    return _GRPC_CODES[error.code.value]


def _detail(error: grpc.RpcError, kind: type[D]) -> D | None:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]  # an AioRpcError has what from_call needs
    for packed in status.details if status else ():
        detail = kind()
        if packed.Is(detail.DESCRIPTOR):
            packed.Unpack(detail)
            return detail
    return None


def _pack(message: object) -> any_pb2.Any:
    packed = any_pb2.Any()
    packed.Pack(message)  # type: ignore[arg-type]
    return packed
