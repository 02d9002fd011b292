"""Title and points of tasks as the backlog last told them, by event or by reservation.

Both ways take the same row's lock first. So a change that comes while a task is being put into a sprint is not missed:
whoever is second, the one who follows or the one who puts it in, sees what the first has stored.
"""

from collections.abc import Sequence
from dataclasses import replace

from services.kit.data.database import Row, WriteHandle
from services.sprint.domain.planning import Reserved

_TAKE_IN = """
    INSERT INTO backlog_task AS b (task_id, title, points, version)
    SELECT DISTINCT ON (n.task_id) n.* FROM unnest(
        %(task_ids)s::text[], %(titles)s::text[], %(points)s::numeric[], %(versions)s::bigint[]
    ) AS n(task_id, title, points, version) ORDER BY n.task_id, n.version DESC
    ON CONFLICT (task_id) DO UPDATE
    SET title = excluded.title, points = excluded.points, version = excluded.version
    WHERE b.version < excluded.version
"""
_NEWEST = "SELECT task_id, title, points, version FROM backlog_task WHERE task_id = ANY(%(task_ids)s)"
# What changed in points is a change of scope.
_FOLLOW = """
    WITH old AS (
        SELECT t.sprint_id, t.task_id, t.points, s.time_zone, s.start_date, s.end_date,
               b.title, b.points AS new_points, b.version
        FROM sprint_task t JOIN sprint s USING (sprint_id) JOIN backlog_task b ON b.task_id = t.task_id
        WHERE t.task_id = ANY(%(task_ids)s) AND t.outcome IS NULL AND t.backlog_version < b.version
        ORDER BY t.task_id FOR UPDATE OF t
    ), followed AS (
        UPDATE sprint_task t SET title = o.title, points = o.new_points, backlog_version = o.version
        FROM old o WHERE t.sprint_id = o.sprint_id AND t.task_id = o.task_id
        RETURNING t.sprint_id, t.task_id, coalesce(t.points, 0) - coalesce(o.points, 0) AS added,
                  least(o.end_date, greatest(o.start_date, (%(now)s AT TIME ZONE o.time_zone)::date)) AS day
    )
    INSERT INTO scope_change (sprint_id, task_id, change_date, kind, points)
    SELECT sprint_id, task_id, day, 'ESTIMATED', added FROM followed WHERE added <> 0
"""


async def follow(tx: WriteHandle, news: Row, now: object) -> None:
    """Take in what the backlog says of tasks, and bring open sprints up to it.

    `news` are the columns task_ids, titles, points and versions.
    """
    await tx.execute(_TAKE_IN, news)
    await tx.execute(_FOLLOW, {"task_ids": news["task_ids"], "now": now})


async def newest(tx: WriteHandle, reserved: Sequence[Reserved]) -> list[Reserved]:
    """Reserved tasks with what the backlog has told of them since; what it tells from now on is followed."""
    news = {
        "task_ids": [task.candidate.task_id for task in reserved],
        "titles": [task.title for task in reserved],
        "points": [task.candidate.points for task in reserved],
        "versions": [task.backlog_version for task in reserved],
    }
    await tx.execute(_TAKE_IN, news)
    told = {row["task_id"]: row for row in await tx.rows(_NEWEST, news)}
    return [_renewed(task, told[task.candidate.task_id]) for task in reserved]


def _renewed(task: Reserved, row: Row) -> Reserved:
    candidate = replace(task.candidate, points=row["points"])
    return replace(task, candidate=candidate, title=row["title"], backlog_version=row["version"])
