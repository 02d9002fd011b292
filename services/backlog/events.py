"""The backlog's events, and what it takes in from the project and the sprint service."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Protocol

from dsm.backlog.v1 import backlog_service_pb2
from dsm.events.v1 import backlog_events_pb2 as pb
from dsm.events.v1 import event_pb2
from dsm.project.v1 import project_pb2
from dsm.sprint.v1 import sprint_pb2
from google.protobuf.message import Message

from services.backlog.convert.stories import from_story
from services.backlog.convert.tasks import STATE_OF, from_task
from services.backlog.domain.course import Change, Report, closed, followed, newest
from services.backlog.domain.story import Story, changed_story_fields
from services.backlog.domain.task import Task, TaskState, changed_fields, is_completion
from services.backlog.store.projects import follow_projects
from services.backlog.store.reservations import end_reservations
from services.backlog.store.tasks import lock_tasks_and_sprints, save_courses
from services.kit.clock import utc_now
from services.kit.convert import to_time
from services.kit.data.database import WriteHandle

SPRINT_SUBJECTS = (
    "dsm.sprint.v1.sprint.started",
    "dsm.sprint.v1.sprint.closed",
    "dsm.sprint.v1.sprint.abandoned",
    "dsm.sprint.v1.task.updated",
)
PROJECT_SUBJECTS = ("dsm.project.v1.project.created", "dsm.project.v1.project.updated")

_ROLL_OVER = backlog_service_pb2.RELEASE_POLICY_ROLL_OVER


class Emit(Protocol):
    """`tx.emit`, or `db.event` for a change in one statement."""

    def __call__(
        self, payload: Message, *, aggregate: tuple[str, str], version: int, project_id: str = ""
    ) -> event_pb2.Event: ...


def task_created(emit: Emit, task: Task) -> event_pb2.Event:
    """A new task."""
    payload = pb.TaskCreated(task=from_task(task))
    return emit(payload, aggregate=("task", task.task_id), version=task.version, project_id=task.project_id)


def task_changed(emit: Emit, change: Change) -> list[event_pb2.Event]:
    """A changed task; its completion is told besides, under the next version."""
    before, after = change
    task, aggregate = from_task(after), ("task", after.task_id)
    updated = pb.TaskUpdated(task=task, changed_fields=changed_fields(before, after))
    events = [emit(updated, aggregate=aggregate, version=before.version + 1, project_id=after.project_id)]
    if is_completion(before.course, after.course):
        completed = pb.TaskCompleted(task=task)
        events.append(emit(completed, aggregate=aggregate, version=after.version, project_id=after.project_id))
    return events


def task_deleted(emit: Emit, task: Task) -> event_pb2.Event:
    """A task that is gone."""
    payload = pb.TaskDeleted(task_id=task.task_id, project_id=task.project_id)
    return emit(payload, aggregate=("task", task.task_id), version=task.version + 1, project_id=task.project_id)


def story_created(emit: Emit, story: Story) -> event_pb2.Event:
    """A new story."""
    payload = pb.StoryCreated(story=from_story(story))
    return emit(payload, aggregate=("story", story.story_id), version=story.version, project_id=story.project_id)


def story_changed(
    emit: Emit, before: Story, after: Story, *, linked: Iterable[str] = (), unlinked: Iterable[str] = ()
) -> event_pb2.Event:
    """A changed story, or other tasks under it."""
    payload = pb.StoryUpdated(
        story=from_story(after),
        changed_fields=changed_story_fields(before, after),
        linked_task_ids=linked,
        unlinked_task_ids=unlinked,
    )
    return emit(payload, aggregate=("story", after.story_id), version=after.version, project_id=after.project_id)


def story_deleted(emit: Emit, story: Story) -> event_pb2.Event:
    """A story that is gone."""
    payload = pb.StoryDeleted(story_id=story.story_id, project_id=story.project_id)
    return emit(payload, aggregate=("story", story.story_id), version=story.version + 1, project_id=story.project_id)


async def save_and_tell(tx: WriteHandle, changes: Sequence[Change]) -> None:
    """Store changed courses with their events."""
    await save_courses(tx, changes)
    for change in changes:
        task_changed(tx.emit, change)


async def apply_projects(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the projects' status."""
    versions = []
    for event in events:
        payload = event.project_created if event.HasField("project_created") else event.project_updated
        status = project_pb2.ProjectStatus.Name(payload.project.status).removeprefix("PROJECT_STATUS_")
        versions.append((payload.project.project_id, status, event.aggregate_version))
    await follow_projects(tx, versions)


async def apply_sprints(tx: WriteHandle, events: Sequence[event_pb2.Event]) -> None:
    """Follow the tasks that sprints own, and free those of sprints that are over; by version, never backwards."""
    now = utc_now()
    reports = newest(report for event in events for report in _reports(event))
    ended = {event.sprint_closed.sprint.sprint_id for event in events if event.HasField("sprint_closed")}
    ended |= {event.sprint_abandoned.sprint.sprint_id for event in events if event.HasField("sprint_abandoned")}
    if ended:
        await end_reservations(tx, sorted(ended))
    tasks = await lock_tasks_and_sprints(tx, [report.task_id for report in reports], sorted(ended))
    changes = followed(tasks, reports, now)
    present = tasks | {after.task_id: after for _, after in changes}
    last = {report.task_id: report for event in events for report in _last_reports(event)}
    changes += closed([task for task in present.values() if task.course.sprint_id in ended], last, now)
    after = {changed.task_id: changed for _, changed in changes}
    await save_courses(tx, [(tasks[task_id], changed) for task_id, changed in after.items()])
    for change in changes:
        task_changed(tx.emit, change)


def _reports(event: event_pb2.Event) -> list[Report]:
    """What an event says of tasks that are in a sprint."""
    time = to_time(event.event_time)
    if event.HasField("sprint_started"):
        return [_report(task, time) for task in event.sprint_started.tasks]
    if event.HasField("sprint_task_updated"):
        return [_report(event.sprint_task_updated.task, time)]
    return []


def _last_reports(event: event_pb2.Event) -> list[Report]:
    """What an event says of tasks that a sprint lets go of. ReleaseTasks did most of it before."""
    if not event.HasField("sprint_closed"):
        return []
    payload, time = event.sprint_closed, to_time(event.event_time)
    kept = payload.policy == _ROLL_OVER
    completed = [_report(task, time, TaskState.COMPLETED) for task in payload.completed_tasks]
    return completed + [_report(task, time, TaskState.UNASSIGNED, kept) for task in payload.released_tasks]


def _report(task: sprint_pb2.SprintTask, time: datetime, state: TaskState | None = None, kept: bool = True) -> Report:
    return Report(
        task_id=task.task_id,
        sprint_id=task.sprint_id,
        version=task.version,
        state=state or STATE_OF.get(task.state, TaskState.ASSIGNED_TO_SPRINT),
        assignee_id=task.assignee_id if kept else "",
        progress_percent=task.progress_percent if kept else 0,
        left=task.outcome not in (sprint_pb2.SPRINT_TASK_OUTCOME_UNSPECIFIED, sprint_pb2.SPRINT_TASK_OUTCOME_COMPLETED),
        time=time,
    )
