"""The people of the demo: what they can do, and when they are away."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, timedelta

from dsm.project.v1.calendar_pb2 import Pto
from dsm.project.v1.employee_pb2 import Employee
from dsm.project.v1.project_service_pb2 import TeamAssignment

COMPANY_DAY = "Company day"
# Leaves room for the names of people in an id of 32 characters.
LONGEST_PROJECT_ID = 24


@dataclass(frozen=True)
class Person:
    """Somebody on the team."""

    key: str
    name: str
    role: str
    skills: tuple[str, ...]
    allocation_percent: int = 100


@dataclass(frozen=True)
class Away:
    """Time off; days are counted from the sprint's first Monday."""

    key: str
    first: int
    last: int
    reason: str
    starts_at_midday: bool = False


TEAM = (
    Person("ANA", "Ana Ruiz", "developer", ("python", "postgres")),
    Person("BEN", "Ben Okafor", "developer", ("grpc", "nats")),
    Person("CHIARA", "Chiara Conti", "data scientist", ("ml", "python")),
    Person("DEV", "Dev Patel", "platform engineer", ("helm", "docs")),
    Person("EMI", "Emi Sato", "developer", ("python", "docs"), allocation_percent=80),
)
TIME_OFF = (
    Away("BEN", 2, 4, "A long weekend"),
    Away("CHIARA", 8, 8, "Dentist", starts_at_midday=True),
)
# Who removes what is in the way.
LEAD = "DEV"
# Company days to try, from the second Thursday backwards.
_COMPANY_DAYS = (10, 9, 7, 3)


def employee_id(project_id: str, key: str) -> str:
    """Every run has people of its own: nobody can work more than all of their time."""
    return f"{project_id}-{key}"


def employee(project_id: str, person: Person) -> Employee:
    """A person as the API wants it."""
    return Employee(
        employee_id=employee_id(project_id, person.key),
        name=person.name,
        role=person.role,
        skills=person.skills,
        hours_per_day=8,
    )


def assignments(project_id: str) -> list[TeamAssignment]:
    """Everybody's place on the team."""
    return [
        TeamAssignment(employee_id=employee_id(project_id, person.key), allocation_percent=person.allocation_percent)
        for person in TEAM
    ]


def time_off(project_id: str, monday: date) -> list[Pto]:
    """Everybody's time off in a sprint that begins on a Monday."""
    return [
        Pto(
            employee_id=employee_id(project_id, away.key),
            start_date=str(monday + timedelta(days=away.first)),
            end_date=str(monday + timedelta(days=away.last)),
            starts_at_midday=away.starts_at_midday,
            reason=away.reason,
        )
        for away in TIME_OFF
    ]


def company_day(monday: date, public_holidays: Collection[str]) -> date:
    """A day off for all in a sprint that begins on a Monday, on no public holiday."""
    days = [monday + timedelta(days=offset) for offset in _COMPANY_DAYS]
    return next(day for day in days if str(day) not in public_holidays)
