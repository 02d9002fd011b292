"""Decisions as the chronicle keeps them: the orchestrator's record, and what came of it."""

from dataclasses import dataclass
from datetime import datetime

from services.chronicle.domain.notes import Statistics

# A sprint counts as a success from this completion rate on.
SUCCESS_RATE = 0.8


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the sprint of a decision came to."""

    sprint_id: str
    statistics: Statistics
    close_time: datetime

    @property
    def success(self) -> bool:
        """True if the sprint completed at least SUCCESS_RATE of its tasks."""
        rate = self.statistics.completion_rate
        return rate is not None and rate >= SUCCESS_RATE


@dataclass(frozen=True, slots=True)
class DecisionNote:
    """A copy of a decision; `record` is the orchestrator's, serialized. outcome None = its sprint has not closed."""

    audit_id: str
    project_id: str
    sprint_id: str
    decision_source: str
    decision_time: datetime
    record: bytes
    version: int
    create_time: datetime
    outcome: Outcome | None = None
