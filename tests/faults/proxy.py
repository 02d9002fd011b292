"""A TCP proxy on the loopback that delays, cuts, resets, refuses, or swallows everything."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from contextlib import suppress
from types import TracebackType

from services.local.process import LOOPBACK

_CHUNK = 64 * 1024
_LINGER_NOT = struct.pack("ii", 1, 0)  # Closing sends RST.


class Proxy:
    """Listens on a port of its own and passes every connection on to `upstream` ("host:port"). Use `async with`."""

    def __init__(self, upstream: str) -> None:
        self._host, _, port = upstream.rpartition(":")
        self._upstream_port = int(port)
        self._server: asyncio.Server | None = None
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._delay = 0.0
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections = 0

    async def __aenter__(self) -> Proxy:
        await self._listen()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()
        self.reset()
        for task in self._tasks:
            task.cancel()

    @property
    def address(self) -> str:
        """Where it listens."""
        return f"{LOOPBACK}:{self.port}"

    def delay(self, seconds: float) -> None:
        """Pass every byte on so much later, in both directions."""
        self._delay = seconds

    def cut(self) -> None:
        """Close every connection, as a process that ends does; new ones are welcome."""
        for writer in self._writers:
            writer.close()

    def reset(self) -> None:
        """Reset every connection (RST); new ones are welcome."""
        for writer in self._writers:
            with suppress(OSError, AttributeError):
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            writer.transport.abort()

    def blackhole(self) -> None:
        """Take everything and pass nothing on, as a cable that is cut; connections stay."""
        self._flowing.clear()

    async def refuse(self) -> None:
        """Refuse new connections and reset the old ones."""
        await self._close()
        self.reset()

    async def heal(self) -> None:
        """Pass everything on again."""
        self._delay = 0.0
        self._flowing.set()
        if self._server is None:
            await self._listen()

    async def _listen(self) -> None:
        self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        if self._server:
            self._server.close()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            up_reader, up_writer = await asyncio.open_connection(self._host, self._upstream_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, up_writer}
        pumps = [asyncio.create_task(self._pump(*ends)) for ends in ((reader, up_writer), (up_reader, writer))]
        self._tasks |= set(pumps)
        await asyncio.wait(pumps)
        self._tasks -= set(pumps)
        self._writers -= {writer, up_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        sender = asyncio.create_task(self._send(waiting, writer))
        try:
            while data := await reader.read(_CHUNK):
                waiting.put_nowait((time.monotonic(), data))
        except OSError:
            pass
        waiting.put_nowait((time.monotonic(), b""))
        await sender

    async def _send(self, waiting: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                came, data = await waiting.get()
                await self._due(came)
                await self._flowing.wait()
                if not data:
                    break
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _due(self, came: float) -> None:
        """Wait until what came then may go on; in small steps, so that it does at once when the line is healed."""
        while True:
            left = came + self._delay - time.monotonic()
            if left <= 0:
                return
            await asyncio.sleep(min(left, 0.05))
