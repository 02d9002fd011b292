"""Projects to compare, by their sums and by the centroids of their backlogs."""

from dataclasses import fields

from services.chronicle.domain.figures import Figures
from services.chronicle.domain.similarity import Candidate
from services.chronicle.domain.topics import BACKGROUND, BACKGROUND_WEIGHT, MIN_TITLES
from services.kit.data.database import ReadHandle, Row

_NAMES = tuple(field.name for field in fields(Figures))
_FIGURES = ", ".join(f"figures.{name}" for name in _NAMES)
# The text is compared only where the reference, the background and the other project have centroids of one model.
_CANDIDATES = f"""
    WITH own AS MATERIALIZED (
        SELECT centroid::vector AS centroid, embedding_model FROM project_topic
        WHERE project_id = %(project_id)s AND titles >= %(min_titles)s
    ), topic AS MATERIALIZED (
        SELECT project_id, project_topic.centroid::vector AS centroid
        FROM project_topic JOIN own USING (embedding_model)
        WHERE titles >= %(min_titles)s OR project_id = %(background)s
    ), ground AS MATERIALIZED (
        SELECT avg(centroid) AS centroid FROM (
            SELECT centroid FROM topic WHERE project_id <> %(background)s
            UNION ALL
            SELECT centroid FROM topic, generate_series(1, %(background_weight)s)
            WHERE project_id = %(background)s
        ) weighed
    ), text AS MATERIALIZED (
        SELECT topic.project_id, 1 - ((topic.centroid - ground.centroid) <=> (own.centroid - ground.centroid)) AS cosine
        FROM topic, own, ground
        WHERE topic.project_id NOT IN (%(background)s, %(project_id)s)
            AND EXISTS (SELECT FROM topic WHERE project_id = %(background)s)
    )
    SELECT coalesce(figures.project_id, text.project_id) AS project_id, {_FIGURES},
        nullif(text.cosine, 'NaN') AS text_cosine, (SELECT embedding_model FROM own) AS model
    FROM (SELECT * FROM project_figures WHERE project_id <> %(project_id)s) figures
    FULL JOIN text ON text.project_id = figures.project_id
"""
_HAS_TITLES = "SELECT EXISTS (SELECT FROM backlog_title WHERE project_id = %(project_id)s)"


async def candidates(read: ReadHandle, project_id: str) -> tuple[list[Candidate], str]:
    """Every other project, and the model that compared the texts; empty = none was compared."""
    params = {
        "project_id": project_id,
        "background": BACKGROUND,
        "background_weight": BACKGROUND_WEIGHT,
        "min_titles": MIN_TITLES,
    }
    rows = await read.rows(_CANDIDATES, params)
    model = next((row["model"] for row in rows if row["text_cosine"] is not None), "")
    return [_candidate(row) for row in rows], model


async def has_titles(read: ReadHandle, project_id: str) -> bool:
    """True if a task of the project is known, which no note need tell of."""
    return bool(await read.value(_HAS_TITLES, {"project_id": project_id}))


def _candidate(row: Row) -> Candidate:
    # A project of which only the backlog is known has no figures.
    figures = Figures(*(row[name] for name in _NAMES)) if row["sprints"] is not None else Figures()
    return Candidate(row["project_id"], figures, row["text_cosine"])
