"""Counts and sums per project, kept in the transactions that change what they count."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from psycopg.rows import class_row

from services.chronicle.domain.figures import SUMMED, Figures, total
from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.rows import json_rows, plain

# In one order, so that two batches of events about the same projects never wait for each other crosswise.
_LOCK = """
    SELECT FROM project_figures WHERE project_id = ANY(%(project_ids)s) ORDER BY project_id FOR NO KEY UPDATE
"""
_COLUMNS = ", ".join(("project_id", *SUMMED, "last_note_time"))
_ADD = f"""
    INSERT INTO project_figures AS figures ({_COLUMNS})
    SELECT {_COLUMNS} FROM jsonb_populate_recordset(NULL::project_figures, %(rows)s) ORDER BY project_id
    ON CONFLICT (project_id) DO UPDATE SET
        {", ".join(f"{name} = figures.{name} + excluded.{name}" for name in SUMMED)},
        last_note_time = greatest(figures.last_note_time, excluded.last_note_time)
"""
# A sprint's first word of any kind, and its first report, each come back once; xmax is 0 for a new row.
_KNOW_SPRINTS = """
    INSERT INTO known_sprint AS known (sprint_id, project_id, reported)
    SELECT sprint_id, project_id, %(reported)s
    FROM unnest(%(sprint_ids)s::text[], %(project_ids)s::text[]) AS told (sprint_id, project_id)
    ORDER BY sprint_id
    ON CONFLICT (sprint_id) DO UPDATE SET reported = true WHERE excluded.reported AND NOT known.reported
    RETURNING project_id, xmax = 0 AS new
"""
_FIND = f"SELECT {', '.join(SUMMED)}, last_note_time FROM project_figures WHERE project_id = %(project_id)s"
_TOTAL = f"""
    SELECT {", ".join(f"coalesce(sum({name}), 0) AS {name}" for name in SUMMED)},
        max(last_note_time) AS last_note_time, count(*) AS projects
    FROM project_figures
"""


async def lock(tx: WriteHandle, project_ids: Iterable[str]) -> None:
    """Let nobody else count for these projects until this transaction ends."""
    await tx.execute(_LOCK, {"project_ids": list(project_ids)})


async def add(tx: WriteHandle, added: Iterable[tuple[str, Figures]]) -> None:
    """Add to the figures of projects."""
    by_project: defaultdict[str, list[Figures]] = defaultdict(list)
    for project_id, figures in added:
        by_project[project_id].append(figures)
    rows = [plain(total(parts), project_id=project_id) for project_id, parts in by_project.items()]
    if rows:
        await tx.execute(_ADD, json_rows(rows))


async def know_sprints(
    tx: WriteHandle, sprints: Mapping[str, str], *, reported: bool = False
) -> list[tuple[str, Figures]]:
    """Sprints (with their projects) that a note tells of; what that adds to the figures."""
    if not sprints:
        return []
    params = {"sprint_ids": list(sprints), "project_ids": list(sprints.values()), "reported": reported}
    rows = await tx.rows(_KNOW_SPRINTS, params)
    return [(row["project_id"], Figures(sprints=row["new"], reported_sprints=reported)) for row in rows]


async def of_project(read: ReadHandle, project_id: str) -> Figures | None:
    """A project's figures; None if there is no note of it."""
    return await read.maybe(_FIND, {"project_id": project_id}, row=class_row(Figures))


async def of_all(read: ReadHandle) -> tuple[Figures, int]:
    """The figures over all projects, and how many there are."""
    [row] = await read.rows(_TOTAL)
    projects = row.pop("projects")
    whole = {name: int(value) for name, value in row.items() if name in SUMMED and name != "completion_rates"}
    return Figures(**(row | whole)), projects
