"""Impediments as the chronicle knows them."""

from dataclasses import dataclass
from datetime import date, datetime


@dataclass(frozen=True, slots=True)
class Impediment:
    """Something that blocked a task; resolve_time None = it still does."""

    impediment_id: str
    project_id: str
    sprint_id: str
    task_id: str
    raised_by: str
    owner_id: str
    text: str
    state: str
    raise_date: date | None
    raise_time: datetime
    resolve_time: datetime | None
    resolution: str
