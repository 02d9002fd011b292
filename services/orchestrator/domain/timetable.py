"""When projects are orchestrated by themselves."""

from dataclasses import dataclass, replace
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

    def moved(self, time_zone: str, now: datetime) -> "Timetable":
        """The same at the clock of another time zone; a run that is due already stays due."""
        timer = replace(self.timer, time_zone=time_zone)
        waits = self.next_run_time is not None and self.next_run_time > now
        following = timer.next_after(now) if waits else self.next_run_time
        return replace(self, timer=timer, next_run_time=following, update_time=now)
