"""The backlog service follows sprints by their events: by version, once, in any order."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import (
    TASK_STATE_ASSIGNED_TO_SPRINT,
    TASK_STATE_BLOCKED,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_IN_PROGRESS,
    TASK_STATE_UNASSIGNED,
    Task,
)
from dsm.events.v1 import event_pb2, sprint_events_pb2
from dsm.sprint.v1.sprint_pb2 import (
    SPRINT_TASK_OUTCOME_CANCELLED,
    SPRINT_TASK_OUTCOME_COMPLETED,
    SPRINT_TASK_OUTCOME_RELEASED,
    SPRINT_TASK_OUTCOME_REMOVED,
    Sprint,
    SprintTask,
)
from google.protobuf.message import Message
from nats.js import JetStreamContext

from services.kit.clock import utc_now
from services.kit.envelope import new_event, subject_of
from tests.harness import World, eventually, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids


class Sprints:
    """Publishes what the sprint service would."""

    def __init__(self, js: JetStreamContext) -> None:
        self._js = js

    async def publish(self, *payloads: Message) -> list[event_pb2.Event]:
        """New events with these payloads."""
        events = [new_event(p, source="sprint", aggregate=("x", "x"), version=1, now=utc_now()) for p in payloads]
        await self.send(*events)
        return events

    async def send(self, *events: event_pb2.Event) -> None:
        """Events as they are, past JetStream's own check for doubles."""
        for event in events:
            headers = {"Nats-Msg-Id": str(uuid4())}
            await self._js.publish(subject_of(event), event.SerializeToString(), headers=headers)


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


@pytest.fixture
async def sprints(world: World, backlog: Backlog) -> AsyncIterator[Sprints]:
    async with world.jetstream() as js:
        yield Sprints(js)


def _course(task: Task, sprint_id: str, version: int, **fields: Any) -> SprintTask:
    return SprintTask(task_id=task.task_id, sprint_id=sprint_id, version=version, **fields)


def _updated(task: Task, sprint_id: str, version: int, **fields: Any) -> sprint_events_pb2.SprintTaskUpdated:
    return sprint_events_pb2.SprintTaskUpdated(task=_course(task, sprint_id, version, **fields))


async def _reserved(backlog: Backlog, count: int = 1) -> tuple[str, list[Task]]:
    project_id = await backlog.project()
    tasks = await backlog.create_many(project_id, *(f"T{n}" for n in range(count)))
    await backlog.reserve(f"{project_id}-S01", project_id)
    return f"{project_id}-S01", tasks


async def _reaches(backlog: Backlog, task: Task, version: int) -> Task:
    async def check() -> Task | None:
        seen = await backlog.get(task.task_id)
        return seen if seen.sprint_version >= version else None

    found = await eventually(check)
    assert isinstance(found, Task)
    return found


async def test_a_started_sprint_gives_assignees(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, [task] = await _reserved(backlog)
    planned = _course(task, sprint_id, 1, state=TASK_STATE_ASSIGNED_TO_SPRINT, assignee_id="E001")
    await sprints.publish(sprint_events_pb2.SprintStarted(sprint=Sprint(sprint_id=sprint_id), tasks=[planned]))
    seen = await _reaches(backlog, task, 1)
    assert (seen.state, seen.sprint_id, seen.assignee_id) == (TASK_STATE_ASSIGNED_TO_SPRINT, sprint_id, "E001")
    assert (await backlog.events(task.task_id))[-1] == ("task.updated", 3)


async def test_progress_is_followed_until_done(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, [task] = await _reserved(backlog)
    await sprints.publish(
        _updated(task, sprint_id, 1, state=TASK_STATE_IN_PROGRESS, assignee_id="E001", progress_percent=30),
        _updated(task, sprint_id, 2, state=TASK_STATE_BLOCKED, assignee_id="E001", progress_percent=30),
    )
    seen = await _reaches(backlog, task, 2)
    assert (seen.state, seen.progress_percent) == (TASK_STATE_BLOCKED, 30)
    outcome = SPRINT_TASK_OUTCOME_COMPLETED
    done = _updated(task, sprint_id, 3, state=TASK_STATE_COMPLETED, progress_percent=100, outcome=outcome)
    [event] = await sprints.publish(done)
    seen = await _reaches(backlog, task, 3)
    assert (seen.state, seen.sprint_id) == (TASK_STATE_COMPLETED, sprint_id)
    assert seen.complete_time.ToMicroseconds() == event.event_time.ToMicroseconds()
    told = await backlog.events(task.task_id)
    assert told[-2][0] == "task.updated"
    assert told[-1] == ("task.completed", told[-2][1] + 1)


async def test_order_and_repetition_do_not_matter(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, tasks = await _reserved(backlog, 5)
    payloads = [
        _updated(task, sprint_id, version, state=TASK_STATE_IN_PROGRESS, progress_percent=version)
        for task in tasks
        for version in range(1, 21)
    ]
    shuffled = random.Random(7)
    shuffled.shuffle(payloads)
    events = await sprints.publish(*payloads)
    await sprints.send(*shuffled.sample(events, 50))
    for task in tasks:
        assert (await _reaches(backlog, task, 20)).progress_percent == 20
    last = await sprints.publish(_updated(tasks[0], sprint_id, 21, state=TASK_STATE_IN_PROGRESS, progress_percent=99))
    await _reaches(backlog, tasks[0], 21)
    versions = [version for _, version in await backlog.events(tasks[0].task_id)]
    assert versions == list(range(1, len(versions) + 1))
    await sprints.send(*last)
    marker = await sprints.publish(_updated(tasks[1], sprint_id, 21, state=TASK_STATE_IN_PROGRESS))
    await _reaches(backlog, tasks[1], 21)
    assert len(marker) == 1
    assert len(await backlog.events(tasks[0].task_id)) == len(versions)


@pytest.mark.parametrize(
    ("state", "outcome", "expected"),
    [
        (TASK_STATE_IN_PROGRESS, SPRINT_TASK_OUTCOME_REMOVED, TASK_STATE_UNASSIGNED),
        (TASK_STATE_UNASSIGNED, SPRINT_TASK_OUTCOME_REMOVED, TASK_STATE_UNASSIGNED),
        (TASK_STATE_CANCELLED, SPRINT_TASK_OUTCOME_CANCELLED, TASK_STATE_CANCELLED),
    ],
)
async def test_a_task_that_leaves_the_sprint_is_in_none(
    backlog: Backlog, sprints: Sprints, state: Any, outcome: Any, expected: Any
) -> None:
    sprint_id, [task] = await _reserved(backlog)
    await sprints.publish(_updated(task, sprint_id, 5, state=state, outcome=outcome))
    seen = await _reaches(backlog, task, 5)
    assert (seen.state, seen.sprint_id) == (expected, "")


async def test_a_closed_sprint_holds_nothing(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, [done, released, forgotten] = await _reserved(backlog, 3)
    give_back = pb.TaskRelease(task_id=released.task_id, version=4)
    await backlog.stub.ReleaseTasks(pb.ReleaseTasksRequest(sprint_id=sprint_id, tasks=[give_back]))
    closed = sprint_events_pb2.SprintClosed(
        sprint=Sprint(sprint_id=sprint_id),
        completed_tasks=[
            _course(done, sprint_id, 3, state=TASK_STATE_COMPLETED, assignee_id="E1", progress_percent=100)
        ],
        released_tasks=[_course(released, sprint_id, 4, outcome=SPRINT_TASK_OUTCOME_RELEASED)],
        policy=pb.RELEASE_POLICY_TO_BACKLOG,
    )
    await sprints.publish(closed)
    seen = await _reaches(backlog, done, 3)
    assert (seen.state, seen.sprint_id, seen.assignee_id) == (TASK_STATE_COMPLETED, "", "E1")
    for task in (released, forgotten):
        free = await backlog.get(task.task_id)
        assert (free.state, free.sprint_id) == (TASK_STATE_UNASSIGNED, "")
    assert (await backlog.events(released.task_id))[-1] == ("task.updated", 3)
    late = _updated(released, sprint_id, 3, state=TASK_STATE_IN_PROGRESS)
    await sprints.publish(late, _updated(done, sprint_id, 4, state=TASK_STATE_COMPLETED, outcome=1))
    await _reaches(backlog, done, 4)
    assert (await backlog.get(released.task_id)).state == TASK_STATE_UNASSIGNED
    project_id = done.project_id
    assert (await refused(backlog.reserve(sprint_id, project_id))).reason == "RESERVATION_RELEASED"


async def test_a_closing_that_comes_late_leaves_the_next_sprint_alone(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, [task] = await _reserved(backlog)
    give_back = pb.TaskRelease(task_id=task.task_id, version=4)
    await backlog.stub.ReleaseTasks(pb.ReleaseTasksRequest(sprint_id=sprint_id, tasks=[give_back]))
    next_id = f"{task.project_id}-S02"
    await backlog.reserve(next_id, task.project_id)
    released = [_course(task, sprint_id, 4, outcome=SPRINT_TASK_OUTCOME_RELEASED)]
    started = [_course(task, next_id, 5, state=TASK_STATE_ASSIGNED_TO_SPRINT)]
    await sprints.publish(
        sprint_events_pb2.SprintClosed(sprint=Sprint(sprint_id=sprint_id), released_tasks=released),
        sprint_events_pb2.SprintStarted(sprint=Sprint(sprint_id=next_id), tasks=started),
    )
    assert (await _reaches(backlog, task, 5)).sprint_id == next_id


async def test_an_abandoned_sprint_frees_its_tasks(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, [task] = await _reserved(backlog)
    await sprints.publish(sprint_events_pb2.SprintAbandoned(sprint=Sprint(sprint_id=sprint_id)))

    async def free() -> bool:
        return not (await backlog.get(task.task_id)).sprint_id

    await eventually(free)
    assert ids((await backlog.reserve(f"{task.project_id}-S02", task.project_id)).tasks) == [task.task_id]


async def test_unknown_tasks_are_passed_over(backlog: Backlog, sprints: Sprints) -> None:
    sprint_id, [task] = await _reserved(backlog)
    stranger = Task(task_id="NO-TASK001")
    await sprints.publish(
        _updated(stranger, sprint_id, 1, state=TASK_STATE_IN_PROGRESS),
        _updated(task, sprint_id, 1, state=TASK_STATE_IN_PROGRESS),
    )
    await _reaches(backlog, task, 1)
    assert not await backlog.world.query("backlog", "SELECT * FROM dead_letter")
