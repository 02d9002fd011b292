"""The connection to NATS JetStream, and the streams on it."""

import asyncio
import ssl
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats
import nats.errors
import structlog
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import BadRequestError, NotFoundError

from services.kit.envelope import stream_subjects
from services.kit.security.tls import PemFile, PemFiles, client_context

log = structlog.get_logger()

RETENTION_SECONDS = 7 * 24 * 3600
DUPLICATE_WINDOW_SECONDS = 120
# A question that was on its way when the connection was lost is never answered: it must not hold up the next for long.
_ANSWER_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class StreamState:
    """When a stream was made, and the places (sequences) of its first and last message.

    In an empty one `last` is where the last message was, and `first` is not before that.
    """

    made: datetime | None
    first: int
    last: int


class Stream:
    """One connection per service; it connects in the background and again whenever it is lost."""

    def __init__(
        self,
        service: str,
        url: str,
        *,
        duplicate_window: float = DUPLICATE_WINDOW_SECONDS,
        files: PemFiles | None = None,
        credentials: str = "",
    ) -> None:
        """`files`: those of TLS; `credentials`: the path of the user's .creds. TlsError if that cannot be read."""
        self.service = service
        self._url = url
        self._duplicate_window = duplicate_window
        PemFile("DSM_NATS_CREDENTIALS_FILE", credentials).read()
        self._credentials = credentials
        self._client: Client = SecureClient(files) if files or url.startswith("tls://") else Client()
        self._connecting: asyncio.Task[None] | None = None

    @property
    def connected(self) -> bool:
        """True while NATS can be talked to."""
        return self._client.is_connected

    @property
    def connections(self) -> int:
        """How often it was connected again; another number is another connection."""
        return self._client.stats["reconnects"]

    @property
    def context(self) -> JetStreamContext:
        """JetStream; calls fail fast while not connected."""
        return self._client.jetstream(timeout=_ANSWER_SECONDS)

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

    async def state(self, stream: str) -> StreamState | None:
        """How the stream is now; None if it is not there."""
        try:
            info = await self.context.stream_info(stream)
        except NotFoundError:
            return None
        return StreamState(info.created, info.state.first_seq, info.state.last_seq)

    async def last(self, stream: str) -> bytes | None:
        """The newest message; None if the stream is not there or empty."""
        try:
            state = (await self.context.stream_info(stream)).state
            return (await self.context.get_msg(stream, seq=state.last_seq)).data if state.messages else None
        except NotFoundError:
            return None

    async def message_id(self, stream: str, sequence: int) -> str | None:
        """The id that the message at a place was published with, empty if it had none; None if no message is there."""
        try:
            message = await self.context.get_msg(stream, seq=sequence)
        except NotFoundError:
            return None
        headers: dict[str, str] = message.headers or {}
        return headers.get("Nats-Msg-Id", "")

    async def delivered(self, stream: str) -> dict[str, int]:
        """The newest place that each consumer of the stream was given; none if it is not there."""
        try:
            consumers = await self.context.consumers_info(stream)
        except NotFoundError:
            return {}
        return {info.name: info.delivered.stream_seq if info.delivered else 0 for info in consumers}

    async def forget(self, stream: str, consumer: str) -> None:
        """Delete a consumer, if it is there; one of DSM's makes itself again, at the stream's beginning."""
        with suppress(NotFoundError):
            await self.context.delete_consumer(stream, consumer)

    async def close(self) -> None:
        """Close the connection; what was not acknowledged is published again by the next relay."""
        if self._connecting:
            self._connecting.cancel()
        with suppress(Exception):
            await asyncio.wait_for(self._client.close(), 2)

    async def _connect(self) -> None:
        while True:
            try:
                await nats_connect(self._client, self._url, self.service, self._credentials)
            except (OSError, nats.errors.Error, TimeoutError):
                await asyncio.sleep(0.25)
            else:
                log.debug("stream.connected", service=self.service)
                return


class SecureClient(Client):
    """A client that speaks nothing but TLS, and makes each connection with the files as they are then."""

    def __init__(self, files: PemFiles | None) -> None:
        super().__init__()
        self._files = files
        self._context: ssl.SSLContext | None = None

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """Asked for by the client for each connection; files that cannot be used leave the last ones in use."""
        try:
            self._context = client_context(self._files)
        except OSError:
            if self._context is None:
                raise
        return self._context

    async def _process_connect_init(self) -> None:
        # nats-py waits for ever until a connection is closed whose handshake failed (its issue 718): it makes another.
        try:
            await super()._process_connect_init()
        except BaseException:
            if self._transport:
                self._transport.close()  # type: ignore[no-untyped-call]
            self._transport = None
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Told by a server that asks for no TLS, or by somebody between, the client would send its credentials in the
        # clear: it hears what it must do.
        if initial_connection:
            info["tls_required"] = True
        await super()._process_info(info, initial_connection)


async def nats_connect(client: Client, url: str, name: str, credentials: str = "") -> None:
    """Connect a client that never gives up reconnecting and never prints."""
    told = ""

    async def tell(error: Exception) -> None:
        """Being without NATS is a state that `connected` tells; here is told, once, what waiting does not mend."""
        nonlocal told
        refused = isinstance(error, ssl.SSLError) or "authorization" in str(error).lower()
        if refused and told != str(error):
            told = str(error)
            log.warning("stream.refused", service=name, error=told)

    await client.connect(
        url,
        name=f"dsm-{name}",
        allow_reconnect=True,
        max_reconnect_attempts=-1,
        reconnect_time_wait=0.25,  # type: ignore[arg-type]  # seconds; floats work
        connect_timeout=2,
        ping_interval=5,
        max_outstanding_pings=2,
        error_cb=tell,
        user_credentials=credentials or None,
    )
