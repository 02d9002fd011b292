"""Projects, and notes about them to record."""

from __future__ import annotations

from itertools import count
from uuid import uuid4

from dsm.chronicle.v1.note_pb2 import (
    ActionItem,
    ActionItemState,
    DailyScrumReport,
    PersonReport,
    PlannedTask,
    PlanningNote,
    Retrospective,
    RetrospectiveTask,
    SummaryMetrics,
    TaskReport,
)
from dsm.orchestrator.v1.decision_pb2 import Decision, DecisionMode, DecisionRecord, DecisionSource

from tests.harness import World

_numbers = count(1)


def new_project() -> str:
    """An id that no other project has."""
    return f"CHR{next(_numbers):03}"


def new_id() -> str:
    """An id for a note, a request or an action item."""
    return str(uuid4())


def planning_note(project_id: str, number: int = 1, start: str = "2026-01-05", end: str = "2026-01-18") -> PlanningNote:
    """A sprint of two tasks, one of them with points and somebody who has it."""
    sprint_id = f"{project_id}-S{number:02}"
    return PlanningNote(
        sprint_id=sprint_id,
        project_id=project_id,
        sprint_name=f"Sprint {number}",
        sprint_goal="Ship it",
        start_date=start,
        end_date=end,
        duration_weeks=2,
        planned_tasks=[
            PlannedTask(task_id=f"{project_id}-TASK001", title="Login", assignee_id="E001", points=3),
            PlannedTask(task_id=f"{project_id}-TASK002", title="Logout"),
        ],
        capacity_person_days=18.5,
    )


def scrum_report(project_id: str, day: str = "2026-01-06", number: int = 1) -> DailyScrumReport:
    """A day of two people, of whom one was away."""
    return DailyScrumReport(
        project_id=project_id,
        sprint_id=f"{project_id}-S{number:02}",
        report_date=day,
        summary="A day",
        summary_metrics=SummaryMetrics(total_team_members=2, total_tasks=3, completed_tasks=1, pending_tasks=2),
        reports=[
            PersonReport(
                employee_id="E002",
                tasks=[
                    TaskReport(task_id="T2", yesterday_work="wrote", today_work="test", progress_percent=40),
                    TaskReport(task_id="T1", impediments="No access", progress_percent=10),
                ],
            ),
            PersonReport(employee_id="E001", away=True),
        ],
    )


def retrospective_of(project_id: str, number: int = 1, start: str = "2026-01-05") -> Retrospective:
    """A sprint of two tasks, of which one was completed, with two action items."""
    return Retrospective(
        sprint_id=f"{project_id}-S{number:02}",
        project_id=project_id,
        sprint_name=f"Sprint {number}",
        start_date=start,
        end_date="2026-12-31",
        duration_weeks=2,
        what_went_well=["Pairing"],
        what_could_be_improved=["Estimates", "Reviews"],
        action_items=[
            ActionItem(description="Review within a day"),
            ActionItem(description="Split large tasks", state=ActionItemState.ACTION_ITEM_STATE_DONE, owner_id="E001"),
        ],
        facilitator_id="E001",
        attendee_ids=["E001", "E002"],
        tasks_summary=[
            RetrospectiveTask(task_id="T1", description="Login", status="COMPLETED", employee_id="E001", points=3),
            RetrospectiveTask(task_id="T2", description="Logout", status="IN_PROGRESS", progress_percent=40),
        ],
    )


def decision_record(project_id: str, moment: int = 1_700_000_000, **fields: object) -> DecisionRecord:
    """An enhanced decision to take 8 tasks where the rules say 10; `moment` in seconds since 1970."""
    fields = {"decision_source": DecisionSource.DECISION_SOURCE_INTELLIGENCE_ENHANCED} | fields
    record = DecisionRecord(
        decision_id=new_id(),
        project_id=project_id,
        mode=DecisionMode.DECISION_MODE_HYBRID,
        rule_based_decision=Decision(tasks_to_assign=10, reasoning="The rules say so."),
        final_decision=Decision(tasks_to_assign=8),
        **fields,  # type: ignore[arg-type]
    )
    record.decision_time.FromSeconds(moment)
    return record


async def count_events(world: World, aggregate_id: str) -> int:
    """How many events of a note or action item are in the outbox."""
    found = await world.query("chronicle", "SELECT 1 FROM outbox WHERE aggregate_id = %(id)s", {"id": aggregate_id})
    return len(found)
