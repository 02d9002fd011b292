"""Follow the sprints of all projects as a durable JetStream consumer.

    pip install nats-py ./gen/python
    python docs/examples/consume_events.py nats://localhost:4222 [COUNT]

Delivery is at least once: keep event_id to know a repetition. Versions tell what is newer.
"""

import asyncio
import sys

import nats
from dsm.events.v1.event_pb2 import Event
from nats.errors import TimeoutError as NothingCame


async def main(url: str, count: int | None) -> None:
    client = await nats.connect(url)
    consumer = await client.jetstream().pull_subscribe("dsm.sprint.v1.>", durable="example", stream="DSM_SPRINT")
    seen: set[str] = set()
    while count is None or len(seen) < count:
        try:
            messages = await consumer.fetch(100, timeout=5)
        except NothingCame:
            continue
        for message in messages:
            event = Event.FromString(message.data)
            if event.event_id not in seen:
                seen.add(event.event_id)
                print(event.event_time.ToJsonString(), message.subject, event.aggregate_id, event.aggregate_version)
            await message.ack()
    await client.close()


asyncio.run(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None))
