"""Sprints, tasks and impediments to try the rules on."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from services.sprint.domain.progress import Impediment, ImpedimentState
from services.sprint.domain.sprint import Member, Sprint, SprintState, SprintTask, TaskState, last_day

NOW = datetime(2026, 1, 20, 12, tzinfo=UTC)
MONDAY = date(2026, 1, 5)


def make_sprint(**changes: object) -> Sprint:
    """Two weeks from Monday, 5 January 2026, with E1 and E2 at work on all ten days."""
    days = tuple(MONDAY + timedelta(days=n) for n in range(14) if n % 7 < 5)
    sprint = Sprint(
        sprint_id="P-S01",
        project_id="P",
        number=1,
        name="Sprint 1",
        goal="",
        state=SprintState.IN_PROGRESS,
        start_date=MONDAY,
        end_date=last_day(MONDAY, 2),
        duration_weeks=2,
        time_zone="UTC",
        capacity_person_days=Decimal(20),
        working_dates=days,
        members=(Member("E1", Decimal(10)), Member("E2", Decimal(10))),
        planned_tasks=2,
        planned_points=Decimal(8),
        planning_note_id="",
        close_date=None,
        retrospective_id="",
        statistics=None,
        version=2,
        create_time=NOW,
        update_time=NOW,
    )
    return replace(sprint, **changes)  # type: ignore[arg-type]


def make_task(number: int = 1, **changes: object) -> SprintTask:
    """A task of five points that nobody has begun."""
    task = SprintTask(
        sprint_id="P-S01",
        task_id=f"P-TASK{number:03}",
        project_id="P",
        title=f"Task {number}",
        points=Decimal(5),
        state=TaskState.ASSIGNED_TO_SPRINT,
        assignee_id="E1",
        progress_percent=0,
        version=1,
        position=number,
        add_date=MONDAY,
        complete_date=None,
        outcome=None,
        update_time=NOW,
    )
    return replace(task, **changes)  # type: ignore[arg-type]


def make_impediment(**changes: object) -> Impediment:
    """An impediment that has been open for a day."""
    impediment = Impediment(
        impediment_id="1",
        project_id="P",
        sprint_id="P-S01",
        task_id="P-TASK001",
        raised_by="E1",
        owner_id="E2",
        text="No access to the test system",
        state=ImpedimentState.OPEN,
        raise_date=MONDAY,
        raise_time=NOW - timedelta(days=1),
    )
    return replace(impediment, **changes)  # type: ignore[arg-type]
