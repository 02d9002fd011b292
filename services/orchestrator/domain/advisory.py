"""Whether a decision has its review by a local LLM."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class AdvisoryState(StrEnum):
    """Whether there is an advisory. A decision made while no advisor was configured has none."""

    PENDING = "PENDING"
    AVAILABLE = "AVAILABLE"
    UNAVAILABLE = "UNAVAILABLE"


@dataclass(frozen=True)
class Advisory:
    """A review of a decision; the text and its time are there once it is AVAILABLE."""

    state: AdvisoryState
    model: str
    text: str = ""
    create_time: datetime | None = None
