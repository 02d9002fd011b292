"""What analytics read of closed sprints."""

from psycopg.rows import class_row

from services.chronicle.domain.velocity import SprintVelocity
from services.kit.data.database import ReadHandle

# What the statistics do not tell of the plan, the planning note may know.
_NEWEST = """
    SELECT outcome.sprint_id, outcome.sprint_name, outcome.start_date, outcome.end_date,
        coalesce(nullif(outcome.planned_tasks, 0), note.task_count, outcome.planned_tasks) AS planned_tasks,
        CASE WHEN outcome.planned_tasks > 0 OR note.note_id IS NULL THEN outcome.planned_points ELSE note.points END
            AS planned_points,
        outcome.completed_tasks, outcome.completed_points,
        coalesce(nullif(outcome.capacity_person_days, 0), note.capacity_person_days, 0) AS capacity_person_days,
        outcome.team_size, outcome.completion_rate
    FROM sprint_outcome outcome LEFT JOIN planning_note note ON note.sprint_id = outcome.sprint_id
    WHERE outcome.project_id = %(project_id)s
    ORDER BY outcome.start_date DESC, outcome.sprint_id DESC LIMIT %(limit)s
"""
_KNOWN = """
    SELECT EXISTS (SELECT FROM planning_note WHERE project_id = %(project_id)s)
        OR EXISTS (SELECT FROM scrum_report WHERE project_id = %(project_id)s)
        OR EXISTS (SELECT FROM retrospective WHERE project_id = %(project_id)s)
        OR EXISTS (SELECT FROM decision_note WHERE project_id = %(project_id)s)
        OR EXISTS (SELECT FROM free_note WHERE project_id = %(project_id)s)
        OR EXISTS (SELECT FROM impediment WHERE project_id = %(project_id)s)
"""


async def closed_sprints(read: ReadHandle, project_id: str, limit: int) -> list[SprintVelocity]:
    """The newest closed sprints of a project, oldest first."""
    params = {"project_id": project_id, "limit": limit}
    newest = await read.all(_NEWEST, params, row=class_row(SprintVelocity))
    return newest[::-1]


async def knows(read: ReadHandle, project_id: str) -> bool:
    """True if there is any note of the project."""
    return bool(await read.value(_KNOWN, {"project_id": project_id}))
