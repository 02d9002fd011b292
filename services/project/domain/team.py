"""Teams: who is on a project, with which share of their time, and when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from services.kit.errors import FailedPrecondition, InvalidArgument, NotFound
from services.project.domain.employee import Employee, EmployeeNotFound

ALWAYS = date(1970, 1, 1)
FULL_TIME = 100


@dataclass(frozen=True, slots=True)
class TeamMember:
    """A person's place on a team: percent of their time from `start_date` to `end_date`, both included; None = open."""

    project_id: str
    employee_id: str
    allocation_percent: int
    start_date: date
    end_date: date | None

    def holds_in(self, first: date, last: date) -> bool:
        """True if the person is on the team on a day of the range, both ends included."""
        return self.start_date <= last and (self.end_date is None or first <= self.end_date)

    def holds_on(self, day: date) -> bool:
        """True if the person is on the team on that day."""
        return self.holds_in(day, day)


class EmployeeNotActive(FailedPrecondition):
    """The person cannot be put on teams any more."""

    reason = "EMPLOYEE_NOT_ACTIVE"

    def __init__(self, employee_id: str) -> None:
        super().__init__(f"Employee {employee_id} is not active.", employee_id=employee_id)


class AllocationExceeded(FailedPrecondition):
    """The person would be promised for more than the whole of a day."""

    reason = "ALLOCATION_EXCEEDED"

    def __init__(self, asked: TeamMember, day: date, allocated: int) -> None:
        super().__init__(
            f"On {day}, {allocated} % of {asked.employee_id}'s time is allocated to other projects; "
            f"{asked.allocation_percent} % more would pass 100 %.",
            employee_id=asked.employee_id,
            date=day,
            allocated_percent=allocated,
            requested_percent=asked.allocation_percent,
        )


class TeamMemberNotFound(NotFound):
    """The person is not on the team."""

    reason = "TEAM_MEMBER_NOT_FOUND"

    def __init__(self, project_id: str, employee_id: str) -> None:
        super().__init__(
            f"Employee {employee_id} is not on the team of {project_id}.",
            project_id=project_id,
            employee_id=employee_id,
        )


def check_assignments(asked: Sequence[TeamMember]) -> None:
    """InvalidArgument if somebody is named twice, or a place ends before it begins."""
    seen: set[str] = set()
    for index, place in enumerate(asked):
        if place.employee_id in seen:
            raise InvalidArgument(f"assignments[{index}].employee_id", "must come once", place.employee_id)
        if place.end_date and place.end_date < place.start_date:
            raise InvalidArgument(f"assignments[{index}].end_date", "must not be before start_date", place.end_date)
        seen.add(place.employee_id)


def assign(
    asked: Sequence[TeamMember], employees: Mapping[str, Employee], held: Iterable[TeamMember]
) -> list[TeamMember]:
    """Those places of `asked` that are new or change something, given all places that these people hold.

    A place on the same team is replaced. All or nothing: raises EmployeeNotFound, EmployeeNotActive or
    AllocationExceeded for the first who is at fault.
    """
    held_by: dict[str, list[TeamMember]] = {}
    for place in held:
        held_by.setdefault(place.employee_id, []).append(place)
    for place in asked:
        employee = employees.get(place.employee_id)
        if employee is None:
            raise EmployeeNotFound(place.employee_id)
        if not employee.active:
            raise EmployeeNotActive(place.employee_id)
        elsewhere = [other for other in held_by.get(place.employee_id, ()) if other.project_id != place.project_id]
        _check_allocation(place, elsewhere)
    return [place for place in asked if place not in held_by.get(place.employee_id, ())]


def _check_allocation(asked: TeamMember, elsewhere: Sequence[TeamMember]) -> None:
    # What is allocated grows only where a place begins: no other day can be the first with too much.
    begins = sorted({asked.start_date, *(other.start_date for other in elsewhere)})
    for day in begins:
        allocated = sum(other.allocation_percent for other in elsewhere if other.holds_on(day))
        if asked.holds_on(day) and allocated + asked.allocation_percent > FULL_TIME:
            raise AllocationExceeded(asked, day, allocated)
