"""Decisions and what came of them."""

from typing import Any

from psycopg.rows import class_row

from services.chronicle.domain.decisions import SUCCESS_RATE
from services.chronicle.domain.impact import Detail, Outcomes, Sample
from services.kit.data.database import ReadHandle, Row

# Decisions of a project and period that started a sprint. What the statistics do not tell of the capacity, the planning
# note may know. Utilisation is not known without a team size, or where nothing tells how the tasks ended.
_FOUND = """
    SELECT note.audit_id::text, note.sprint_id, note.decision_source, note.decision_time,
        outcome.sprint_id IS NOT NULL AS closed, outcome.completion_rate,
        outcome.completed_tasks
            / coalesce(nullif(outcome.capacity_person_days, 0), nullif(planning.capacity_person_days, 0))
            AS task_efficiency,
        CASE WHEN task.told > 0 THEN least(1.0, task.finishers / nullif(outcome.team_size, 0)::double precision) END
            AS resource_utilization
    FROM decision_note note
    LEFT JOIN sprint_outcome outcome ON outcome.sprint_id = note.sprint_id
    LEFT JOIN planning_note planning ON planning.sprint_id = note.sprint_id
    LEFT JOIN LATERAL (
        SELECT count(*) AS told,
            count(DISTINCT employee_id) FILTER (WHERE status = 'COMPLETED' AND employee_id <> '') AS finishers
        FROM retrospective JOIN retrospective_task USING (retrospective_id)
        WHERE retrospective.sprint_id = outcome.sprint_id
    ) task ON true
    WHERE note.project_id = %(project_id)s AND note.sprint_id <> ''
        AND note.decision_time >= %(start)s::timestamp AT TIME ZONE 'UTC'
        AND note.decision_time < (%(end)s::date + 1)::timestamp AT TIME ZONE 'UTC'
"""
_MEASURES = {"completion": "completion_rate", "efficiency": "task_efficiency", "utilization": "resource_utilization"}
_SAMPLES = ", ".join(
    f"count({column}) AS {name}_count, avg({column}) AS {name}_mean, var_samp({column}) AS {name}_variance"
    for name, column in _MEASURES.items()
)
_OUTCOMES = f"""
    SELECT decision_source, count(*) FILTER (WHERE closed) AS decisions, count(*) FILTER (WHERE NOT closed) AS waiting,
        count(*) FILTER (WHERE completion_rate >= %(success_rate)s) AS successes, {_SAMPLES}
    FROM ({_FOUND}) found GROUP BY decision_source
"""
_DETAILS = f"""
    SELECT audit_id, sprint_id, decision_source, decision_time, completion_rate, task_efficiency, resource_utilization
    FROM ({_FOUND} ORDER BY note.decision_time DESC, note.audit_id DESC LIMIT %(limit)s) found
    ORDER BY decision_time, audit_id
"""


async def outcomes(read: ReadHandle, params: dict[str, Any]) -> tuple[dict[str, Outcomes], int]:
    """The outcomes of a project's decisions of a period by source, and how many wait for theirs."""
    rows = await read.rows(_OUTCOMES, params | {"success_rate": SUCCESS_RATE})
    return {row["decision_source"]: _outcomes(row) for row in rows}, sum(row["waiting"] for row in rows)


async def details(read: ReadHandle, params: dict[str, Any], limit: int) -> list[Detail]:
    """The newest decisions of a project and period, oldest first."""
    return await read.all(_DETAILS, params | {"limit": limit}, row=class_row(Detail))


def _outcomes(row: Row) -> Outcomes:
    samples = {name: Sample(row[f"{name}_count"], row[f"{name}_mean"], row[f"{name}_variance"]) for name in _MEASURES}
    return Outcomes(decisions=row["decisions"], successes=row["successes"], **samples)
