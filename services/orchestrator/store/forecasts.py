"""Forecasts with what came of them, and the closed sprints of all teams."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

from psycopg.rows import class_row

from services.kit.data.database import ReadHandle, Row, WriteHandle
from services.orchestrator.domain.forecast.calibration import Judged
from services.orchestrator.domain.forecast.projections import (
    BacklogProjection,
    Closed,
    Closing,
    SprintProjection,
)
from services.orchestrator.store.rows import where

# Calibration looks at the latest ones: what a forecaster was years ago says nothing of it now.
_MOST_JUDGED = 10_000
# Other teams' sprints that a team's own are compared with: of the latest ones those of teams of its size.
_OTHERS, _LATEST = 20, 200

# Asked again on the same day, the same forecast says nothing new: the first one stays.
_KEEP = """
    INSERT INTO forecast (project_id, sprint_id, as_of_date, target_date, task_count, done_tasks, remaining_tasks,
                          completion_probability, tasks, dates, create_time)
    VALUES (%(project_id)s, %(sprint_id)s, %(as_of_date)s, %(target_date)s, %(task_count)s, %(done_tasks)s,
            %(remaining_tasks)s, %(completion_probability)s, %(tasks)s, %(dates)s::date[], %(create_time)s)
    ON CONFLICT ON CONSTRAINT forecast_question_key DO NOTHING
"""
_TRACK = """
    INSERT INTO closed_sprint (sprint_id, project_id, last_day, planned_tasks, completed_tasks, person_days,
                               working_days, complete_dates)
    SELECT sprint_id, project_id, last_day, planned_tasks, completed_tasks, person_days, working_days,
           string_to_array(nullif(complete_dates, ''), ',')::date[]
    FROM unnest(%(sprint_ids)s::text[], %(project_ids)s::text[], %(last_days)s::date[], %(planned)s::integer[],
                %(completed)s::integer[], %(person_days)s::float8[], %(working_days)s::integer[],
                %(complete_dates)s::text[])
        AS v (sprint_id, project_id, last_day, planned_tasks, completed_tasks, person_days, working_days,
              complete_dates)
    ON CONFLICT (sprint_id) DO NOTHING
"""
_JUDGE_SPRINTS = """
    UPDATE forecast f SET outcome_time = now(), all_done = v.all_done,
        completed_tasks = v.completed_tasks - f.done_tasks,
        held = ARRAY(SELECT v.completed_tasks - f.done_tasks >= tasks
                     FROM unnest(f.tasks) WITH ORDINALITY t (tasks, place) ORDER BY place)
    FROM unnest(%(sprint_ids)s::text[], %(completed)s::integer[], %(all_done)s::boolean[])
        AS v (sprint_id, completed_tasks, all_done)
    WHERE f.sprint_id = v.sprint_id AND f.outcome_time IS NULL
"""
# A forecast about a day has its outcome once a sprint has closed on it or later; one about a number of tasks when so
# many are done, or when the last day that it named has passed.
_JUDGE_BACKLOGS = """
    WITH known AS (
        SELECT f.forecast_id, d.done, d.by_target, d.reached FROM forecast f
        CROSS JOIN LATERAL (
            SELECT max(s.last_day) AS last_day FROM closed_sprint s WHERE s.project_id = f.project_id) c
        CROSS JOIN LATERAL (
            SELECT count(*) AS done, count(*) FILTER (WHERE day <= f.target_date) AS by_target,
                (array_agg(day ORDER BY day))[f.task_count] AS reached
            FROM closed_sprint s CROSS JOIN unnest(s.complete_dates) AS day
            WHERE s.project_id = f.project_id AND s.last_day >= f.as_of_date AND day >= f.as_of_date) d
        WHERE f.sprint_id IS NULL AND f.outcome_time IS NULL AND f.project_id = ANY(%(project_ids)s)
          AND CASE WHEN f.target_date IS NULL THEN d.reached IS NOT NULL OR c.last_day > f.dates[3]
                   ELSE c.last_day >= f.target_date END)
    UPDATE forecast f SET outcome_time = now(), all_done = k.reached IS NOT NULL,
        completed_tasks = CASE WHEN f.target_date IS NULL THEN k.done ELSE k.by_target END,
        held = CASE WHEN f.target_date IS NULL
            THEN ARRAY(SELECT coalesce(day IS NULL OR k.reached <= day, false)
                       FROM unnest(f.dates) WITH ORDINALITY t (day, place) ORDER BY place)
            ELSE ARRAY(SELECT k.by_target >= tasks
                       FROM unnest(f.tasks) WITH ORDINALITY t (tasks, place) ORDER BY place) END
    FROM known k WHERE f.forecast_id = k.forecast_id
"""
_CONDITIONS = {"project_id": "project_id = %(project_id)s", "known": "outcome_time IS NOT NULL"}
_JUDGED = "SELECT completion_probability, all_done, held FROM forecast"
_CLOSED = "sprint_id, project_id, last_day, planned_tasks, completed_tasks, person_days, working_days"
_LIKE = f"""
    SELECT {_CLOSED} FROM (
        SELECT {_CLOSED} FROM closed_sprint WHERE person_days > 0 AND working_days > 0
        ORDER BY last_day DESC, sprint_id LIMIT %(latest)s) latest
    WHERE project_id <> %(project_id)s AND last_day <= %(until)s
    ORDER BY abs(ln(person_days / %(person_days)s)), sprint_id LIMIT %(limit)s
"""


async def keep_sprint(tx: WriteHandle, forecast: SprintProjection, now: datetime) -> None:
    """Store a forecast of a sprint."""
    sprint = forecast.sprint
    params = {
        "sprint_id": sprint.sprint_id,
        "target_date": sprint.last_day,
        "task_count": forecast.remaining_tasks,
        "done_tasks": sprint.completed_tasks,
        "completion_probability": forecast.probability,
        "tasks": list(forecast.tasks),
    }
    await _keep(tx, sprint.project_id, forecast, params, now)


async def keep_backlog(tx: WriteHandle, forecast: BacklogProjection, now: datetime) -> None:
    """Store a forecast of a backlog."""
    params = {
        "sprint_id": None,
        "target_date": forecast.target_date,
        "task_count": forecast.task_count,
        "done_tasks": 0,
        "completion_probability": None,
        "tasks": None if forecast.tasks is None else list(forecast.tasks),
    }
    await _keep(tx, forecast.project_id, forecast, params, now)


async def learn(tx: WriteHandle, closings: Sequence[Closing]) -> None:
    """Store closed sprints, and what came of the forecasts whose ends are known by them."""
    closed = [closing.closed for closing in closings]
    params = {
        "sprint_ids": [one.sprint_id for one in closed],
        "project_ids": [one.project_id for one in closed],
        "last_days": [one.last_day for one in closed],
        "planned": [one.planned_tasks for one in closed],
        "completed": [one.completed_tasks for one in closed],
        "person_days": [one.person_days for one in closed],
        "working_days": [one.working_days for one in closed],
        "complete_dates": [",".join(day.isoformat() for day in one.complete_dates) for one in closings],
        "all_done": [one.all_done for one in closings],
    }
    await tx.execute(_TRACK, params)
    await tx.execute(_JUDGE_SPRINTS, params)
    await tx.execute(_JUDGE_BACKLOGS, params)


async def judged(read: ReadHandle, project_id: str) -> list[Judged]:
    """Forecasts with known ends, of a project or ("") of all."""
    params = {"project_id": project_id, "known": True, "limit": _MOST_JUDGED}
    sql = f"{_JUDGED} {where(_CONDITIONS, params)} ORDER BY outcome_time DESC LIMIT %(limit)s"
    return [_to_judged(row) for row in await read.rows(sql, params)]


async def like(read: ReadHandle, project_id: str, person_days: float, until: date) -> list[Closed]:
    """Closed sprints of other teams of about the same size, none that ended after a day; oldest first."""
    if person_days <= 0:
        return []
    params = {
        "project_id": project_id,
        "person_days": person_days,
        "until": until,
        "latest": _LATEST,
        "limit": _OTHERS,
    }
    found = await read.all(_LIKE, params, row=class_row(Closed))
    return sorted(found, key=lambda closed: closed.last_day)


async def _keep(
    tx: WriteHandle,
    project_id: str,
    forecast: SprintProjection | BacklogProjection,
    params: dict[str, Any],
    now: datetime,
) -> None:
    params |= {
        "project_id": project_id,
        "as_of_date": forecast.basis.as_of,
        "remaining_tasks": forecast.remaining_tasks,
        "dates": list(forecast.dates),
        "create_time": now,
    }
    await tx.execute(_KEEP, params)


def _to_judged(row: Row) -> Judged:
    return Judged(row["completion_probability"], row["all_done"], tuple(row["held"]))
