"""Plays the working days of a sprint through the API, each with the dates of its own."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dsm.backlog.v1.task_pb2 import TASK_STATE_BLOCKED
from dsm.chronicle.v1.note_pb2 import DailyScrumReport
from dsm.project.v1.project_service_pb2 import GetCapacityResponse
from dsm.sprint.v1.sprint_service_pb2 import (
    GetSprintRequest,
    RaiseImpedimentRequest,
    ResolveImpedimentRequest,
    RunDailyScrumRequest,
    UpdateTaskProgressRequest,
)

from services.cli.client import Client
from services.cli.demo import days


@dataclass(frozen=True)
class Day:
    """What came of a day. Impediments are told in their own words."""

    report: DailyScrumReport
    worked_on: int
    raised: str = ""
    resolved: str = ""


class Replay:
    """Who did what on each working day, reported as the people would have done it. `lead` removes impediments.

    `speed` in points per person-day; None = the one at which the team would just finish.
    """

    def __init__(
        self,
        dsm: Client,
        sprint_id: str,
        capacity: GetCapacityResponse,
        lead: str,
        seed: int,
        *,
        speed: float | None = None,
        troubles: Sequence[days.Trouble] = days.TROUBLES,
    ) -> None:
        self._dsm = dsm
        self._sprint_id = sprint_id
        self._capacity = capacity
        self._lead = lead
        self._rng = random.Random(seed)
        self._to_come = list(troubles)
        self.speed = days.pace(self._tasks(), capacity.person_days) if speed is None else speed
        self._open: list[tuple[days.Trouble, str]] = []

    def play(self) -> Iterator[Day]:
        """Play one day after the other."""
        for number, day in enumerate(self._capacity.days):
            passed = number / len(self._capacity.days)
            resolved = self._resolve(passed, day.date)
            tasks = self._tasks()
            reports = days.work(tasks, self._at_work(day.date), self.speed, self._rng)
            for report in reports:
                self._report(report, day.date)
            raised = self._raise(days.held_up(tasks, reports, self._rng), passed, day.date)
            request = RunDailyScrumRequest(sprint_id=self._sprint_id, report_date=day.date, simulate=False)
            yield Day(self._dsm.sprint.RunDailyScrum(request).report, len(reports), raised, resolved)

    def _tasks(self) -> list[days.Task]:
        sprint = self._dsm.sprint.GetSprint(GetSprintRequest(sprint_id=self._sprint_id)).sprint
        return [
            days.Task(
                task.task_id,
                task.title,
                task.assignee_id,
                task.points if task.HasField("points") else None,
                task.progress_percent,
                blocked=task.state == TASK_STATE_BLOCKED,
            )
            for task in sprint.tasks
        ]

    def _at_work(self, day: str) -> dict[str, float]:
        return {
            member.employee_id: share.person_days
            for member in self._capacity.members
            for share in member.days
            if share.date == day and share.person_days > 0
        }

    def _report(self, report: days.Report, day: str) -> None:
        request = UpdateTaskProgressRequest(
            task_id=report.task_id,
            progress_percent=report.progress_percent,
            work_note=report.work_note,
            plan=report.plan,
            work_date=day,
            employee_id=report.employee_id,
        )
        self._dsm.sprint.UpdateTaskProgress(request)

    def _raise(self, held_up: days.Report | None, passed: float, day: str) -> str:
        """Bring up the next trouble if its time has come and somebody is there to have it."""
        if held_up is None or not self._to_come or self._to_come[0].comes > passed:
            return ""
        trouble = self._to_come.pop(0)
        request = RaiseImpedimentRequest(
            task_id=held_up.task_id,
            text=trouble.text,
            raised_by=held_up.employee_id,
            owner_id=self._lead,
            raise_date=day,
        )
        impediment = self._dsm.sprint.RaiseImpediment(request).impediment
        self._open.append((trouble, impediment.impediment_id))
        return impediment.text

    def _resolve(self, passed: float, day: str) -> str:
        """Put the troubles out of the way whose time is over."""
        gone = [(trouble, impediment_id) for trouble, impediment_id in self._open if trouble.goes <= passed]
        self._open = [both for both in self._open if both not in gone]
        resolutions = []
        for trouble, impediment_id in gone:
            request = ResolveImpedimentRequest(
                impediment_id=impediment_id, resolution=trouble.resolution, resolve_date=day
            )
            resolutions.append(self._dsm.sprint.ResolveImpediment(request).impediment.resolution)
        return " ".join(resolutions)
