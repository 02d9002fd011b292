"""What recurs in a project, counted where it lies."""

from psycopg.rows import class_row

from services.chronicle.domain.patterns import Closed, CommonItem, CycleTimes
from services.kit.data.database import ReadHandle

_CLOSED = """
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY completion_rate) AS typical_rate,
        avg(completion_rate) AS average_rate, avg(end_date - start_date + 1)::double precision AS average_days
    FROM sprint_outcome WHERE project_id = %(project_id)s
"""
_CYCLE = """
    SELECT count(*) AS completed, percentile_disc(0.5) WITHIN GROUP (ORDER BY days) AS median_days,
        percentile_disc(0.85) WITHIN GROUP (ORDER BY days) AS p85_days
    FROM (
        SELECT min(report_date) FILTER (WHERE progress_percent = 100)
            - min(report_date) FILTER (WHERE progress_percent > 0 OR yesterday_work <> '') + 1 AS days
        FROM scrum_task WHERE project_id = %(project_id)s GROUP BY task_id
    ) task WHERE days IS NOT NULL
"""
# Wordings that differ in case, punctuation and figures alone are one item: what is to be done is the same, of another
# task or with other numbers.
_ITEMS = r"""
    SELECT (array_agg(item.description ORDER BY note.start_date DESC, item.update_time DESC))[1] AS description,
        count(DISTINCT retrospective_id) AS count,
        count(DISTINCT retrospective_id) FILTER (WHERE state IN ('OPEN', 'IN_PROGRESS')) AS open_count
    FROM action_item item JOIN retrospective note USING (retrospective_id)
    WHERE item.project_id = %(project_id)s
    GROUP BY btrim(regexp_replace(regexp_replace(lower(item.description), '\d+([.,]\d+)*', '0', 'g'), '\W+', ' ', 'g'))
    ORDER BY count DESC, open_count DESC, description LIMIT %(limit)s
"""


async def closed(read: ReadHandle, project_id: str) -> Closed:
    """How complete and how long its closed sprints were; days include both ends."""
    return await read.one(_CLOSED, {"project_id": project_id}, row=class_row(Closed))


async def cycle_times(read: ReadHandle, project_id: str) -> CycleTimes:
    """How long its tasks took, as the daily scrums tell."""
    return await read.one(_CYCLE, {"project_id": project_id}, row=class_row(CycleTimes))


async def common_items(read: ReadHandle, project_id: str, limit: int) -> list[CommonItem]:
    """The action items of most retrospectives."""
    return await read.all(_ITEMS, {"project_id": project_id, "limit": limit}, row=class_row(CommonItem))
