"""Reconcile: compares the backlog's tasks with those of the sprints, and changes nothing.

The sprint service counts a task's version and the backlog follows. So each task is read from the backlog first and from
here after that: equal versions must be equal tasks, a lower one of the backlog means that events are on their way, and
a higher one can never be. A disagreement is reported if it is older than the grace: because nothing that it rests on
has changed for so long, or because it was still there when the grace was over. Tasks of a sprint that is being planned
or closed are left out, since both services are right about them until its saga ends; a saga that does not end is told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from dsm.backlog.v1 import backlog_service_pb2, backlog_service_pb2_grpc, task_pb2
from dsm.common.v1 import admin_service_pb2 as pb
from dsm.common.v1 import status_service_pb2, status_service_pb2_grpc
from psycopg.rows import class_row, scalar_row

from services.kit import call
from services.kit.calling.callee import Callee
from services.kit.clock import Clock
from services.kit.convert import to_time
from services.kit.data.paging import MAX_SIZE
from services.kit.errors import DsmError
from services.kit.service import StatefulService
from services.sprint.domain.sprint import SprintState

_IN_MOTION = (SprintState.PLANNING, SprintState.CLOSING)
# A planning or closing ends, done or undone, within this time.
_SAGA_TIME = timedelta(seconds=60)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 2.0
_AT_ONCE = 16
# The one order in which no change moves a task from a page that was not read yet to one that was.
_ORDER = backlog_service_pb2.TASK_ORDER_CREATE_TIME

_COURSES = """
    SELECT project_id, task_id, sprint_id, state, assignee_id, progress_percent, version, update_time
    FROM sprint_task WHERE task_id = ANY(%(task_ids)s) AND outcome IS NULL
"""
_HELD = """
    SELECT t.sprint_id, t.task_id FROM sprint s JOIN sprint_task t USING (sprint_id)
    WHERE s.project_id = %(project_id)s AND t.outcome IS NULL
      AND (t.sprint_id, t.task_id) > (%(sprint_id)s, %(task_id)s)
    ORDER BY t.sprint_id, t.task_id LIMIT %(limit)s
"""
_SPRINTS = "SELECT sprint_id, state, update_time FROM sprint WHERE sprint_id = ANY(%(sprint_ids)s)"
_PROJECTS = "SELECT DISTINCT project_id FROM sprint"
_OPEN = """
    SELECT count(*) FROM sprint
    WHERE state IN ('PLANNING', 'IN_PROGRESS', 'CLOSING') AND %(project_id)s IN ('', project_id)
"""
_STUCK = """
    SELECT project_id, sprint_id, state FROM sprint
    WHERE state IN ('PLANNING', 'CLOSING') AND update_time < %(before)s AND %(project_id)s IN ('', project_id)
    ORDER BY project_id
"""

Difference = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Course:
    """A task's course as one of the two services has it."""

    project_id: str
    task_id: str
    sprint_id: str
    state: str
    assignee_id: str
    progress_percent: int
    version: int
    update_time: datetime


@dataclass(frozen=True, slots=True)
class SprintMark:
    """Where a sprint stands, and since when."""

    sprint_id: str
    state: str
    update_time: datetime


@dataclass(frozen=True, slots=True)
class Suspect:
    """A task that the two tell differently; `since` is from when on nothing that this rests on has changed."""

    task_id: str
    backlog_version: int
    sprint_version: int
    since: datetime
    found: tuple[pb.Disagreement, ...]

    def is_that_of(self, before: Suspect) -> bool:
        """False if the backlog has applied what it lacked then: this is another disagreement, and a young one."""
        return not before.sprint_version <= self.backlog_version < self.sprint_version


def differences(backlog: Course | None, sprint: Course | None, sprint_state: str) -> list[Difference]:
    """What the two tell differently, as (field, backlog's value, sprint's value).

    `sprint_state` is that of the sprint which the backlog names, empty if there is no such sprint.
    """
    if backlog is None:
        return [("missing", "", sprint.state)] if sprint else []
    if sprint is None and sprint_state == SprintState.IN_PROGRESS:
        return [("missing", backlog.state, "")]
    if sprint is None:
        return [("sprint", backlog.sprint_id, sprint_state or "unknown")] if backlog.sprint_id else []
    pairs = {
        "sprint": (backlog.sprint_id, sprint.sprint_id),
        "state": (backlog.state, sprint.state),
        "assignee": (backlog.assignee_id, sprint.assignee_id),
        "progress": (backlog.progress_percent, sprint.progress_percent),
        "version": (backlog.version, sprint.version),
    }
    return [(field, str(ours), str(theirs)) for field, (ours, theirs) in pairs.items() if ours != theirs]


class Reconciler:
    """Answers Reconcile from the backlog's public calls and this service's own database."""

    def __init__(self, service: StatefulService, backlog: Callee, clock: Clock) -> None:
        self._db = service.database.read
        self._relay = service.relay
        self._backlog = backlog
        self._tasks = backlog_service_pb2_grpc.BacklogServiceStub(backlog.channel)
        self._status = status_service_pb2_grpc.StatusServiceStub(backlog.channel)
        self._clock = clock

    async def reconcile(self, request: pb.ReconcileRequest) -> pb.ReconcileResponse:
        """Compare one project, or all; PROJECT_NOT_FOUND."""
        grace, only = timedelta(seconds=request.grace_seconds), {"project_id": request.project_id}
        suspects: list[Suspect] = []
        tasks = 0
        for project_id in sorted(await self._projects(request.project_id)):
            compared, found = await self._project(project_id)
            suspects += found
            tasks += compared
        suspects = await self._settle(suspects, grace)
        stuck = await self._db.rows(_STUCK, only | {"before": self._clock() - max(grace, _SAGA_TIME)})
        unpublished, waiting = await self._outboxes(grace)
        return pb.ReconcileResponse(
            disagreements=[
                *(disagreement for suspect in suspects for disagreement in suspect.found),
                *(pb.Disagreement(field="state", sprint_value=row.pop("state"), **row) for row in stuck),
                *waiting,
            ],
            tasks_compared=tasks,
            sprints_compared=await self._db.value(_OPEN, only),
            unpublished_events=unpublished,
        )

    async def _projects(self, project_id: str) -> set[str]:
        """The one project, or all that have tasks or sprints; PROJECT_NOT_FOUND."""
        if project_id:
            known = backlog_service_pb2.GetBacklogSummaryRequest(project_id=project_id)
            await self._backlog.call(
                self._tasks.GetBacklogSummary, known, backlog_service_pb2.GetBacklogSummaryResponse
            )
            return {project_id}
        found = set(await self._db.all(_PROJECTS, row=scalar_row))
        request = backlog_service_pb2.ListBacklogSummariesRequest(page_size=MAX_SIZE)
        while True:
            answer = await self._backlog.call(
                self._tasks.ListBacklogSummaries, request, backlog_service_pb2.ListBacklogSummariesResponse
            )
            found |= {summary.project_id for summary in answer.summaries}
            request.page_token = answer.next_page_token
            if not request.page_token:
                return found

    async def _project(self, project_id: str) -> tuple[int, list[Suspect]]:
        """Compare a project: the tasks that the backlog has in sprints, then those that only the sprints know of."""
        found: list[Suspect] = []
        seen: set[str] = set()
        async for page in self._pages(project_id):
            found += await self._compare({task.task_id: task for task in page})
            seen |= {task.task_id for task in page}
        async for task_ids in self._held(project_id):
            rest = [task_id for task_id in task_ids if task_id not in seen]
            found += await self._compare(await self._fetch(rest))
            seen |= set(rest)
        return len(seen), found

    async def _pages(self, project_id: str) -> AsyncIterator[Sequence[task_pb2.Task]]:
        """The backlog's tasks that are in a sprint."""
        request = backlog_service_pb2.ListTasksRequest(
            project_id=project_id, in_sprint=True, order=_ORDER, page_size=MAX_SIZE
        )
        while True:
            answer = await self._backlog.call(self._tasks.ListTasks, request, backlog_service_pb2.ListTasksResponse)
            yield answer.tasks
            request.page_token = answer.next_page_token
            if not request.page_token:
                return

    async def _held(self, project_id: str) -> AsyncIterator[list[str]]:
        """The tasks that this service has in the project's sprints."""
        last = {"sprint_id": "", "task_id": ""}
        while rows := await self._db.rows(_HELD, {"project_id": project_id, "limit": MAX_SIZE} | last):
            yield [row["task_id"] for row in rows]
            last = rows[-1]

    async def _fetch(self, task_ids: Sequence[str]) -> dict[str, task_pb2.Task | None]:
        """Tasks one by one, as the backlog has them; None for one that it has not."""
        found: dict[str, task_pb2.Task | None] = {}
        for start in range(0, len(task_ids), _AT_ONCE):
            some = task_ids[start : start + _AT_ONCE]
            found |= zip(some, await asyncio.gather(*map(self._task, some)), strict=True)
        return found

    async def _task(self, task_id: str) -> task_pb2.Task | None:
        request = backlog_service_pb2.GetTaskRequest(task_id=task_id)
        try:
            answer = await self._backlog.call(self._tasks.GetTask, request, backlog_service_pb2.GetTaskResponse)
        except DsmError as error:
            if error.reason == "TASK_NOT_FOUND":
                return None
            raise
        return answer.task

    async def _compare(self, tasks: Mapping[str, task_pb2.Task | None]) -> list[Suspect]:
        """The tasks about which the two disagree, given what the backlog has just said of them."""
        if not tasks:
            return []
        ours = {course.task_id: course for course in await self._courses(tasks)}
        theirs = {task_id: _course(task) for task_id, task in tasks.items() if task}
        named = {course.sprint_id for course in (*ours.values(), *theirs.values())}
        sprints = await self._db.all(_SPRINTS, {"sprint_ids": list(named)}, row=class_row(SprintMark))
        marks = {sprint.sprint_id: sprint for sprint in sprints}
        suspects = [_suspect(theirs.get(task_id), ours.get(task_id), marks) for task_id in tasks]
        return [suspect for suspect in suspects if suspect]

    async def _courses(self, task_ids: Iterable[str]) -> list[Course]:
        return await self._db.all(_COURSES, {"task_ids": list(task_ids)}, row=class_row(Course))

    async def _settle(self, suspects: list[Suspect], grace: timedelta) -> list[Suspect]:
        """Those of the suspects that are as old as the grace, once none can become so any more.

        Events on their way get the grace to arrive, but at most half of the time that the caller has left.
        """
        remaining = call.current().remaining()
        patience = grace if remaining is None else min(grace, timedelta(seconds=remaining / 2))
        until, pause = self._clock() + patience, _FIRST_PAUSE
        while suspects and grace:
            await asyncio.sleep(max(0, min(pause, (until - self._clock()).total_seconds())))
            suspects = await self._again(suspects)
            now = self._clock()
            old = [suspect for suspect in suspects if now - suspect.since >= grace]
            if len(old) == len(suspects) or now >= until:
                return old
            pause = min(pause * 2, _LONGEST_PAUSE)
        return suspects

    async def _again(self, suspects: Sequence[Suspect]) -> list[Suspect]:
        found: list[Suspect] = []
        for start in range(0, len(suspects), MAX_SIZE):
            before = {suspect.task_id: suspect for suspect in suspects[start : start + MAX_SIZE]}
            tasks = await self._fetch(list(before))
            pairs = [(before[suspect.task_id], suspect) for suspect in await self._compare(tasks)]
            found += [replace(now, since=min(was.since, now.since)) for was, now in pairs if now.is_that_of(was)]
        return found

    async def _outboxes(self, grace: timedelta) -> tuple[int, list[pb.Disagreement]]:
        """How many events the two have not published, and which of the two is behind with it."""
        request = status_service_pb2.GetStatusRequest(service=self._backlog.name)
        answer = await self._backlog.call(self._status.GetStatus, request, status_service_pb2.GetStatusResponse)
        stream = answer.services[0].event_stream
        depth, lag = await self._relay.depth()
        theirs, ours = (stream.outbox_depth, stream.outbox_lag_seconds), (depth, lag)
        values = [_waiting(*outbox, grace) for outbox in (theirs, ours)]
        behind = pb.Disagreement(field="outbox", backlog_value=values[0], sprint_value=values[1])
        return depth + stream.outbox_depth, [behind] if any(values) else []


def _course(task: task_pb2.Task) -> Course:
    return Course(
        project_id=task.project_id,
        task_id=task.task_id,
        sprint_id=task.sprint_id,
        state=task_pb2.TaskState.Name(task.state).removeprefix("TASK_STATE_"),
        assignee_id=task.assignee_id,
        progress_percent=task.progress_percent,
        version=task.sprint_version,
        update_time=to_time(task.update_time),
    )


def _suspect(backlog: Course | None, sprint: Course | None, marks: Mapping[str, SprintMark]) -> Suspect | None:
    courses = [course for course in (sprint, backlog) if course]
    about = [marks[course.sprint_id] for course in courses if course.sprint_id in marks]
    if any(mark.state in _IN_MOTION for mark in about):
        return None
    named = marks.get(backlog.sprint_id) if backlog else None
    found = differences(backlog, sprint, named.state if named else "")
    if not found:
        return None
    one = courses[0]
    told = [
        pb.Disagreement(
            project_id=one.project_id,
            task_id=one.task_id,
            sprint_id=one.sprint_id,
            field=field,
            backlog_value=theirs,
            sprint_value=ours,
        )
        for field, theirs, ours in found
    ]
    return Suspect(
        task_id=one.task_id,
        backlog_version=backlog.version if backlog else 0,
        sprint_version=sprint.version if sprint else 0,
        since=max([course.update_time for course in courses] + [mark.update_time for mark in about]),
        found=tuple(told),
    )


def _waiting(depth: int, lag: float, grace: timedelta) -> str:
    """What to say of an outbox whose oldest event waits longer than the grace; empty if none does."""
    return f"{depth} events, the oldest for {lag:.0f} s" if depth and lag >= grace.total_seconds() else ""
