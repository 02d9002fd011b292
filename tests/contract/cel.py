"""The contract's rules over several fields, each with a way to break it and the field that a refusal must name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Case:
    """`field` is told from the message on which the rule stands."""

    field: str
    way: Callable[[Any], None]


def _unset(field: str) -> Case:
    """A field of a message inside that must be set."""
    name, _, part = field.partition(".")
    return Case(field, lambda message: getattr(message, name).ClearField(part))


def _last_day_first(message: Any) -> None:
    message.start_date, message.end_date = message.end_date, message.start_date


def _no_title(message: Any) -> None:
    message.tasks[0].ClearField("title")


def _another_project(message: Any) -> None:
    message.tasks[0].project_id = "ANOTHER"


def _pto_last_day_first(message: Any) -> None:
    _last_day_first(message.pto)


def _nothing_left(message: Any) -> None:
    message.pto.end_date = message.pto.start_date
    message.pto.starts_at_midday = message.pto.ends_at_midday = True


def _day_of_its_own(message: Any) -> None:
    message.options.as_of_date = "2025-03-03"


CASES = {
    "set_orchestration_schedule.today": Case("options.as_of_date", _day_of_its_own),
    "create_project.project_id": _unset("project.project_id"),
    "create_project.name": _unset("project.name"),
    "update_project.project_id": _unset("project.project_id"),
    "create_employee.employee_id": _unset("employee.employee_id"),
    "create_employee.name": _unset("employee.name"),
    "update_employee.employee_id": _unset("employee.employee_id"),
    "list_holidays.order": Case("end_date", _last_day_first),
    "check_availability.order": Case("end_date", _last_day_first),
    "get_capacity.order": Case("end_date", _last_day_first),
    "add_pto.order": Case("pto.end_date", _pto_last_day_first),
    "add_pto.something_left": Case("pto.ends_at_midday", _nothing_left),
    "create_task.project_id": _unset("task.project_id"),
    "create_task.title": _unset("task.title"),
    "update_task.task_id": _unset("task.task_id"),
    "task_update.task_id": _unset("task.task_id"),
    "batch_create_tasks.title": Case("tasks", _no_title),
    "batch_create_tasks.project_id": Case("tasks", _another_project),
    "create_story.project_id": _unset("story.project_id"),
    "create_story.title": _unset("story.title"),
    "update_story.story_id": _unset("story.story_id"),
}
