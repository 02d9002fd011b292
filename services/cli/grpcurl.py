"""How to call DSM by grpcurl as the commands do: for the lines that people are told to try."""

import os
from collections.abc import Mapping

from services.cli import tls
from services.cli.who import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE


def options() -> str:
    """What grpcurl needs besides an address: TLS or plaintext, and the token where one is set or asked for."""
    return " ".join(filter(None, [_transport(), _token(os.environ)]))


def asks_for_tokens(environ: Mapping[str, str]) -> bool:
    """Whether the services that run with these settings want to know who calls."""
    return any(environ.get(f"DSM_JWT_{name}") for name in ("SECRET", "SECRET_FILE", "JWKS"))


def _transport() -> str:
    used = tls.current()
    if not used.ca:
        return "-plaintext"
    return f"-cacert {used.ca}" + (f" -cert {used.cert} -key {used.key}" if used.cert else "")


def _token(environ: Mapping[str, str]) -> str:
    # The shell reads the token: it is shown nowhere.
    if environ.get(TOKEN_VARIABLE):
        return f'-H "authorization: Bearer ${TOKEN_VARIABLE}"'
    if environ.get(TOKEN_FILE_VARIABLE) or asks_for_tokens(environ):
        return f'-H "authorization: Bearer $(cat ${TOKEN_FILE_VARIABLE})"'
    return ""
