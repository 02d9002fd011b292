"""Who gets what done on a day: pure, and the same for the same seed."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

# A good day brings this much more than a bad one; the mean is 1.
_BAD_DAY, _GOOD_DAY = 0.6, 1.4
# Effort of a task that nobody estimated, in points.
_UNESTIMATED = 3.0
_SMALLEST = 0.5
_EPSILON = 1e-6
# Far enough back for a sprint of two weeks, two of one week, and the beginning of the next one.
_DAYS_BACK = 35


@dataclass(frozen=True)
class Task:
    """A task of the sprint, as far as its day is concerned. `points` None = not estimated."""

    task_id: str
    title: str
    assignee_id: str
    points: float | None
    progress_percent: int
    blocked: bool = False

    @property
    def size(self) -> float:
        """Effort in points, above 0."""
        return max(_SMALLEST, _UNESTIMATED if self.points is None else self.points)

    @property
    def effort_left(self) -> float:
        """Effort left in points."""
        return self.size * (100 - self.progress_percent) / 100


@dataclass(frozen=True)
class Report:
    """What somebody says about a task at the end of a day."""

    task_id: str
    employee_id: str
    progress_percent: int
    work_note: str
    plan: str


@dataclass(frozen=True)
class Trouble:
    """An impediment: the share of the sprint's days after which it comes up, and after which it is gone."""

    comes: float
    goes: float
    text: str
    resolution: str = ""


# The last one stays, so that there is unfinished work when the sprint closes.
TROUBLES = (
    Trouble(0.15, 0.35, "Staging is down, so nothing can be tried there.", "Staging runs on a bigger disk now."),
    Trouble(0.35, 0.65, "Waiting for access to the build server.", "Access was granted by the platform team."),
    Trouble(0.65, 1.0, "The partner's test system answers with errors since this morning."),
)


def first_monday(today: date) -> date:
    """The Monday about five weeks ago that the demo's first sprint begins on."""
    back = today - timedelta(days=_DAYS_BACK)
    return back - timedelta(days=back.weekday())


def pace(tasks: Sequence[Task], person_days: float) -> float:
    """Points per person-day at which the team would just finish its tasks; 0 without capacity."""
    return sum(task.effort_left for task in tasks) / person_days if person_days > 0 else 0.0


def work(
    tasks: Sequence[Task], at_work: Mapping[str, float], points_per_day: float, rng: random.Random
) -> list[Report]:
    """What those at work (share of the day by person) report of their own tasks, in the order they worked on them.

    What was begun is finished first; a blocked task waits.
    """
    reports: list[Report] = []
    for employee_id, share in sorted(at_work.items()):
        effort = share * points_per_day * rng.uniform(_BAD_DAY, _GOOD_DAY)
        mine = [task for task in tasks if task.assignee_id == employee_id]
        reports += _one_day(_in_order(mine), effort)
    return reports


def held_up(tasks: Sequence[Task], reports: Sequence[Report], rng: random.Random) -> Report | None:
    """Whose task of the day gets in trouble: one that was worked on and is not done; None if there is none."""
    by_id = {task.task_id: task for task in tasks}
    begun = [report for report in reports if report.progress_percent < 100 and report.task_id in by_id]
    return rng.choice(begun) if begun else None


def _in_order(tasks: Sequence[Task]) -> list[Task]:
    able = [task for task in tasks if not task.blocked and task.progress_percent < 100]
    return sorted(able, key=lambda task: task.progress_percent == 0)


def _one_day(tasks: Sequence[Task], effort: float) -> list[Report]:
    reports: list[Report] = []
    for at, task in enumerate(tasks):
        if effort <= _EPSILON:
            break
        after = _worked(task, effort)
        effort -= task.effort_left
        if after.progress_percent > task.progress_percent:
            following = tasks[at + 1] if at + 1 < len(tasks) else None
            reports.append(_report(task, after, following))
    return reports


def _worked(task: Task, effort: float) -> Task:
    if effort >= task.effort_left - _EPSILON:
        return replace(task, progress_percent=100)
    return replace(task, progress_percent=min(99, int(task.progress_percent + 100 * effort / task.size)))


def _report(before: Task, after: Task, following: Task | None) -> Report:
    if after.progress_percent == 100:
        note = "Done and reviewed." if before.progress_percent else "Begun and done on the same day."
        plan = f"Next: {following.title}" if following else "Help where help is needed."
    else:
        note = "Went on." if before.progress_percent else "Begun."
        plan = "Go on."
    return Report(before.task_id, before.assignee_id, after.progress_percent, note, plan)
