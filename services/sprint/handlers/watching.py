"""WatchSprint."""

from __future__ import annotations

from collections.abc import AsyncIterator

from dsm.events.v1 import event_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb

from services.kit.serving.gate import Context
from services.sprint.domain.sprint import OVER
from services.sprint.handlers.room import Room
from services.sprint.store import sprints


class WatchingHandlers(Room):
    """WatchSprint."""

    async def WatchSprint(
        self, request: pb.WatchSprintRequest, context: Context
    ) -> AsyncIterator[pb.WatchSprintResponse]:
        """Changes of a sprint until it is over; of one that is, those after the token."""
        # Read before the watch begins: what ends the sprint afterwards is sure to be streamed.
        sprint = await sprints.get(self.db.read, request.sprint_id)
        under_way = sprint.state not in OVER
        async with self.watch.open(request, sprint.project_id, follow=under_way) as watcher:
            await context.send_initial_metadata(watcher.metadata)
            async for change in watcher:
                response = _response(change.event, sprint.sprint_id)
                if response is None:
                    continue
                response.resume_token = watcher.token(change)
                yield response
                if change.event.WhichOneof("payload") in ("sprint_closed", "sprint_abandoned"):
                    return


def _response(event: event_pb2.Event, sprint_id: str) -> pb.WatchSprintResponse | None:
    """What a watcher of the sprint is told of an event; None if it is about something else."""
    response = pb.WatchSprintResponse(change_time=event.event_time)
    match event.WhichOneof("payload"):
        case "sprint_started":
            response.sprint.CopyFrom(event.sprint_started.sprint)
        case "sprint_closed":
            response.sprint.CopyFrom(event.sprint_closed.sprint)
        case "sprint_abandoned":
            response.sprint.CopyFrom(event.sprint_abandoned.sprint)
        case "sprint_task_updated":
            response.task.CopyFrom(event.sprint_task_updated.task)
        case "impediment_raised":
            response.impediment.CopyFrom(event.impediment_raised.impediment)
        case "impediment_resolved":
            response.impediment.CopyFrom(event.impediment_resolved.impediment)
        case "scrum_reported":
            response.report.CopyFrom(event.scrum_reported.report)
        case _:
            return None
    changed = getattr(response, response.WhichOneof("change") or "")
    return response if changed.sprint_id == sprint_id else None
