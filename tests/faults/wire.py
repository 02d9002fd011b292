"""The streams as somebody outside sees them: read whole, written to at will, thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import nats
from dsm.events.v1 import event_pb2
from nats.js import JetStreamContext
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy, PubAck
from nats.js.errors import NotFoundError

_IN_FLIGHT = 256


@dataclass(frozen=True)
class Message:
    """What lies on a stream, or shall."""

    subject: str
    data: bytes
    msg_id: str = ""

    @property
    def event(self) -> event_pb2.Event:
        """The event in it."""
        return event_pb2.Event.FromString(self.data)


@asynccontextmanager
async def jetstream(url: str) -> AsyncIterator[JetStreamContext]:
    """A connection of the test's own."""
    connection = await nats.connect(url)
    try:
        yield connection.jetstream(timeout=10, publish_async_max_pending=4 * _IN_FLIGHT)
    finally:
        await connection.close()


async def publish(url: str, messages: Iterable[Message]) -> None:
    """Publish in order; returns when the stream has all."""
    async with jetstream(url) as js:
        pending: list[asyncio.Future[PubAck]] = []
        for message in messages:
            headers = {"Nats-Msg-Id": message.msg_id} if message.msg_id else None
            pending.append(await js.publish_async(message.subject, message.data, headers=headers))
            if len(pending) >= _IN_FLIGHT:
                await asyncio.gather(*pending)
                pending.clear()
        await asyncio.gather(*pending)


async def read(url: str, stream: str) -> list[Message]:
    """Everything on a stream, in its order; nothing if there is no such stream."""
    async with jetstream(url) as js:
        try:
            count = (await js.stream_info(stream)).state.messages
        except NotFoundError:
            return []
        config = ConsumerConfig(deliver_policy=DeliverPolicy.ALL, ack_policy=AckPolicy.NONE)
        pull = await js.pull_subscribe("", stream=stream, config=config)
        found: list[Message] = []
        while len(found) < count:
            batch = await pull.fetch(min(500, count - len(found)), timeout=5)
            found += [Message(m.subject, m.data, (m.headers or {}).get("Nats-Msg-Id", "")) for m in batch]
        return found


async def delete(url: str, *streams: str) -> None:
    """Throw streams away, with all that JetStream remembers of them."""
    async with jetstream(url) as js:
        for stream in streams:
            try:
                await js.delete_stream(stream)
            except NotFoundError:
                continue


def within(messages: Sequence[Message], window: int, keys: Sequence[float]) -> list[Message]:
    """The messages in another order, none more than `window` places from its own; `keys` are random, 0 to 1."""
    places = sorted(range(len(messages)), key=lambda place: place + keys[place] * window)
    return [messages[place] for place in places]
