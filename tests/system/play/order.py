"""The order that a play must leave behind, told from the answers of the API and from the databases."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.events.v1 import event_pb2
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as sprint

from tests.harness import eventually
from tests.system.play.stage import Stage

QUIET_SECONDS = 10
_SERVICES = ("project", "backlog", "sprint")

_OPEN = (sprint_pb2.SPRINT_STATE_PLANNING, sprint_pb2.SPRINT_STATE_IN_PROGRESS, sprint_pb2.SPRINT_STATE_CLOSING)
_CLOSED = (sprint_pb2.SPRINT_STATE_COMPLETED, sprint_pb2.SPRINT_STATE_CLOSED_WITH_PENDING_TASKS)
_OUT = (sprint_pb2.SPRINT_TASK_OUTCOME_REMOVED, sprint_pb2.SPRINT_TASK_OUTCOME_CANCELLED)

# The course of each task that was ever in a sprint, as the sprint service has it last.
_SPRINT_COURSES = """
    SELECT DISTINCT ON (t.task_id) t.task_id, t.sprint_id, t.state, t.assignee_id, t.progress_percent, t.version,
           t.outcome, t.title, t.points, s.state AS sprint_state
    FROM sprint_task t JOIN sprint s USING (sprint_id) WHERE t.project_id = ANY(%(projects)s)
    ORDER BY t.task_id, t.version DESC, s.number DESC
"""
_BACKLOG_COURSES = """
    SELECT task_id, sprint_id, state, assignee_id, progress_percent, sprint_version, title, points FROM task
    WHERE project_id = ANY(%(projects)s) AND delete_time IS NULL
"""
_UNPUBLISHED = "SELECT count(*) AS n FROM outbox WHERE publish_time IS NULL"
_OUTBOX = """
    SELECT subject, aggregate_id, aggregate_version AS version, payload FROM outbox
    WHERE project_id = ANY(%(projects)s) ORDER BY position
"""
_OPEN_SAGAS = """
    SELECT kind, key, status, step FROM saga
    WHERE status IN ('RUNNING', 'UNDOING')
      AND regexp_replace(state ->> 'sprint_id', '-S[0-9]+$', '') = ANY(%(projects)s)
"""
# Reports from outside and simulated ones that no verdict is kept of.
_UNJUDGED = """
    SELECT event_id FROM (
        SELECT unnest(%(published)s::uuid[]) AS event_id
        UNION SELECT event_id FROM outbox WHERE subject LIKE 'dsm.in.%%' AND project_id = ANY(%(projects)s)) AS sent
    WHERE NOT EXISTS (SELECT FROM reported_progress AS kept WHERE kept.event_id = sent.event_id)
"""
# What each report from outside did: its work note is its id.
_EFFECTS = """
    SELECT r.event_id, r.verdict, count(e.work_note) AS effects
    FROM reported_progress r LEFT JOIN progress_entry e ON e.task_id = r.task_id AND e.work_note = r.event_id::text
    WHERE r.event_id = ANY(%(published)s::uuid[]) GROUP BY 1, 2
"""
_DEAD = "SELECT subject, error FROM dead_letter"


@dataclass(frozen=True)
class Course:
    """Where a task stands, by one of the services."""

    sprint_id: str
    state: str
    assignee_id: str
    progress_percent: int
    version: int


async def check_order(stage: Stage) -> list[str]:
    """What is out of order once the services are quiet."""
    wrong = [*stage.wrong, *await settle(stage)]
    for check in (_events, _reports, _totals, _sprints, _stories, _people, _letters):
        wrong += [line async for line in check(stage)]
    return wrong


async def settle(stage: Stage) -> list[str]:
    """Wait until the services agree; what they disagree on even after the time that they have for it."""
    left: list[str] = []

    async def agree() -> bool:
        left[:] = [line async for line in _disagreements(stage)]
        return not left

    try:
        await eventually(agree, QUIET_SECONDS)
    except AssertionError:
        return left
    return []


async def _disagreements(stage: Stage) -> AsyncIterator[str]:
    """Backlog and sprint on each task; outboxes and sagas that are not at their end."""
    for service in _SERVICES:
        if unpublished := (await stage.world.query(service, _UNPUBLISHED))[0]["n"]:
            yield f"{unpublished} events of {service} are not published"
    params: dict[str, Any] = {"projects": stage.projects}
    for saga in await stage.world.query("sprint", _OPEN_SAGAS, params):
        yield f"A saga has not ended: {saga}"
    for report in await stage.world.query("sprint", _UNJUDGED, params | {"published": stage.published}):
        yield f"A report from outside was not taken in: {report}"
    inside = {row["task_id"]: row for row in await stage.world.query("sprint", _SPRINT_COURSES, params)}
    for row in await stage.world.query("backlog", _BACKLOG_COURSES, params):
        task_id, theirs = row["task_id"], inside.get(row["task_id"])
        ours = Course(
            row["sprint_id"], row["state"], row["assignee_id"], row["progress_percent"], row["sprint_version"]
        )
        if theirs is None:
            if ours.sprint_id or ours.version:
                yield f"{task_id} was never in a sprint, but the backlog has {ours}"
        elif theirs["outcome"] is None:
            course = Course(
                theirs["sprint_id"],
                theirs["state"],
                theirs["assignee_id"],
                theirs["progress_percent"],
                theirs["version"],
            )
            if ours != course:
                yield f"{task_id}: the backlog has {ours}, its sprint {course}"
            if (row["title"], row["points"]) != (theirs["title"], theirs["points"]):
                yield f"{task_id}: title or points differ: {row} {theirs}"
            if theirs["sprint_state"] != "IN_PROGRESS":
                yield f"{task_id} is open in sprint {theirs['sprint_id']}, which is {theirs['sprint_state']}"
        elif (ours.sprint_id, ours.version) != ("", theirs["version"]):
            yield f"{task_id} left {theirs['sprint_id']} at {theirs['version']}, but the backlog has {ours}"


async def _events(stage: Stage) -> AsyncIterator[str]:
    """Versions only grow: of each aggregate in the outbox, and of each task's course as the backlog tells of it."""
    for service in _SERVICES:
        versions: dict[tuple[str, str], int] = defaultdict(int)
        courses: dict[str, int] = defaultdict(int)
        for row in await stage.world.query(service, _OUTBOX, {"projects": stage.projects}):
            event = event_pb2.Event.FromString(bytes(row["payload"]))
            if event.HasField("task_progressed"):
                # A simulated report: it carries the version that it saw, and changes nothing by itself.
                continue
            key = event.aggregate_type, row["aggregate_id"]
            if row["version"] <= versions[key]:
                yield f"{service}: {row['subject']} of {key} has version {row['version']} after {versions[key]}"
            versions[key] = row["version"]
            for task_id, version, strict in _told_courses(event):
                if version < courses[task_id] or (strict and version == courses[task_id]):
                    yield f"{service}: {row['subject']} has {task_id} at {version} after {courses[task_id]}"
                courses[task_id] = version


def _told_courses(event: event_pb2.Event) -> Iterable[tuple[str, int, bool]]:
    """The version of each task's course that an event tells, and whether it must be newer than the one before."""
    if event.HasField("task_updated"):
        yield event.task_updated.task.task_id, event.task_updated.task.sprint_version, False
    if event.HasField("sprint_task_updated"):
        yield event.sprint_task_updated.task.task_id, event.sprint_task_updated.task.version, True
    for task in event.sprint_started.tasks:
        yield task.task_id, task.version, True
    for task in event.sprint_closed.completed_tasks:
        yield task.task_id, task.version, False
    for task in event.sprint_closed.released_tasks:
        yield task.task_id, task.version, True


async def _reports(stage: Stage) -> AsyncIterator[str]:
    """A report from outside has its effect once, however often it was delivered, or has none."""
    for row in await stage.world.query("sprint", _EFFECTS, {"published": stage.published}):
        if row["effects"] != (row["verdict"] == "APPLIED"):
            yield f"The report {row['event_id']} was {row['verdict']} and had {row['effects']} effects"


async def _totals(stage: Stage) -> AsyncIterator[str]:
    """A backlog's summary is what its tasks add up to, and its tasks are those that clients were told of."""
    for ground in stage.grounds:
        tasks = await _tasks(stage, ground.project_id)
        summary = (
            await stage.ask("GetBacklogSummary", backlog.GetBacklogSummaryRequest(project_id=ground.project_id))
        ).summary
        counts = {count.state: (count.tasks, count.points) for count in summary.state_counts}
        for state in task_pb2.TaskState.values()[1:]:
            found = [task for task in tasks if task.state == state]
            if counts.get(state) != (len(found), _points(found)):
                name = task_pb2.TaskState.Name(state)
                yield f"{ground.project_id} has {len(found)} tasks, {_points(found)} points in {name}; told: {counts}"
        unestimated = sum(not task.HasField("points") for task in tasks)
        stories = len(await _story_list(stage, ground.project_id))
        told = summary.total_tasks, summary.total_points, summary.unestimated_tasks, summary.total_stories
        if told != (len(tasks), _points(tasks), unestimated, stories):
            yield f"{ground.project_id}: {told} instead of {(len(tasks), _points(tasks), unestimated, stories)}"
        made = {row["task_id"] for row in await _rows_of(stage, "backlog", "task_id", "task", ground.project_id)}
        if made != set(ground.tasks) or len(ground.tasks) != len(made):
            yield f"Clients were told of other tasks than were made: {sorted(made ^ set(ground.tasks))}"


async def _sprints(stage: Stage) -> AsyncIterator[str]:
    """A sprint's counts are what its tasks add up to; closed ones hold no open work; at most one is open."""
    for ground in stage.grounds:
        request = sprint.ListSprintsRequest(project_id=ground.project_id, page_size=13)
        listed = await _whole(stage, "ListSprints", request, "sprints")
        open_ones = [found.sprint_id for found in listed if found.state in _OPEN]
        if len(open_ones) > 1:
            yield f"More than one sprint is open: {open_ones}"
        holders: Counter[str] = Counter()
        for short in listed:
            whole = (await stage.ask("GetSprint", sprint.GetSprintRequest(sprint_id=short.sprint_id))).sprint
            tasks = await _sprint_tasks(stage, short.sprint_id)
            inside = [task for task in tasks if not task.outcome]
            holders.update(task.task_id for task in inside)
            if list(whole.tasks) != tasks:
                yield f"{short.sprint_id}: GetSprint and ListSprintTasks differ"
            asked = await stage.ask("GetTaskSummary", sprint.GetTaskSummaryRequest(sprint_id=short.sprint_id))
            for told in (short.task_summary, whole.task_summary, asked.summary):
                if told != _summary(tasks):
                    yield f"{short.sprint_id}: told {told} instead of {_summary(tasks)}"
            if short.state not in _OPEN and inside:
                yield f"{short.sprint_id} is closed and holds {[task.task_id for task in inside]}"
            for line in _ending(whole):
                yield line
            async for line in _burndown(stage, whole):
                yield line
        for task_id in (task_id for task_id, times in holders.items() if times > 1):
            yield f"{task_id} is in several sprints"


def _ending(closed: sprint_pb2.Sprint) -> Iterable[str]:
    """The frozen figures of a closed sprint agree with its tasks and with each other."""
    if closed.state not in _CLOSED:
        return
    figures, summary = closed.statistics, closed.task_summary
    if (closed.state == sprint_pb2.SPRINT_STATE_COMPLETED) != (summary.pending_tasks == 0):
        yield f"{closed.sprint_id} is {closed.state} with {summary.pending_tasks} pending tasks"
    ended = figures.completed_tasks, figures.released_tasks
    if ended != (summary.completed_tasks, summary.pending_tasks):
        yield f"{closed.sprint_id}: completed and released {ended} of {summary}"
    if figures.planned_tasks + figures.added_tasks - figures.removed_tasks != sum(ended):
        yield f"{closed.sprint_id}: planned, added, removed and ended do not add up: {figures}"


async def _burndown(stage: Stage, whole: sprint_pb2.Sprint) -> AsyncIterator[str]:
    """Its last day is what is left."""
    if whole.state == sprint_pb2.SPRINT_STATE_ABANDONED:
        return
    days = (await stage.ask("GetBurndown", sprint.GetBurndownRequest(sprint_id=whole.sprint_id))).days
    left = days[-1].remaining_tasks, days[-1].remaining_points
    if left != (whole.task_summary.pending_tasks, whole.task_summary.pending_points):
        yield f"{whole.sprint_id}: the burndown ends at {left}, pending is {whole.task_summary}"


async def _stories(stage: Stage) -> AsyncIterator[str]:
    """A story's progress is what its tasks add up to."""
    for ground in stage.grounds:
        tasks = await _tasks(stage, ground.project_id)
        for story in await _story_list(stage, ground.project_id):
            mine = [t for t in tasks if story.story_id in t.story_ids and t.state != task_pb2.TASK_STATE_CANCELLED]
            done = [task for task in mine if task.state == task_pb2.TASK_STATE_COMPLETED]
            told = story.progress
            counted = len(mine), len(done), _points(mine), _points(done)
            if (told.total_tasks, told.completed_tasks, told.total_points, told.completed_points) != counted:
                yield f"{story.story_id}: told {told} instead of {counted}"
            if abs(told.percent - (100 * len(done) / len(mine) if mine else 0)) > 0.01:
                yield f"{story.story_id}: {told.percent} % of {counted}"


async def _people(stage: Stage) -> AsyncIterator[str]:
    """Nobody is promised for more than a whole day, nor off twice at a time."""
    members = "SELECT * FROM team_member WHERE employee_id = ANY(%(people)s)"
    promised: Counter[tuple[str, date]] = Counter()
    for row in await stage.world.query("project", members, {"people": stage.people}):
        for number in range(120):
            day = date(2025, 2, 1) + timedelta(days=number)
            if row["start_date"] <= day and (row["end_date"] is None or day <= row["end_date"]):
                promised[row["employee_id"], day] += row["allocation_percent"]
    for (employee_id, day), percent in promised.items():
        if percent > 100:
            yield f"{employee_id} is promised for {percent} % of {day}"
    off = "SELECT * FROM pto WHERE employee_id = ANY(%(people)s)"
    for one, other in itertools.combinations(await stage.world.query("project", off, {"people": stage.people}), 2):
        if one["employee_id"] == other["employee_id"] and _overlap(_half_days(one), _half_days(other)):
            yield f"{one['employee_id']} is off twice: {one} {other}"


async def _letters(stage: Stage) -> AsyncIterator[str]:
    """No event was given up."""
    for service in ("backlog", "sprint"):
        for row in await stage.world.query(service, _DEAD):
            if any(project_id in str(row) for project_id in stage.projects):
                yield f"{service} gave an event up: {row}"


async def _tasks(stage: Stage, project_id: str) -> list[task_pb2.Task]:
    request = backlog.ListTasksRequest(project_id=project_id, page_size=37)
    return await _whole(stage, "ListTasks", request, "tasks")


async def _sprint_tasks(stage: Stage, sprint_id: str) -> list[sprint_pb2.SprintTask]:
    request = sprint.ListSprintTasksRequest(sprint_id=sprint_id, page_size=17)
    return await _whole(stage, "ListSprintTasks", request, "tasks")


async def _story_list(stage: Stage, project_id: str) -> list[task_pb2.Story]:
    request = backlog.ListStoriesRequest(project_id=project_id, page_size=41)
    return await _whole(stage, "ListStories", request, "stories")


async def _whole(stage: Stage, method: str, request: Any, rows: str) -> list[Any]:
    """A list, page by page."""
    found: list[Any] = []
    while True:
        answer = await stage.ask(method, request)
        found += getattr(answer, rows)
        if not answer.next_page_token:
            return found
        request.page_token = answer.next_page_token


async def _rows_of(stage: Stage, service: str, columns: str, table: str, project_id: str) -> list[dict[str, Any]]:
    return await stage.world.query(
        service, f"SELECT {columns} FROM {table} WHERE project_id = %(id)s", {"id": project_id}
    )


def _summary(tasks: Iterable[sprint_pb2.SprintTask]) -> sprint_pb2.TaskSummary:
    counted = [task for task in tasks if task.outcome not in _OUT]
    states = Counter(task.state for task in counted)
    done = [task for task in counted if task.state == task_pb2.TASK_STATE_COMPLETED]
    return sprint_pb2.TaskSummary(
        total_tasks=len(counted),
        completed_tasks=len(done),
        pending_tasks=len(counted) - len(done),
        blocked_tasks=states[task_pb2.TASK_STATE_BLOCKED],
        in_progress_tasks=states[task_pb2.TASK_STATE_IN_PROGRESS],
        total_points=_points(counted),
        completed_points=_points(done),
        pending_points=_points(counted) - _points(done),
    )


def _points(tasks: Iterable[Any]) -> float:
    """Points together; a play's are halves and whole ones, which add up exactly."""
    return sum(float(task.points) for task in tasks)


def _half_days(row: dict[str, Any]) -> tuple[int, int]:
    first, last = row["start_date"].toordinal() * 2, row["end_date"].toordinal() * 2 + 2
    return first + row["starts_at_midday"], last - row["ends_at_midday"]


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] < other[1] and other[0] < one[1]
