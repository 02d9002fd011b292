"""People."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any

from services.kit.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound

DEFAULT_HOURS_PER_DAY = Decimal(8)


@dataclass(frozen=True, slots=True)
class Employee:
    """A person who can be on teams.

    `inactive_time` is since when they cannot be any more, None = active; `erase_time` since when nothing personal is
    known of them, None = it is.
    """

    employee_id: str
    name: str
    email: str
    role: str
    designation: str
    skills: tuple[str, ...]
    hours_per_day: Decimal
    inactive_time: datetime | None
    identity_subject: str
    time_zone: str
    version: int
    create_time: datetime
    update_time: datetime
    erase_time: datetime | None = None

    @property
    def active(self) -> bool:
        """True if the person can be put on teams."""
        return self.inactive_time is None


class EmployeeNotFound(NotFound):
    """No person has this id."""

    reason = "EMPLOYEE_NOT_FOUND"

    def __init__(self, employee_id: str) -> None:
        super().__init__(f"Employee {employee_id} does not exist.", employee_id=employee_id)


class EmployeeAlreadyExists(AlreadyExists):
    """A person has this id already."""

    reason = "EMPLOYEE_ALREADY_EXISTS"

    def __init__(self, employee_id: str) -> None:
        super().__init__(f"Employee {employee_id} exists already.", employee_id=employee_id)


class EmployeeErased(FailedPrecondition):
    """Everything personal of the person was erased; the id is kept for history and for nobody else."""

    reason = "EMPLOYEE_ERASED"

    def __init__(self, employee_id: str) -> None:
        super().__init__(f"Employee {employee_id} was erased: create another person instead.", employee_id=employee_id)


def skill_key(skill: str) -> str:
    """What two skills that differ only in case have in common."""
    return skill.casefold()


def check_skills(skills: Sequence[str]) -> tuple[str, ...]:
    """The skills; InvalidArgument if one comes twice, however it is written."""
    seen: set[str] = set()
    for index, skill in enumerate(skills):
        if skill_key(skill) in seen:
            raise InvalidArgument(f"employee.skills[{index}]", "must come once, compared without case", skill)
        seen.add(skill_key(skill))
    return tuple(skills)


def update_employee(employee: Employee, changes: Mapping[str, Any], now: datetime) -> tuple[Employee, list[str]]:
    """The person with new values for some of their fields, and which of them really changed.

    Nothing changed = the same person at the same version. Who becomes inactive is so from `now` on; who was inactive
    stays so since then. EmployeeErased, or InvalidArgument for an empty name.
    """
    check_not_erased(employee)
    if changes.get("name") == "":
        raise InvalidArgument("employee.name", "must not be empty")
    changed = [field for field, value in changes.items() if getattr(employee, field) != value]
    if not changed:
        return employee, []
    fields = {field: changes[field] for field in changed if field != "active"}
    if "active" in changed:
        fields["inactive_time"] = None if changes["active"] else now
    return replace(touch_employee(employee, now), **fields), changed


def erase_employee(employee: Employee, now: datetime) -> Employee:
    """The person without anything personal; somebody erased before is the same person at the same version.

    What tells who it was goes: name, address, identity, role, designation, skills and time zone. What the figures of
    the past need stays: the id, the hours of a day, since when the person is not active (else `now`).
    """
    if employee.erase_time:
        return employee
    return replace(
        touch_employee(employee, now),
        name="",
        email="",
        role="",
        designation="",
        skills=(),
        identity_subject="",
        time_zone="",
        inactive_time=employee.inactive_time or now,
        erase_time=now,
    )


def check_not_erased(employee: Employee) -> None:
    """Raise EmployeeErased where something personal would be entered of a person who was to be forgotten."""
    if employee.erase_time:
        raise EmployeeErased(employee.employee_id)


def touch_employee(employee: Employee, now: datetime) -> Employee:
    """The person at the next version: their time off or their data has changed."""
    return replace(employee, version=employee.version + 1, update_time=now)
