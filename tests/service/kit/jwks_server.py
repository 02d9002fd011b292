"""An identity provider's key address, over real HTTP."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class KeyServer:
    """Answers with `document` and counts how often it was asked; `status` other than 200 makes it fail, `cut` is
    how many bytes at the end it does not send, and while `free` is not set it is silent.
    """

    def __init__(self, document: str) -> None:
        self.document = document
        self.status = 200
        self.cut = 0
        self.free = threading.Event()
        self.free.set()
        self.asked = 0
        self.url = ""


@contextmanager
def key_server(document: str) -> Iterator[KeyServer]:
    """A server on a free port, until the block ends."""
    state = KeyServer(document)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.asked += 1
            state.free.wait(30)
            content = state.document.encode()
            self.send_response(state.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) - state.cut])

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_port}/keys"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield state
        state.free.set()
        server.shutdown()
        thread.join()
