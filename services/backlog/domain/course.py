"""What sprints do to tasks: what they report is followed by version, and what they give back becomes free."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.backlog.domain.task import RANK_STEP, Course, Task, TaskState, revised

_FINAL = (TaskState.COMPLETED, TaskState.CANCELLED)

Change = tuple[Task, Task]


@dataclass(frozen=True, slots=True)
class Report:
    """A task's course as its sprint has it; `left` says that the task is in the sprint no more."""

    task_id: str
    sprint_id: str
    version: int
    state: TaskState
    assignee_id: str
    progress_percent: int
    left: bool
    time: datetime


@dataclass(frozen=True, slots=True)
class Release:
    """A task that a sprint gives back. Version 0 = the sprint did not count it."""

    task_id: str
    version: int = 0
    assignee_id: str = ""
    progress_percent: int = 0


def newest(reports: Iterable[Report]) -> list[Report]:
    """The newest report of each task."""
    by_task: dict[str, Report] = {}
    for report in reports:
        kept = by_task.get(report.task_id)
        if kept is None or kept.version < report.version:
            by_task[report.task_id] = report
    return list(by_task.values())


def followed(tasks: Mapping[str, Task], reports: Iterable[Report], now: datetime) -> list[Change]:
    """What the reports change, as (before, after); those no newer than what a task knows change nothing."""
    changes = []
    for report in reports:
        task = tasks.get(report.task_id)
        if task and task.course.sprint_version < report.version:
            changes.append((task, revised(task, now, course=_reported(task.course, report))))
    return changes


def _reported(course: Course, report: Report) -> Course:
    state = report.state
    if report.left and state not in _FINAL:
        state = TaskState.UNASSIGNED
    inside = not report.left and state is not TaskState.UNASSIGNED
    completed = state is TaskState.COMPLETED
    return Course(
        state=state,
        assignee_id=report.assignee_id,
        sprint_id=report.sprint_id if inside else "",
        progress_percent=report.progress_percent,
        sprint_version=report.version,
        complete_time=(course.complete_time or report.time) if completed else None,
    )


def closed(tasks: Iterable[Task], reports: Mapping[str, Report], now: datetime) -> list[Change]:
    """The tasks still in a sprint that is over, freed: as its last report has them, or by their own state.

    `reports` hold what the sprint said of its tasks when it closed; a task that it did not name goes back unfinished
    unless it is final, so that no task can stay in a sprint that is over.
    """
    changes = []
    for task in tasks:
        course = task.course
        report = reports.get(task.task_id)
        if report and course.sprint_version <= report.version:
            course = replace(_reported(course, report), sprint_id="")
        elif course.state not in _FINAL:
            course = replace(course, state=TaskState.UNASSIGNED, progress_percent=0, assignee_id="")
        changes.append((task, revised(task, now, course=replace(course, sprint_id=""))))
    return changes


def released(
    tasks: Mapping[str, Task],
    sprint_id: str,
    releases: Sequence[Release],
    now: datetime,
    *,
    roll_over: bool,
    top_rank: int = 0,
) -> list[Change]:
    """The tasks that a sprint gives back, as (before, after); those that it does not hold any more stay as they are.

    Without `roll_over` they lose assignee and progress. With it they keep what the release says of both, and go above
    `top_rank`, the project's lowest rank, in the order that they are ranked in.
    """
    held = [(tasks[r.task_id], r) for r in releases if r.task_id in tasks]
    held = [(task, release) for task, release in held if _may_release(task, sprint_id, release)]
    held.sort(key=lambda pair: pair[0].place)
    first_rank = top_rank - RANK_STEP * len(held)
    changes = []
    for index, (task, release) in enumerate(held):
        course = Course(
            assignee_id=release.assignee_id if roll_over else "",
            progress_percent=release.progress_percent if roll_over else 0,
            sprint_version=max(task.course.sprint_version, release.version),
        )
        rank = first_rank + RANK_STEP * index if roll_over else task.rank
        changes.append((task, revised(task, now, course=course, rank=rank)))
    return changes


def _may_release(task: Task, sprint_id: str, release: Release) -> bool:
    newer = not release.version or task.course.sprint_version <= release.version
    return task.course.sprint_id == sprint_id and newer


def unreserved(tasks: Iterable[Task], before: Mapping[str, Release], now: datetime) -> list[Change]:
    """The tasks of a planning that was undone: free again, with assignee and progress as they were before it."""
    changes = []
    for task in tasks:
        kept = before.get(task.task_id, Release(task.task_id))
        course = Course(
            assignee_id=kept.assignee_id,
            progress_percent=kept.progress_percent,
            sprint_version=task.course.sprint_version,
        )
        changes.append((task, revised(task, now, course=course)))
    return changes
