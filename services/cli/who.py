"""Who calls: the token that commands send, and its option."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import grpc
import typer

from services.cli.errors import CliError
from services.cli.shared import add_options

TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "DSM_TOKEN", "DSM_TOKEN_FILE"
_HEADER = "authorization"

_TokenOption = Annotated[
    str,
    typer.Option(
        "--token",
        envvar=TOKEN_VARIABLE,
        metavar="TOKEN",
        help="Token that says who you are. Others on this machine see options: better name a file by "
        f"{TOKEN_FILE_VARIABLE}.",
        show_default="none",
    ),
]

_given: ContextVar[str] = ContextVar("dsm_token", default="")


def token() -> str:
    """The token that the option names, else DSM_TOKEN, else the file DSM_TOKEN_FILE; empty = none."""
    found = _given.get() or os.environ.get(TOKEN_VARIABLE, "") or _in_file(os.environ.get(TOKEN_FILE_VARIABLE, ""))
    words = found.split()
    if len(words) > 1 or not found.isascii():
        raise CliError("What was given as a token is none: it is one word without blanks.")
    return words[0] if words else ""


def introduced(channel: grpc.Channel) -> grpc.Channel:
    """A channel whose calls carry the token, if there is one."""
    found = token()
    return grpc.intercept_channel(channel, _Introduction(found)) if found else channel


def give_option(app: typer.Typer) -> None:
    """Add --token to every command that has a --target."""
    add_options(app, {"token": _TokenOption}, _use)


@contextmanager
def _use(token: str) -> Iterator[None]:
    before = _given.set(token)
    try:
        yield
    finally:
        _given.reset(before)


def _in_file(name: str) -> str:
    try:
        return Path(name).read_text(encoding="ascii") if name else ""
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "it holds no token"
        raise CliError(f"{TOKEN_FILE_VARIABLE} names {name}, which cannot be used ({why}): correct it.") from None


class _Details(NamedTuple):
    """A call with its headers."""

    method: str
    timeout: float | None
    metadata: list[tuple[str, str | bytes]]
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: grpc.Compression | None


class _Introduction(
    grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor, grpc.StreamUnaryClientInterceptor
):
    """Puts the token on every call."""

    def __init__(self, token: str) -> None:
        self._header = (_HEADER, f"Bearer {token}")

    def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._known(client_call_details), request)

    def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return continuation(self._known(client_call_details), request)

    def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return continuation(self._known(client_call_details), request_iterator)

    def _known(self, details: Any) -> _Details:
        return _Details(
            details.method,
            details.timeout,
            [*(details.metadata or ()), self._header],
            details.credentials,
            details.wait_for_ready,
            details.compression,
        )
