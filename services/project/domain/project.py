"""Projects and their status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from services.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

DEFAULT_TIME_ZONE = "UTC"
DEFAULT_COUNTRY = "US"
# Monday to Friday, as ISO 8601 counts the days of the week.
DEFAULT_WORKING_DAYS = (1, 2, 3, 4, 5)


class ProjectStatus(StrEnum):
    """What may happen in a project."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    ARCHIVED = "ARCHIVED"


@dataclass(frozen=True, slots=True)
class HolidayCalendar:
    """Whose public holidays are kept: an ISO 3166-1 country and, if not empty, an ISO 3166-2 subdivision of it."""

    country: str = DEFAULT_COUNTRY
    subdivision: str = ""


@dataclass(frozen=True, slots=True)
class Project:
    """A body of work with one team and one backlog; `working_days` are ISO weekdays, 1 = Monday, in order."""

    project_id: str
    name: str
    description: str
    status: ProjectStatus
    time_zone: str
    holiday_calendar: HolidayCalendar
    working_days: tuple[int, ...]
    simulate_daily_scrums: bool
    version: int
    create_time: datetime
    update_time: datetime


class ProjectNotFound(NotFound):
    """No project has this id."""

    reason = "PROJECT_NOT_FOUND"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"Project {project_id} does not exist.", project_id=project_id)


class ProjectAlreadyExists(AlreadyExists):
    """A project has this id already."""

    reason = "PROJECT_ALREADY_EXISTS"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"Project {project_id} exists already.", project_id=project_id)


class ProjectArchived(FailedPrecondition):
    """The project is read-only."""

    reason = "PROJECT_ARCHIVED"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"Project {project_id} is archived and read-only.", project_id=project_id)


def check_writable(project: Project) -> None:
    """Raise ProjectArchived if nothing of the project may change but its status."""
    if project.status is ProjectStatus.ARCHIVED:
        raise ProjectArchived(project.project_id)


def update_project(project: Project, changes: Mapping[str, Any], now: datetime) -> tuple[Project, list[str]]:
    """The project with new values for some of its fields, and which of them really changed.

    Nothing changed = the same project at the same version. InvalidArgument for an empty name.
    """
    if changes.get("name") == "":
        raise InvalidArgument("project.name", "must not be empty")
    changed = [field for field, value in changes.items() if getattr(project, field) != value]
    if not changed:
        return project, []
    return replace(touch_project(project, now), **changes), changed


def touch_project(project: Project, now: datetime) -> Project:
    """The project at its next version: its team, its calendar or itself has changed."""
    return replace(project, version=project.version + 1, update_time=now)
