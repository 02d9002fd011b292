"""TLS of the command line: its options, channels, and what to tell people when a handshake fails."""

import os
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.errors import CliError
from services.cli.shared import add_options

if TYPE_CHECKING:
    import grpc

_SECONDS = 3.0
_TLS_WANTED = "DSM at {} speaks TLS: name the CA of its certificate with --tls-ca or DSM_TLS_CA."
_NO_TLS = "What listens at {} speaks no TLS: leave --tls-ca (DSM_TLS_CA) out, or correct the address."
# Beside its own variables, what the services of the same container call each other with.
_VARIABLES = {
    "ca": ["DSM_TLS_CA", "DSM_CLIENT_CA_FILE"],
    "cert": ["DSM_TLS_CERT", "DSM_CLIENT_CERT_FILE"],
    "key": ["DSM_TLS_KEY", "DSM_CLIENT_KEY_FILE"],
}

_CaOption = Annotated[
    str,
    typer.Option(
        "--tls-ca",
        envvar=_VARIABLES["ca"],
        metavar="FILE",
        help="CA (PEM) of DSM's certificate: call it over TLS.",
        show_default="plaintext",
    ),
]
_CertOption = Annotated[
    str,
    typer.Option(
        "--tls-cert",
        envvar=_VARIABLES["cert"],
        metavar="FILE",
        help="Certificate (PEM) to show to DSM.",
        show_default="none",
    ),
]
_KeyOption = Annotated[
    str,
    typer.Option("--tls-key", envvar=_VARIABLES["key"], metavar="FILE", help="Its key (PEM).", show_default="none"),
]
_OPTIONS = {"tls_ca": _CaOption, "tls_cert": _CertOption, "tls_key": _KeyOption}


@dataclass(frozen=True)
class Tls:
    """PEM files to call DSM with; no CA = in plaintext."""

    ca: str = ""
    cert: str = ""
    key: str = ""

    def credentials(self) -> "grpc.ChannelCredentials | None":
        """What gRPC needs; None = in plaintext. Raises TlsError for files that cannot be used."""
        if not self.ca:
            if self.cert or self.key:
                raise CliError(
                    "--tls-cert and --tls-key are of use with --tls-ca only: name the CA of DSM's certificate."
                )
            return None
        # Brings a library that a call in plaintext has no use for.
        from services.kit.security.tls import PemFile, PemFiles, channel_credentials

        named = ("--tls-ca", self.ca), ("--tls-cert", self.cert), ("--tls-key", self.key)
        return channel_credentials(PemFiles(*(PemFile(*it) for it in named)).material)


_given: ContextVar[Tls | None] = ContextVar("dsm_tls", default=None)


def current() -> Tls:
    """The files that the command's options name, else the environment."""
    found = {name: next(filter(None, map(os.environ.get, variables)), "") for name, variables in _VARIABLES.items()}
    return _given.get() or Tls(**found)


def open_channel(address: str, options: list[tuple[str, Any]] | None = None) -> "grpc.Channel":
    """A channel to DSM, over TLS if a CA is named. Raises TlsError for files that cannot be used."""
    import grpc

    credentials = current().credentials()
    if credentials is None:
        return grpc.insecure_channel(address, options=options)
    return grpc.secure_channel(address, credentials, options=options)


def give_options(app: typer.Typer) -> None:
    """Add the options of TLS to every command that has a --target."""
    add_options(app, _OPTIONS, _use)


@contextmanager
def _use(tls_ca: str, tls_cert: str, tls_key: str) -> Iterator[None]:
    before = _given.set(Tls(tls_ca, tls_cert, tls_key))
    try:
        yield
    finally:
        _given.reset(before)


def fault(address: str) -> str:
    """What is wrong with TLS between here and DSM, in one sentence; empty if it is something else."""
    tls = current()
    place = address.rpartition("/")[2].removeprefix("ipv4:").removeprefix("ipv6:")
    host, _, port = place.rpartition(":")
    here = (host.strip("[]"), int(port) if port.isdecimal() else 0)
    try:
        if _speaks_tls(here):
            return _refusal(here, tls, address) if tls.ca else _TLS_WANTED.format(address)
        return _NO_TLS.format(address) if tls.ca else ""
    except OSError:
        return ""


def _speaks_tls(here: tuple[str, int]) -> bool:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Only to find out which language is spoken: nothing is sent.
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(here, _SECONDS) as line:
        try:
            context.wrap_socket(line).close()
        except (ssl.SSLError, ConnectionError):
            return False
    return True


def _refusal(here: tuple[str, int], tls: Tls, address: str) -> str:
    """Why one side does not accept the other's certificate."""
    context = ssl.create_default_context(cafile=tls.ca)
    context.set_alpn_protocols(["h2"])
    if tls.cert:
        context.load_cert_chain(tls.cert, tls.key)
    with socket.create_connection(here, _SECONDS) as line:
        try:
            with context.wrap_socket(line, server_hostname=here[0]) as secure:
                # A server that is content speaks first.
                refused = not secure.recv(1)
        except ssl.SSLCertVerificationError as error:
            return (
                f"The certificate of DSM at {address} is not trusted ({error.verify_message.rstrip('.')}): "
                "check --tls-ca, and the name that DSM is called by."
            )
        except (ssl.SSLError, ConnectionError):
            refused = True
    if not refused:
        return ""
    if tls.cert:
        return f"DSM at {address} does not accept the certificate {tls.cert}: use one of the CA that it asks for."
    return f"DSM at {address} asks for a certificate: name yours with --tls-cert and --tls-key."
