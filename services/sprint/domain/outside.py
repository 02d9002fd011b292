"""Progress reported from outside, by events: what has an effect, and which."""

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from services.kit.clock import day_in
from services.sprint.domain.progress import block, report_progress
from services.sprint.domain.scrum import Entry
from services.sprint.domain.sprint import SprintState, SprintTask, TaskState, day_in_sprint, day_of_work

_NO_IMPEDIMENT = ("none", "no impediments")


@dataclass(frozen=True, slots=True)
class OutsideReport:
    """A report of work. `time` is when it was made; sprint_id "" = whichever open one the task is in."""

    event_id: str
    task_id: str
    sprint_id: str
    progress_percent: int
    employee_id: str
    work_note: str
    plan: str
    impediment: str
    work_date: date | None
    time: datetime


class Verdict(StrEnum):
    """What becomes of a report; only one that is APPLIED has an effect."""

    APPLIED = "APPLIED"
    OLDER = "OLDER"
    COMPLETED = "COMPLETED"
    NOT_IN_SPRINT = "NOT_IN_SPRINT"
    ARCHIVED = "ARCHIVED"


def judge(report: OutsideReport, task: SprintTask, sprint_state: SprintState, *, archived: bool) -> Verdict:
    """Whether a report has an effect on a task of an open sprint, and why not.

    A report is older if it was made before the last one that was applied, whether that came by event or by call.
    """
    if sprint_state is not SprintState.IN_PROGRESS or report.sprint_id not in ("", task.sprint_id):
        return Verdict.NOT_IN_SPRINT
    if archived:
        return Verdict.ARCHIVED
    if task.report_time and report.time < task.report_time:
        return Verdict.OLDER
    return Verdict.COMPLETED if task.state is TaskState.COMPLETED else Verdict.APPLIED


def day_of(report: OutsideReport, start: date, end: date, time_zone: str, now: datetime) -> date:
    """The day that a report's work belongs to: as given, else the one of its time, else the sprint's nearest.

    DateOutOfRange for a day given that is outside the sprint or in the future.
    """
    if report.work_date:
        return day_of_work(report.work_date, start, end, day_in(now, time_zone), "work_date")
    return day_in_sprint(day_in(report.time, time_zone), start, end)


def take(report: OutsideReport, task: SprintTask, day: date, now: datetime) -> tuple[SprintTask, Entry]:
    """A task after a report that has an effect, and what is kept of the work."""
    after = report_progress(task, report.progress_percent, day, now, report.time)
    if report.impediment and after.state is TaskState.IN_PROGRESS:
        after = block(after, now)
    entry = Entry(
        task_id=task.task_id,
        employee_id=report.employee_id or task.assignee_id,
        work_date=day,
        from_percent=task.progress_percent,
        to_percent=after.progress_percent,
        work_note=report.work_note,
        plan=report.plan,
        create_time=now,
    )
    return after, entry


def impediment_in(text: str) -> str:
    """What blocks the work by somebody's words; empty if the words say that nothing does."""
    return "" if text.strip().rstrip(".").casefold() in _NO_IMPEDIMENT else text.strip()
