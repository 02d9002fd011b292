"""Histories to be summed up: what is recorded of sprints, and told by events."""

from __future__ import annotations

from datetime import date, timedelta
from importlib import import_module
from typing import TYPE_CHECKING, Any

import psycopg
from dsm.chronicle.v1 import chronicle_service_pb2 as pb
from dsm.chronicle.v1.note_pb2 import (
    ActionItem,
    DailyScrumReport,
    PersonReport,
    PlanningNote,
    Retrospective,
    RetrospectiveTask,
    SprintStatistics,
    TaskReport,
)
from google.protobuf.timestamp_pb2 import Timestamp

from services.kit.clock import utc_now
from services.kit.envelope import new_event, stream_of, subject_of
from services.kit.events.stream import Stream
from tests.harness import World

if TYPE_CHECKING:
    from google.protobuf.message import Message

_BACKFILL = import_module("migrations.chronicle.0002_analytics").BACKFILL


async def tell(stream: Stream, *payloads: Message, version: int = 1, project_id: str = "") -> None:
    """Publish what another service would."""
    for payload in payloads:
        event = new_event(
            payload, source="test", aggregate=("thing", "1"), version=version, now=utc_now(), project_id=project_id
        )
        subject = subject_of(event)
        await stream.context.publish(subject, event.SerializeToString(), stream=stream_of(subject))


def planned_sprint(project_id: str, number: int = 1) -> pb.RecordSprintPlanningRequest:
    """A sprint that is planned, and no more said of it."""
    note = PlanningNote(
        sprint_id=f"{project_id}-S{number:02}",
        project_id=project_id,
        start_date="2026-01-05",
        end_date="2026-01-18",
        duration_weeks=2,
    )
    return pb.RecordSprintPlanningRequest(planning_note=note)


def reported_day(project_id: str, day: str, *tasks: tuple[str, int], who: str = "E001") -> pb.RecordDailyScrumRequest:
    """A day of one person, by (task, percent)."""
    told = [
        TaskReport(task_id=task_id, yesterday_work=f"Did {task_id}", today_work="More", progress_percent=percent)
        for task_id, percent in tasks
    ]
    report = DailyScrumReport(
        project_id=project_id,
        sprint_id=f"{project_id}-S01",
        report_date=day,
        reports=[PersonReport(employee_id=who, tasks=told)],
    )
    return pb.RecordDailyScrumRequest(report=report)


def closed_sprint(
    project_id: str,
    number: int = 1,
    *,
    completed: int = 8,
    released: int = 2,
    items: tuple[str, ...] = (),
    capacity: float = 20,
    finishers: int = 0,
    team: int = 4,
) -> pb.RecordRetrospectiveRequest:
    """A sprint that is closed, the numbers of its tasks, person-days and people, and who finished something."""
    start = date(2026, 1, 5) + timedelta(weeks=2 * (number - 1))
    figures = SprintStatistics(
        planned_tasks=completed + released,
        completed_tasks=completed,
        released_tasks=released,
        capacity_person_days=capacity,
        impediments_raised=1,
        team_size=team,
    )
    note = Retrospective(
        sprint_id=f"{project_id}-S{number:02}",
        project_id=project_id,
        start_date=start.isoformat(),
        end_date=(start + timedelta(days=13)).isoformat(),
        duration_weeks=2,
        action_items=[ActionItem(description=text) for text in items],
        tasks_summary=[
            RetrospectiveTask(task_id=f"T{n}", status="COMPLETED", employee_id=f"E{n}") for n in range(finishers)
        ],
        statistics=figures,
    )
    return pb.RecordRetrospectiveRequest(retrospective=note)


def moment_ago(days: int) -> Timestamp:
    """The moment some days before now."""
    moment = Timestamp()
    moment.FromDatetime(utc_now() - timedelta(days=days))
    return moment


async def check_sums(world: World) -> None:
    """What was summed up step by step is what the tables say."""
    url = world.stack.postgres.url("dsm_chronicle")
    async with await psycopg.AsyncConnection.connect(url) as connection:

        async def rows(table: str) -> list[Any]:
            return await (await connection.execute(f"SELECT * FROM {table} ORDER BY 1")).fetchall()

        kept = [await rows("project_figures"), await rows("known_sprint")]
        await connection.execute("DELETE FROM project_figures")
        await connection.execute("DELETE FROM known_sprint")
        await connection.execute(_BACKFILL)
        assert kept == [await rows("project_figures"), await rows("known_sprint")]
        await connection.rollback()
