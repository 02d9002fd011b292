"""Report progress on a task of an open sprint by an event, as a stand-up bot or a git hook would.

pip install nats-py ./gen/python
python docs/examples/report_progress.py nats://localhost:4222 TEST-001-TASK001 60 "Wired up the sensor"
"""

import asyncio
import sys
from uuid import uuid4

import nats
from dsm.events.v1.event_pb2 import Event
from dsm.events.v1.sprint_events_pb2 import TaskProgressed


async def main(url: str, task_id: str, percent: int, work: str) -> None:
    said = TaskProgressed(task_id=task_id, new_total_progress=percent, yesterday_work=work)
    # The same event_id sent again has no second effect: make it from what is reported if you may send twice.
    event = Event(event_id=str(uuid4()), task_progressed=said)
    event.event_time.GetCurrentTime()
    client = await nats.connect(url)
    await client.jetstream().publish("dsm.in.sprint.v1.task.progressed", event.SerializeToString())
    await client.close()


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]))
