"""The demo's project and team, made and shown through the API."""

from datetime import date

import grpc
from dsm.project.v1.calendar_pb2 import CONFLICT_KIND_PTO
from dsm.project.v1.project_pb2 import Project
from dsm.project.v1.project_service_pb2 import (
    AddHolidayRequest,
    AddPtoRequest,
    AssignTeamMembersRequest,
    CheckAvailabilityRequest,
    CreateEmployeeRequest,
    CreateProjectRequest,
    GetCapacityRequest,
    GetCapacityResponse,
    ListHolidaysRequest,
    ListTeamMembersRequest,
)
from rich.console import Console

from services.cli.client import Client, failure
from services.cli.demo import cast
from services.cli.errors import CliError
from services.cli.lookup import Names, name
from services.cli.output import escape, table

_FIRST_CHOICE = "DEMO"


def found_project(dsm: Client, wanted: str, title: str) -> str:
    """Make the project that is wanted, else the first free one of DEMO, DEMO-2, …; its id.

    Raises CliError if the wanted one exists.
    """
    number = 1
    while True:
        project_id = wanted or (_FIRST_CHOICE if number == 1 else f"{_FIRST_CHOICE}-{number}")
        try:
            project = Project(project_id=project_id, name=title)
            dsm.project.CreateProject(CreateProjectRequest(project=project))
        except grpc.RpcError as error:
            if failure(error).reason != "PROJECT_ALREADY_EXISTS":
                raise
            if wanted:
                raise CliError(f"Project {wanted} exists: name another one with --project, or none.") from None
            number += 1
        else:
            return project_id


def hire(dsm: Client, project_id: str) -> None:
    """Make the people, and put them on the team."""
    for person in cast.TEAM:
        dsm.project.CreateEmployee(CreateEmployeeRequest(employee=cast.employee(project_id, person)))
    assignments = cast.assignments(project_id)
    dsm.project.AssignTeamMembers(AssignTeamMembersRequest(project_id=project_id, assignments=assignments))


def take_time_off(dsm: Client, project_id: str, monday: date, last_day: date) -> None:
    """Add a company day beside the public holidays, and everybody's PTO."""
    request = ListHolidaysRequest(project_id=project_id, start_date=str(monday), end_date=str(last_day))
    public = {holiday.date for holiday in dsm.project.ListHolidays(request).holidays}
    day_off = str(cast.company_day(monday, public))
    dsm.project.AddHoliday(AddHolidayRequest(project_id=project_id, date=day_off, name=cast.COMPANY_DAY))
    for pto in cast.time_off(project_id, monday):
        dsm.project.AddPto(AddPtoRequest(pto=pto))


def capacity_of(dsm: Client, project_id: str, first_day: date, last_day: date) -> GetCapacityResponse:
    """What the team can work."""
    request = GetCapacityRequest(project_id=project_id, start_date=str(first_day), end_date=str(last_day))
    return dsm.project.GetCapacity(request)


def show_team(console: Console, dsm: Client, project_id: str, capacity: GetCapacityResponse) -> None:
    """Who is on the team, and what each can work."""
    person_days = {member.employee_id: member.person_days for member in capacity.members}
    team = dsm.project.ListTeamMembers(ListTeamMembersRequest(project_id=project_id)).team_members
    rows = [
        (
            member.employee.name,
            member.employee.role,
            ", ".join(member.employee.skills),
            f"{member.allocation_percent} %",
            f"{person_days.get(member.employee_id, 0):g}",
        )
        for member in team
    ]
    columns = ["Person", "Role", "Skills", "Allocation", "Person-days"]
    console.print(table("", columns, rows, right=columns[3:]))
    console.print(f"{capacity.person_days:g} person-days on {capacity.working_days} working days.")


def show_absences(
    console: Console, dsm: Client, project_id: str, first_day: date, last_day: date, names: Names
) -> None:
    """Why it is not more: who is away, and when nobody works."""
    request = CheckAvailabilityRequest(project_id=project_id, start_date=str(first_day), end_date=str(last_day))
    for conflict in dsm.project.CheckAvailability(request).conflicts:
        who = name(names, conflict.employee_id) if conflict.employee_id else "everybody"
        part = "" if conflict.day_share == 1 else ", half a day"
        kind = "PTO" if conflict.kind == CONFLICT_KIND_PTO else "holiday"
        console.print(escape(f"  {conflict.date}  {who}: {kind}, {conflict.details}{part}"))
