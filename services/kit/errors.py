"""Typed errors: one class per business error; each holds its reason, status code and metadata.

Domain code raises these and imports nothing else of the kit. How they become a gRPC status is `status`'s business.
"""

from enum import Enum
from typing import ClassVar


class Code(Enum):
    """The gRPC status codes that DSM answers with; the value is gRPC's number."""

    CANCELLED = 1
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    UNAUTHENTICATED = 16


class DsmError(Exception):
    """A failure that a caller can act on.

    `reason` is a value of dsm.common.v1.ErrorReason without its prefix. `metadata` are the facts behind the message;
    None values are left out. `retry_after` in seconds becomes RetryInfo.
    """

    code: ClassVar[Code] = Code.INTERNAL
    reason: ClassVar[str] = "INTERNAL"
    retry_after: float | None = None

    def __init__(self, message: str, **metadata: object) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = {key: str(value) for key, value in metadata.items() if value is not None}


class NotFound(DsmError):
    """The thing named does not exist."""

    code = Code.NOT_FOUND


class AlreadyExists(DsmError):
    """The thing to be made exists."""

    code = Code.ALREADY_EXISTS


class FailedPrecondition(DsmError):
    """The state of things does not allow the call; repeating it changes nothing."""

    code = Code.FAILED_PRECONDITION


class InvalidArgument(DsmError):
    """A field breaks a rule, whatever the state of things.

    `field`, `rule` and `value` also become a BadRequest violation; further ones can be added to `violations` as
    (field, rule) pairs.
    """

    code = Code.INVALID_ARGUMENT
    reason = "VALIDATION_FAILED"

    def __init__(self, field: str, rule: str, value: object = "", **metadata: object) -> None:
        shown = _cut(str(value))
        subject = field or "The request"
        super().__init__(f"{subject}: {rule}" + (f" (got {shown!r})." if shown else "."), **metadata)
        self.metadata |= {"field": field, "rule": rule, "value": shown}
        self.violations = [(field, rule)]


class Aborted(DsmError):
    """Somebody else was faster; read again and repeat."""

    code = Code.ABORTED
    reason = "CONCURRENT_CHANGE"


class EtagMismatch(Aborted):
    """The etag given is not the present one."""

    reason = "ETAG_MISMATCH"

    def __init__(self, etag: str, current: str) -> None:
        super().__init__("The resource has changed since it was read: read it again.", etag=etag, current_etag=current)


class Unavailable(DsmError):
    """Something that the call needs is away; repeating it later may help."""

    code = Code.UNAVAILABLE
    retry_after = 1.0


class DatabaseUnavailable(Unavailable):
    """The service's database cannot be reached, or (as `why` says) cannot be worked on."""

    reason = "DATABASE_UNAVAILABLE"

    def __init__(self, service: str, why: str = "") -> None:
        message = why or f"The database of the {service} service cannot be reached; try again."
        super().__init__(message, service=service)


class DependencyUnavailable(Unavailable):
    """Another service cannot be reached."""

    reason = "DEPENDENCY_UNAVAILABLE"

    def __init__(self, service: str, method: str, breaker: str) -> None:
        super().__init__(
            f"The {service} service cannot be reached (breaker {breaker}); try again.",
            service=service,
            method=method,
            breaker=breaker,
        )


class Overloaded(DsmError):
    """More is asked than the server takes on."""

    code = Code.RESOURCE_EXHAUSTED
    reason = "OVERLOADED"
    retry_after = 0.5

    def __init__(self, what: str, limit: int) -> None:
        super().__init__(f"The server is busy: {what}; try again.", limit=limit)


class DeadlineExceeded(DsmError):
    """The time that the caller gave is over."""

    code = Code.DEADLINE_EXCEEDED
    reason = "DEADLINE_EXCEEDED"

    def __init__(self, method: str) -> None:
        super().__init__("The deadline passed before the work was done.", method=method)


class NotImplementedYet(DsmError):
    """The call is in the contract and not built yet."""

    code = Code.UNIMPLEMENTED
    reason = "NOT_IMPLEMENTED"

    def __init__(self, method: str) -> None:
        super().__init__(f"{method} is not built yet.", method=method)


class RequestIdReused(DsmError):
    """The request_id stands for another request."""

    code = Code.INVALID_ARGUMENT
    reason = "REQUEST_ID_REUSED"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            "request_id was used for another request: give each request an id of its own.", request_id=request_id
        )


class PageTokenInvalid(DsmError):
    """The page token is damaged or belongs to another query."""

    code = Code.INVALID_ARGUMENT
    reason = "PAGE_TOKEN_INVALID"

    def __init__(self, token: str) -> None:
        super().__init__("page_token does not belong to this query: begin again without one.", page_token=_cut(token))


class RemoteError(DsmError):
    """An error that another service answered with; passed on as it came."""

    def __init__(self, code: Code, reason: str, message: str, metadata: dict[str, str]) -> None:
        super().__init__(message)
        self.code = code  # type: ignore[misc]  # one class for whatever the other service says
        self.reason = reason  # type: ignore[misc]
        self.metadata = dict(metadata)


def _cut(text: str, limit: int = 200) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
