"""Who stands next to whom in a project's order. Ranks change only under the lock of the project's counter."""

from dataclasses import dataclass

from psycopg.rows import class_row

from services.kit.data.database import ReadHandle, WriteHandle

_BELOW = """
    SELECT task_id, rank, number FROM task
    WHERE project_id = %(project_id)s AND delete_time IS NULL AND task_id <> %(but)s
      AND (rank, number) < (%(rank)s, %(number)s)
    ORDER BY rank DESC, number DESC LIMIT %(limit)s
"""
_ABOVE = """
    SELECT task_id, rank, number FROM task
    WHERE project_id = %(project_id)s AND delete_time IS NULL AND task_id <> %(but)s
      AND (rank, number) >= (%(rank)s, %(number)s)
    ORDER BY rank, number LIMIT %(limit)s
"""
_RAISE = """
    UPDATE project_counter SET last_rank = %(rank)s WHERE project_id = %(project_id)s AND last_rank < %(rank)s
"""
_TOP_RANK = """
    SELECT rank FROM task WHERE project_id = %(project_id)s AND delete_time IS NULL ORDER BY rank, number LIMIT 1
"""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A task in the order."""

    task_id: str
    rank: int
    number: int

    @property
    def place(self) -> tuple[int, int]:
        """Rank, ties by number."""
        return self.rank, self.number


@dataclass(frozen=True, slots=True)
class Gap:
    """The tasks on both sides of a place, the nearest first."""

    below: list[Neighbour]
    above: list[Neighbour]


async def find_gap(tx: WriteHandle, project_id: str, place: tuple[int, int], but: str, limit: int) -> Gap:
    """The tasks before a place, and those from it on; `limit` of each, the task `but` left out."""
    params = {"project_id": project_id, "rank": place[0], "number": place[1], "but": but, "limit": limit}
    row = class_row(Neighbour)
    return Gap(await tx.all(_BELOW, params, row=row), await tx.all(_ABOVE, params, row=row))


async def top_rank(read: ReadHandle, project_id: str) -> int:
    """The lowest rank of a project; 0 if it has no task."""
    return int(await read.value(_TOP_RANK, {"project_id": project_id}) or 0)


async def raise_last_rank(tx: WriteHandle, project_id: str, rank: int) -> None:
    """Let new tasks come after this rank."""
    await tx.execute(_RAISE, {"project_id": project_id, "rank": rank})
