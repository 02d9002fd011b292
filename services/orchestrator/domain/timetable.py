"""When projects are orchestrated by themselves."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from services.orchestrator.domain.schedule import Timer
from services.orchestrator.domain.situation import Options


@dataclass(frozen=True)
class Timetable:
    """A project's wish to be orchestrated by a schedule, and what came of its last run."""

    project_id: str
    enabled: bool
    timer: Timer
    options: Options
    update_time: datetime
    next_run_time: datetime | None = None
    last_run_time: datetime | None = None
    last_run_result: str = ""
    last_decision_id: UUID | None = None
    version: int = 1
