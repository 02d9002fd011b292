"""Plain HTTP beside gRPC: Prometheus' metrics, and what Kubernetes asks, whose gRPC probes cannot speak TLS."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

LIVE_PATH = "/livez"
READY_PATH = "/readyz"
# An event loop that does nothing else for so long hangs.
_HUNG_SECONDS = 2.0

# What is wrong, in one line; empty = nothing.
Check = Callable[[], str]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are no events."""


def serve(host: str, port: int, checks: Mapping[str, Check]) -> int:
    """Answer checks by their paths, and metrics elsewhere, in threads until the process ends; the port taken."""
    metrics = make_wsgi_app()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        check = checks.get(environ["PATH_INFO"])
        if check is None:
            found: Iterable[bytes] = metrics(environ, start_response)
            return found
        fault = check()
        start_response(
            "503 Service Unavailable" if fault else "200 OK", [("Content-Type", "text/plain; charset=utf-8")]
        )
        return [f"{fault or 'ok'}\n".encode()]

    class Httpd(ThreadingWSGIServer):
        """For IPv4 or IPv6, as the host is."""

        address_family = socket.getaddrinfo(host, port)[0][0]

    httpd = make_server(host, port, answer, Httpd, _Quiet)
    threading.Thread(target=httpd.serve_forever, name="http", daemon=True).start()
    return httpd.server_port


def hung(loop: asyncio.AbstractEventLoop) -> Check:
    """A check whether an event loop still turns; to be asked from another thread."""

    def check() -> str:
        turned = threading.Event()
        try:
            loop.call_soon_threadsafe(turned.set)
        except RuntimeError:
            return "The server has stopped."
        return "" if turned.wait(_HUNG_SECONDS) else "The server hangs."

    return check
