"""Channels to other services: in plaintext, or over TLS with files that may change while calls run."""

import asyncio
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from services.kit.security.tls import Material, PemFiles, channel_credentials

Options = Sequence[tuple[str, Any]]

# How long calls that began on a channel may go on after its files were replaced.
_GRACE_SECONDS = 60.0


def open_channel(address: str, files: PemFiles | None, options: Options) -> grpc.aio.Channel:
    """A channel to an address; with files over TLS, never without."""
    return RenewedChannel(address, files, options) if files else grpc.aio.insecure_channel(address, options=options)


class RenewedChannel(grpc.aio.Channel):
    """A channel over TLS that is another one underneath once its files changed.

    Stubs are made of it once, as of any channel: each call begins on the channel of the moment. Those that run end on
    the one they began on, which is closed after them.
    """

    def __init__(self, address: str, files: PemFiles, options: Options) -> None:
        self._address = address
        self._files = files
        self._options = options
        self._material: Material | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._channel = self.current()

    def current(self) -> grpc.aio.Channel:
        """The channel for calls that begin now. It costs nothing while the files are what they were."""
        material = self._files.material
        if material is not self._material:
            if self._material:
                self._let_go(self._channel)
            self._material = material
            self._channel = grpc.aio.secure_channel(self._address, channel_credentials(material), options=self._options)
        return self._channel

    async def close(self, grace: float | None = None) -> None:
        """Close this channel and those before it."""
        await asyncio.gather(self._channel.close(grace), *self._closing)

    def unary_unary(self, *args: Any, **kwargs: Any) -> Any:
        """A method of a stub."""
        return _Method(self, lambda channel: channel.unary_unary(*args, **kwargs))

    def unary_stream(self, *args: Any, **kwargs: Any) -> Any:
        """A method of a stub."""
        return _Method(self, lambda channel: channel.unary_stream(*args, **kwargs))

    def stream_unary(self, *args: Any, **kwargs: Any) -> Any:
        """A method of a stub."""
        return _Method(self, lambda channel: channel.stream_unary(*args, **kwargs))

    def stream_stream(self, *args: Any, **kwargs: Any) -> Any:
        """A method of a stub."""
        return _Method(self, lambda channel: channel.stream_stream(*args, **kwargs))

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The state of the channel of the moment."""
        return self.current().get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Return when the channel of the moment is in another state."""
        await self.current().wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Return when the channel of the moment is connected."""
        await self.current().channel_ready()

    async def __aenter__(self) -> Self:
        """As any channel."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close at once."""
        await self.close()

    def _let_go(self, channel: grpc.aio.Channel) -> None:
        task = asyncio.create_task(channel.close(_GRACE_SECONDS))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


class _Method:
    """A method of a stub, bound to a channel when it is called."""

    def __init__(self, channel: RenewedChannel, bind: Callable[[grpc.aio.Channel], Any]) -> None:
        self._channel = channel
        self._bind = bind
        self._bound_to: grpc.aio.Channel | None = None
        self._call: Any = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        current = self._channel.current()
        if current is not self._bound_to:
            self._bound_to, self._call = current, self._bind(current)
        return self._call(*args, **kwargs)
