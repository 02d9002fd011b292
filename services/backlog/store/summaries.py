"""Counts of backlogs, read from the counts that triggers keep: no task is looked at."""

from dataclasses import dataclass
from decimal import Decimal

from psycopg.rows import class_row

from services.kit.data.database import ReadHandle

_COLUMNS = """
    p.project_id,
    coalesce(array_agg(c.state) FILTER (WHERE c.tasks > 0), '{}') AS states,
    coalesce(array_agg(c.tasks) FILTER (WHERE c.tasks > 0), '{}') AS tasks,
    coalesce(array_agg(c.points) FILTER (WHERE c.tasks > 0), '{}') AS points,
    coalesce(sum(c.unestimated_tasks), 0)::bigint AS unestimated_tasks,
    (SELECT count(*) FROM story s WHERE s.project_id = p.project_id) AS stories
"""
_ONE = f"""
    SELECT {_COLUMNS} FROM project_counter p LEFT JOIN backlog_count c USING (project_id)
    WHERE p.project_id = %(project_id)s GROUP BY p.project_id
"""
_PAGE = f"""
    SELECT {_COLUMNS} FROM project_counter p JOIN backlog_count c USING (project_id)
    WHERE p.project_id > %(after)s
    GROUP BY p.project_id HAVING sum(c.tasks) > 0 ORDER BY p.project_id LIMIT %(limit)s
"""


@dataclass(frozen=True)
class Summary:
    """Tasks and points of a project by state; the lists belong together."""

    project_id: str
    states: list[str]
    tasks: list[int]
    points: list[Decimal]
    unestimated_tasks: int
    stories: int


async def find_summary(read: ReadHandle, project_id: str) -> Summary | None:
    """The counts of one project; None if it never had a task or story."""
    return await read.maybe(_ONE, {"project_id": project_id}, row=class_row(Summary))


async def page_of_summaries(read: ReadHandle, after: str, limit: int) -> list[Summary]:
    """The counts of projects that have tasks, by id after one."""
    return await read.all(_PAGE, {"after": after, "limit": limit}, row=class_row(Summary))
