"""A file of real sprints, read so that a forecaster cannot see the future.

Columns as in the data of Choetkiertikul et al., IEEE TSE 44 (2018), https://doi.org/10.1109/TSE.2017.2693989: a row for
each board on which a sprint is. Of a row only what was known when it is forecast gets into `Sprint`; what came of it is
kept apart and told by `replay` after the forecast of every row of the same sprint.
"""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

MOMENTS = (0, 30, 50, 80)
# Words that say what kind of sprint it is, not whose.
_COMMON_WORDS = frozenset(
    "sprint iteration week release to rc ga m sr alpha beta final current".split()  # noqa: SIM905
)


@dataclass(frozen=True)
class Sprint:
    """What is known of a sprint on a board when `moment` percent of its time are over. Sizes in points.

    `planned` is what it held at its start and `last_three` the mean delivered of the board's three sprints before
    (None = it had none).
    """

    project: str
    board: str
    number: int
    name: str
    representative: bool
    moment: int
    days: float
    tasks: int
    planned: float
    committed: float
    done: float
    in_progress: float
    last_three: float | None

    @property
    def line(self) -> str:
        """Whose sprint it is by its name: several teams share a board, and one team has several."""
        words = re.findall(r"[a-z]+", re.sub(r"\S*\d\S*", " ", self.name.lower()))
        return next((word for word in words if word not in _COMMON_WORDS), f"board {self.board}")


@dataclass(frozen=True)
class Row:
    """A row of the file: what may be seen, by moment, and what came of it."""

    seen: Mapping[int, Sprint]
    delivered: float
    split: str

    @property
    def key(self) -> tuple[str, int]:
        """The sprint, in the order of time within its project."""
        sprint = self.seen[0]
        return sprint.project, sprint.number

    @property
    def row_key(self) -> tuple[str, int, str]:
        """The sprint on its board: what no other row has."""
        return *self.key, self.seen[0].board


def read(path: Path) -> list[Row]:
    """The rows of a file, by project and in the order of time."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = [_row(record) for record in csv.DictReader(file)]
    return sorted(rows, key=lambda row: (row.key, row.seen[0].board))


def replay(rows: Sequence[Row], moment: int) -> Iterator[tuple[list[Sprint], list[float]]]:
    """Sprint after sprint, its boards together: what may be seen, and what came of it, to be learned afterwards."""
    for _, group in groupby(rows, key=lambda row: row.key):
        boards = list(group)
        yield [row.seen[moment] for row in boards], [row.delivered for row in boards]


def _row(record: Mapping[str, str]) -> Row:
    return Row({m: _sprint(record, m) for m in MOMENTS}, float(record["delivered"]), record.get("split", "train"))


def _sprint(record: Mapping[str, str], moment: int) -> Sprint:
    counts = (f"no_issue{state}_{moment}" for state in ("todo", "inprogress", "done"))
    last_three = record["hist_delivered_mean3"]
    return Sprint(
        project=record["project"],
        board=record["boardid"],
        number=int(float(record["sprintid"])),
        name=record["name"],
        representative=record["representative_row"] == "1",
        moment=moment,
        days=float(record["planday"]),
        tasks=sum(int(float(record[count])) for count in counts),
        planned=float(record["committed_0"]),
        committed=float(record[f"committed_{moment}"]),
        done=float(record[f"vel_done_{moment}"]),
        in_progress=float(record[f"vel_inprogress_{moment}"]),
        last_three=float(last_three) if last_three else None,
    )
