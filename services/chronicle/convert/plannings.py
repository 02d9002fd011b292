"""Planning notes."""

from datetime import datetime

from dsm.chronicle.v1 import note_pb2 as pb

from services.chronicle.convert import canonical_id
from services.chronicle.domain.notes import PlannedTask, PlanningNote
from services.kit.convert import from_date, from_time, to_date


def decode(message: pb.PlanningNote, note_id: str, now: datetime) -> PlanningNote:
    """The note, with an id for one that has none."""
    return PlanningNote(
        note_id=canonical_id(message.note_id or note_id),
        sprint_id=message.sprint_id,
        project_id=message.project_id,
        sprint_name=message.sprint_name,
        sprint_goal=message.sprint_goal,
        start_date=to_date(message.start_date, "planning_note.start_date"),
        end_date=to_date(message.end_date, "planning_note.end_date"),
        duration_weeks=message.duration_weeks,
        capacity_person_days=message.capacity_person_days,
        create_time=now,
        planned_tasks=tuple(
            PlannedTask(task.task_id, task.title, task.assignee_id, task.points if task.HasField("points") else None)
            for task in message.planned_tasks
        ),
    )


def encode(note: PlanningNote) -> pb.PlanningNote:
    """The note as sent."""
    return pb.PlanningNote(
        note_id=note.note_id,
        sprint_id=note.sprint_id,
        project_id=note.project_id,
        sprint_name=note.sprint_name,
        sprint_goal=note.sprint_goal,
        start_date=from_date(note.start_date),
        end_date=from_date(note.end_date),
        duration_weeks=note.duration_weeks,
        capacity_person_days=note.capacity_person_days,
        planned_tasks=[
            pb.PlannedTask(task_id=task.task_id, title=task.title, assignee_id=task.assignee_id, points=task.points)
            for task in note.planned_tasks
        ],
        create_time=from_time(note.create_time),
    )
