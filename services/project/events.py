"""What the project service tells: people by id alone, never by name, address or reason."""

from collections.abc import Sequence

from dsm.events.v1 import project_events_pb2 as pb
from google.protobuf.message import Message

from services.kit.convert import from_date
from services.kit.data.database import WriteHandle
from services.project.convert import from_project
from services.project.domain.calendar import Holiday, Pto
from services.project.domain.employee import Employee
from services.project.domain.project import Project
from services.project.domain.team import TeamMember


def emit_of_project(tx: WriteHandle, project: Project, payload: Message) -> None:
    """Tell of a project, its team or its calendar, at its present version."""
    tx.emit(payload, aggregate=("project", project.project_id), version=project.version, project_id=project.project_id)


def emit_of_employee(tx: WriteHandle, employee: Employee, payload: Message) -> None:
    """Tell of a person or their time off, at their present version."""
    tx.emit(payload, aggregate=("employee", employee.employee_id), version=employee.version)


def project_created(project: Project) -> pb.ProjectCreated:
    """There is a new project."""
    return pb.ProjectCreated(project=from_project(project))


def project_updated(project: Project, changed: Sequence[str]) -> pb.ProjectUpdated:
    """Fields of a project, possibly its status, have changed."""
    return pb.ProjectUpdated(project=from_project(project), changed_fields=changed)


def employee_created(employee: Employee) -> pb.EmployeeCreated:
    """There is a new person."""
    return pb.EmployeeCreated(employee_id=employee.employee_id)


def employee_updated(employee: Employee, changed: Sequence[str]) -> pb.EmployeeUpdated:
    """Fields of a person have changed."""
    return pb.EmployeeUpdated(employee_id=employee.employee_id, changed_fields=changed)


def employee_erased(employee: Employee) -> pb.EmployeeErased:
    """Everything personal of a person is to be forgotten, wherever it is."""
    return pb.EmployeeErased(employee_id=employee.employee_id)


def team_changed(project: Project, assigned: Sequence[TeamMember], removed: Sequence[str] = ()) -> pb.TeamChanged:
    """People came onto a team, changed their places or left."""
    return pb.TeamChanged(
        project_id=project.project_id,
        assigned=[
            pb.TeamPlace(
                employee_id=place.employee_id,
                allocation_percent=place.allocation_percent,
                start_date=from_date(place.start_date),
                end_date=from_date(place.end_date),
            )
            for place in assigned
        ],
        removed_employee_ids=removed,
    )


def holiday_added(project: Project, holiday: Holiday) -> pb.HolidayAdded:
    """A project has a new company day."""
    return pb.HolidayAdded(project_id=project.project_id, date=from_date(holiday.date), name=holiday.name)


def holiday_removed(project: Project, date: str) -> pb.HolidayRemoved:
    """A company day is gone."""
    return pb.HolidayRemoved(project_id=project.project_id, date=date)


def pto_added(pto: Pto) -> pb.PtoAdded:
    """A person will be off."""
    return pb.PtoAdded(
        pto_id=str(pto.pto_id),
        employee_id=pto.employee_id,
        start_date=from_date(pto.start_date),
        end_date=from_date(pto.end_date),
        starts_at_midday=pto.starts_at_midday,
        ends_at_midday=pto.ends_at_midday,
    )


def pto_cancelled(pto: Pto) -> pb.PtoCancelled:
    """A person will not be off after all."""
    return pb.PtoCancelled(pto_id=str(pto.pto_id), employee_id=pto.employee_id)
