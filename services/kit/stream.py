"""The connection to NATS JetStream, and the streams on it."""

import asyncio
from contextlib import suppress
from datetime import datetime

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from services.kit.events import stream_subjects

log = structlog.get_logger()

RETENTION_SECONDS = 7 * 24 * 3600
DUPLICATE_WINDOW_SECONDS = 120


class Stream:
    """One connection per service; it connects in the background and again whenever it is lost."""

    def __init__(self, service: str, url: str, *, duplicate_window: float = DUPLICATE_WINDOW_SECONDS) -> None:
        self.service = service
        self._url = url
        self._duplicate_window = duplicate_window
        self._client = Client()
        self._connecting: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while NATS can be talked to."""
        return self._client.is_connected

    @property
    def context(self) -> JetStreamContext:
        """JetStream; calls fail fast while not connected."""
        return self._client.jetstream(timeout=5)

    def start(self) -> None:
        """Begin to connect; does not wait, because NATS away must not stop a service."""
        self._connecting = asyncio.create_task(self._connect())

    async def wait_connected(self) -> None:
        """Return once connected."""
        while not self.connected:  # noqa: ASYNC110  # nats-py has no event for it
            await asyncio.sleep(0.05)

    async def ensure(self, stream: str) -> None:
        """Make the stream if it is not there; cheap if it is."""
        js = self.context
        try:
            await js.stream_info(stream)
        except NotFoundError:
            config = StreamConfig(
                name=stream,
                subjects=[stream_subjects(stream)],
                retention=RetentionPolicy.LIMITS,
                storage=StorageType.FILE,
                max_age=RETENTION_SECONDS,
                duplicate_window=self._duplicate_window,
            )
            # Two services may find it missing at once; the second is told that it exists.
            with suppress(BadRequestError):
                await js.add_stream(config)

    async def made(self, stream: str) -> datetime | None:
        """When the stream was made; None if it is not there."""
        try:
            return (await self.context.stream_info(stream)).created
        except NotFoundError:
            return None

    async def close(self) -> None:
        """Close the connection; what was not acknowledged is published again by the next relay."""
        if self._connecting:
            self._connecting.cancel()
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), 2)

    async def _connect(self) -> None:
        while True:
            try:
                await nats_connect(self._client, self._url, self.service)
            except (OSError, nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.25)
            else:
                log.debug("stream.connected", service=self.service)
                return


async def nats_connect(client: Client, url: str, name: str) -> None:
    """Connect a client that never gives up reconnecting and never prints."""

    async def ignore(_: Exception) -> None:
        """Being without NATS is a state that `connected` tells, not an error to print."""

    await client.connect(
        url,
        name=f"dsm-{name}",
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; floats work
        connect_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=ignore,
    )
