"""What came of a decision."""

from dataclasses import dataclass
from datetime import datetime

SUCCESS_RATE = 0.8


@dataclass(frozen=True)
class Outcome:
    """The figures of the sprint that a decision started, known when it closes. Points; person-days."""

    sprint_id: str
    completion_rate: float | None
    planned_tasks: int
    completed_tasks: int
    planned_points: float
    completed_points: float
    capacity_person_days: float | None
    impediments_raised: int
    close_time: datetime

    @property
    def success(self) -> bool:
        """True if at least 80 % of the sprint's tasks were completed."""
        return self.completion_rate is not None and self.completion_rate >= SUCCESS_RATE
