"""The daily scrum: what happened since the last report, per person and task, and a simulated day."""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from services.kit.errors import FailedPrecondition
from services.sprint.domain.progress import Impediment
from services.sprint.domain.sprint import (
    DateOutOfRange,
    Sprint,
    SprintTask,
    TaskState,
    TaskSummary,
    check_in_sprint,
    check_not_future,
    summarize,
)

LONGEST_TEXT = 4000
_MOST_TASKS = 500
_MOST_PEOPLE = 500
# How far a simulated day may be from an even pace, as a factor.
_SLOWEST, _FASTEST = 0.6, 1.4


class NotAWorkingDay(FailedPrecondition):
    """The day is a weekend or holiday of the project."""

    reason = "NOT_A_WORKING_DAY"

    def __init__(self, day: date, why: str) -> None:
        super().__init__(f"{day} is no working day: {why}.", date=day, why=why)


@dataclass(frozen=True, slots=True)
class Entry:
    """Work reported on a task."""

    task_id: str
    employee_id: str
    work_date: date
    from_percent: int
    to_percent: int
    work_note: str
    plan: str
    create_time: datetime


@dataclass(frozen=True, slots=True)
class TaskReport:
    """What a report says of one task."""

    task_id: str
    title: str
    yesterday_work: str
    today_work: str
    impediments: str
    progress_percent: int
    create_time: datetime | None


@dataclass(frozen=True, slots=True)
class PersonReport:
    """One person's part of a report."""

    employee_id: str
    away: bool
    tasks: tuple[TaskReport, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """The report of a day."""

    summary: str
    people: tuple[PersonReport, ...]
    counts: TaskSummary
    team_size: int
    updated_tasks: int


@dataclass(frozen=True, slots=True)
class Simulated:
    """Progress that a simulated day made on a task."""

    task: SprintTask
    percent: int
    work_note: str
    plan: str


def day_of_report(given: date | None, sprint: Sprint, today: date, last: date | None) -> date:
    """The day of a report: as given, else today; in the sprint, not in the future, not before the last report."""
    day = given or today
    check_in_sprint(day, sprint.start_date, sprint.end_date, "report_date")
    check_not_future(day, today, "report_date")
    if last and day < last:
        raise DateOutOfRange("report_date", f"must not be before the last report, {last}", day)
    return day


def compile_report(
    tasks: Sequence[SprintTask],
    entries: Sequence[Entry],
    impediments: Sequence[Impediment],
    present: Mapping[str, Decimal],
) -> Report:
    """What was reported, by person and task.

    `tasks` are as they are now, `entries` what no report had yet, `impediments` the open ones, `present` the share of
    the day that each member of the team works (0 = away). Who is away reports nothing: that person's entries must not
    be among `entries`. Tasks begun of which nothing was reported are listed with empty words.
    """
    by_id = {task.task_id: task for task in tasks}
    blocks: dict[str, list[str]] = {}
    for impediment in impediments:
        blocks.setdefault(impediment.task_id, []).append(impediment.text)
    spoken: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        spoken.setdefault((entry.employee_id, entry.task_id), []).append(entry)
    reported = {task_id for _, task_id in spoken}
    silent = [
        (task.assignee_id, task.task_id)
        for task in tasks
        if task.task_id not in reported and task.state in (TaskState.IN_PROGRESS, TaskState.BLOCKED)
    ]
    away = {employee_id for employee_id, share in present.items() if share <= 0}
    parts: dict[str, list[TaskReport]] = {employee_id: [] for employee_id in present}
    for employee_id, task_id in sorted([*spoken, *silent]):
        if employee_id not in away and task_id in by_id:
            said = spoken.get((employee_id, task_id), [])
            parts.setdefault(employee_id, []).append(_task_report(by_id[task_id], said, blocks.get(task_id, [])))
    people = tuple(
        PersonReport(who, who in away, tuple(parts[who][:_MOST_TASKS])) for who in sorted(parts)[:_MOST_PEOPLE]
    )
    counts = summarize(tasks)
    summary = _summary(counts, entries, len(impediments), sorted(away), nobody=away == present.keys())
    return Report(summary, people, counts, len(present), len(reported & by_id.keys()))


def simulate_day(
    sprint: Sprint, tasks: Sequence[SprintTask], present: Mapping[str, Decimal], seed: str | int
) -> list[Simulated]:
    """A day's progress of the people at work, the same for the same seed.

    Each person works at the pace that would finish the person's tasks in the sprint, give or take, on what is begun
    first and then by position. Blocked tasks rest. Tasks without points count as one point.
    """
    rng = random.Random(seed)
    days = {member.employee_id: member.person_days for member in sprint.members}
    done: list[Simulated] = []
    for employee_id in sorted(who for who, share in present.items() if share > 0):
        own = [task for task in tasks if task.assignee_id == employee_id and task.outcome is None]
        person_days = days.get(employee_id) or present[employee_id] * max(1, len(sprint.working_dates))
        pace = sum(map(_size, own)) / float(person_days)
        effort = pace * float(present[employee_id]) * rng.uniform(_SLOWEST, _FASTEST)
        done += _work(own, effort)
    return done


def _work(own: Sequence[SprintTask], effort: float) -> list[Simulated]:
    """Spend a day's effort, in points, on the person's open tasks."""
    states = (TaskState.IN_PROGRESS, TaskState.ASSIGNED_TO_SPRINT)
    queue = sorted((t for t in own if t.state in states), key=lambda t: (states.index(t.state), t.position))
    done = []
    for place, task in enumerate(queue):
        left = _size(task) * (100 - task.progress_percent) / 100
        if effort >= left:
            following = queue[place + 1].title if place + 1 < len(queue) else ""
            plan = f"Go on with: {following}" if following else ""
            done.append(Simulated(task, 100, f"Finished: {task.title}", plan[:LONGEST_TEXT]))
            effort -= left
        else:
            made = max(1, round(100 * effort / _size(task)))
            percent = min(99, task.progress_percent + made)
            if percent > task.progress_percent:
                done.append(Simulated(task, percent, f"Worked on: {task.title}", f"Go on with: {task.title}"))
            break
    return done


def _size(task: SprintTask) -> float:
    return float(task.points) if task.points else 1.0


def _task_report(task: SprintTask, said: Sequence[Entry], blocks: Iterable[str]) -> TaskReport:
    return TaskReport(
        task_id=task.task_id,
        title=task.title,
        yesterday_work="\n".join(entry.work_note or _in_figures(entry) for entry in said)[:LONGEST_TEXT],
        today_work="\n".join(entry.plan for entry in said if entry.plan)[:LONGEST_TEXT],
        impediments="\n".join(blocks)[:LONGEST_TEXT],
        progress_percent=task.progress_percent,
        create_time=said[-1].create_time if said else None,
    )


def _in_figures(entry: Entry) -> str:
    if entry.from_percent == entry.to_percent:
        return f"Progress stays at {entry.to_percent} %."
    return f"Progress from {entry.from_percent} % to {entry.to_percent} %."


def _summary(
    counts: TaskSummary, entries: Sequence[Entry], impediments: int, away: Sequence[str], *, nobody: bool
) -> str:
    worked = len({entry.task_id for entry in entries})
    finished = len({entry.task_id for entry in entries if entry.to_percent == 100})
    sentences = [
        f"{counts.completed_tasks} of {counted(counts.total_tasks, 'task')} "
        f"{'is' if counts.completed_tasks == 1 else 'are'} completed "
        f"({plain(counts.completed_points)} of {counted(counts.total_points, 'point')})."
    ]
    if worked:
        sentences.append(f"Since the last report there was work on {counted(worked, 'task')}; {finished} completed.")
    else:
        sentences.append("No work was reported since the last report.")
    if impediments:
        sentences.append(f"{counted(impediments, 'impediment')} open.")
    if nobody:
        sentences.append("Nobody is at work on this day.")
    elif away:
        sentences.append(f"Away: {', '.join(away)}.")
    return " ".join(sentences)[:LONGEST_TEXT]


def plain(number: Decimal | int) -> str:
    """A number without needless zeros."""
    return f"{Decimal(number).normalize():f}"


def counted(number: Decimal | int, noun: str) -> str:
    """A number with its noun: "1 task", "2.5 points"."""
    return f"{plain(number)} {noun}{'' if number == 1 else 's'}"
