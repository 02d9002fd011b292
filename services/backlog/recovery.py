"""Recovery: the effects of this service's own events, for a database that was restored to before them.

Events hold the task or story as it was after the change. What no event tells is lost: by which row of an import a task
is known. Its origin still tells that.
"""

from dsm.backlog.v1 import task_pb2 as pb
from dsm.events.v1 import backlog_events_pb2, event_pb2

from services.backlog.convert.stories import to_story_content
from services.backlog.convert.tasks import STATE_OF, to_content
from services.backlog.domain.story import Story
from services.backlog.domain.task import Course, Task
from services.backlog.store import projects as project_store
from services.backlog.store import stories as story_store
from services.backlog.store import tasks as task_store
from services.kit.convert import to_time
from services.kit.data.database import WriteHandle


async def take_back(tx: WriteHandle, event: event_pb2.Event) -> None:
    """Have the effect of one event that was lost. That a task was completed is told by its update too."""
    match event.WhichOneof("payload"):
        case "task_created":
            task = _task(event.task_created.task)
            await project_store.count_at_least(tx, task.project_id, tasks=task.number, rank=task.rank)
            await task_store.put_back_new(tx, task)
        case "task_updated":
            task = _task(event.task_updated.task)
            await project_store.count_at_least(tx, task.project_id, rank=task.rank)
            await task_store.put_back(tx, task)
        case "task_deleted":
            deleted = to_time(event.event_time)
            await task_store.put_back_deletion(tx, event.aggregate_id, event.aggregate_version, deleted)
        case "story_created":
            story = _story(event.story_created.story)
            await project_store.count_at_least(tx, story.project_id, stories=story.number)
            await story_store.put_back_new(tx, story)
        case "story_updated":
            await _take_back_story(tx, event.story_updated)
        case "story_deleted":
            await story_store.delete_story(tx, event.story_deleted.story_id)


async def _take_back_story(tx: WriteHandle, payload: backlog_events_pb2.StoryUpdated) -> None:
    story_id = payload.story.story_id
    await story_store.put_back(tx, _story(payload.story))
    await story_store.link_tasks(tx, [(story_id, task_id) for task_id in payload.linked_task_ids])
    await story_store.unlink_tasks(tx, story_id, payload.unlinked_task_ids)


def _task(message: pb.Task) -> Task:
    return Task(
        task_id=message.task_id,
        project_id=message.project_id,
        number=int(message.task_id.rpartition("-TASK")[2]),
        rank=message.rank,
        version=_version(message.etag),
        create_time=to_time(message.create_time),
        update_time=to_time(message.update_time),
        content=to_content(message),
        course=Course(
            state=STATE_OF[message.state],
            assignee_id=message.assignee_id,
            sprint_id=message.sprint_id,
            progress_percent=message.progress_percent,
            sprint_version=message.sprint_version,
            complete_time=to_time(message.complete_time) if message.HasField("complete_time") else None,
        ),
    )


def _story(message: pb.Story) -> Story:
    return Story(
        story_id=message.story_id,
        project_id=message.project_id,
        number=int(message.story_id.rpartition("-STORY")[2]),
        version=_version(message.etag),
        create_time=to_time(message.create_time),
        update_time=to_time(message.update_time),
        content=to_story_content(message),
    )


def _version(etag: str) -> int:
    return int(etag.removeprefix("v"))
