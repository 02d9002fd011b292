"""What an adjustment changes, and by how much."""

from dataclasses import dataclass
from enum import StrEnum


class AdjustmentKind(StrEnum):
    """The figure of a decision that is changed: tasks, weeks, or points."""

    TASK_COUNT = "TASK_COUNT"
    SPRINT_DURATION = "SPRINT_DURATION"
    POINTS = "POINTS"


@dataclass(frozen=True)
class Effect:
    """A change of one figure: to a value in the figure's unit, or by a factor on what the rules say."""

    kind: AdjustmentKind
    value: float | None = None
    factor: float | None = None

    def __post_init__(self) -> None:
        if (self.value is None) == (self.factor is None):
            raise ValueError("An effect is a value or a factor, and never both.")

    def on(self, original: float) -> float:
        """What becomes of the rules' figure; not rounded, and not held within what is possible."""
        return original * self.factor if self.factor is not None else self.value or 0.0
