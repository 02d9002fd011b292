"""Samples of the titles of backlogs, and what they are about."""

from collections.abc import Sequence

from services.chronicle.domain.topics import SAMPLE_SIZE, SampledTitle, background
from services.kit.data.database import WriteHandle
from services.kit.data.rows import json_rows, plain

_COLUMNS = "task_id, project_id, sample_key, title, task_version"
# Only what belongs to the sample is written: of most tasks, a change touches nothing here. The edge of a full sample is
# its greatest key. xmax is 0 for a new row.
_PUT = f"""
    WITH told AS MATERIALIZED (SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::backlog_title, %(rows)s)),
    edge AS MATERIALIZED (
        SELECT project_id, (
            SELECT title.sample_key FROM backlog_title title WHERE title.project_id = project.project_id
            ORDER BY title.sample_key OFFSET %(last)s LIMIT 1
        ) AS sample_key
        FROM (SELECT DISTINCT project_id FROM told) project
    )
    INSERT INTO backlog_title AS title ({_COLUMNS})
    SELECT {_COLUMNS.replace("sample_key", "told.sample_key")} FROM told JOIN edge USING (project_id)
    WHERE edge.sample_key IS NULL OR told.sample_key <= edge.sample_key
    ORDER BY task_id
    ON CONFLICT (task_id) DO UPDATE SET title = excluded.title, task_version = excluded.task_version,
        requires_embedding = title.requires_embedding OR title.title <> excluded.title
    WHERE title.task_version < excluded.task_version
    RETURNING project_id, xmax = 0 AS new
"""
_TRIM = """
    DELETE FROM backlog_title USING (
        SELECT task_id, row_number() OVER (PARTITION BY project_id ORDER BY sample_key) AS place
        FROM backlog_title WHERE project_id = ANY(%(project_ids)s)
    ) sampled
    WHERE backlog_title.task_id = sampled.task_id AND place > %(size)s
"""
_DROP = "DELETE FROM backlog_title WHERE task_id = ANY(%(task_ids)s)"
_PUT_BACKGROUND = f"""
    INSERT INTO backlog_title AS title ({_COLUMNS})
    SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::backlog_title, %(rows)s)
    ON CONFLICT (task_id) DO UPDATE SET title = excluded.title, requires_embedding = true
    WHERE title.title <> excluded.title
"""
# Of one model alone: while a sample is embedded anew, what is done of it stands for all.
_SUM_UP = """
    INSERT INTO project_topic (project_id, embedding_model, titles, centroid)
    SELECT project_id, embedding_model, count(*), avg(embedding) FROM backlog_title
    WHERE project_id = ANY(%(project_ids)s) AND embedding_model = %(model)s AND NOT requires_embedding
    GROUP BY project_id, embedding_model ORDER BY project_id
    ON CONFLICT (project_id) DO UPDATE SET
        embedding_model = excluded.embedding_model, titles = excluded.titles, centroid = excluded.centroid
"""


async def put(tx: WriteHandle, titles: Sequence[SampledTitle]) -> None:
    """Take the titles of tasks, each task once, into the samples of their projects, as far as they belong there."""
    rows = await tx.rows(_PUT, json_rows([plain(title) for title in titles]) | {"last": SAMPLE_SIZE - 1})
    if grown := {row["project_id"] for row in rows if row["new"]}:
        await tx.execute(_TRIM, {"project_ids": list(grown), "size": SAMPLE_SIZE})


async def drop(tx: WriteHandle, task_ids: Sequence[str]) -> None:
    """Leave deleted tasks out; others take their places as they are created or named anew."""
    await tx.execute(_DROP, {"task_ids": list(task_ids)})


async def put_background(tx: WriteHandle) -> None:
    """Make the background titles what they are in this version of the code."""
    await tx.execute(_PUT_BACKGROUND, json_rows([plain(title) for title in background()]))


async def sum_up(tx: WriteHandle, project_ids: Sequence[str], model: str) -> None:
    """Compute anew what projects are about, the background included."""
    await tx.execute(_SUM_UP, {"project_ids": list(project_ids), "model": model})
