"""Between the contract's messages and the domain."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from dsm.project.v1 import calendar_pb2, employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from services.kit.convert import (
    check_time_zone,
    etag_of,
    from_date,
    from_time,
    masked_paths,
    to_date,
    to_date_or_none,
    to_points,
)
from services.project.domain.calendar import Days, Holiday, HolidayKind, Pto, check_holiday_calendar, days_between
from services.project.domain.capacity import HALVES_PER_DAY, Amount, Capacity, Conflict, ConflictKind
from services.project.domain.employee import DEFAULT_HOURS_PER_DAY, Employee, check_skills
from services.project.domain.project import (
    DEFAULT_COUNTRY,
    DEFAULT_TIME_ZONE,
    DEFAULT_WORKING_DAYS,
    HolidayCalendar,
    Project,
    ProjectStatus,
)
from services.project.domain.team import ALWAYS, FULL_TIME, TeamMember

PROJECT_FIELDS = (
    "name",
    "description",
    "time_zone",
    "holiday_calendar",
    "working_days",
    "simulate_daily_scrums",
)
EMPLOYEE_FIELDS = (
    "name",
    "email",
    "role",
    "designation",
    "skills",
    "hours_per_day",
    "active",
    "identity_subject",
    "time_zone",
)


def to_project(message: project_pb2.Project, now: datetime) -> Project:
    """A new project, with defaults for what is not given."""
    return Project(
        project_id=message.project_id,
        status=to_status(message.status) or ProjectStatus.ACTIVE,
        version=1,
        create_time=now,
        update_time=now,
        **{field: _project_field(message, field) for field in PROJECT_FIELDS},
    )


def to_project_changes(message: project_pb2.Project, mask: FieldMask) -> dict[str, Any]:
    """The new values of the fields that a mask names; a field that is not given goes back to its default."""
    return {field: _project_field(message, field) for field in masked_paths(mask, PROJECT_FIELDS, "project")}


def from_project(project: Project) -> project_pb2.Project:
    """The project as sent."""
    return project_pb2.Project(
        project_id=project.project_id,
        name=project.name,
        description=project.description,
        status=from_status(project.status),
        time_zone=project.time_zone,
        holiday_calendar=project_pb2.HolidayCalendar(
            country=project.holiday_calendar.country, subdivision=project.holiday_calendar.subdivision
        ),
        # Both count the days of the week from Monday = 1.
        working_days=project.working_days,
        simulate_daily_scrums=project.simulate_daily_scrums,
        create_time=from_time(project.create_time),
        update_time=from_time(project.update_time),
        etag=etag_of(project.version),
    )


def to_status(status: project_pb2.ProjectStatus.ValueType) -> ProjectStatus | None:
    """The status; None for unspecified."""
    return ProjectStatus(project_pb2.ProjectStatus.Name(status).removeprefix("PROJECT_STATUS_")) if status else None


def from_status(status: ProjectStatus) -> project_pb2.ProjectStatus.ValueType:
    """The status as sent."""
    return project_pb2.ProjectStatus.Value(f"PROJECT_STATUS_{status}")


def to_employee(message: employee_pb2.Employee, now: datetime) -> Employee:
    """A new person, with defaults for what is not given."""
    fields = {field: _employee_field(message, field) for field in EMPLOYEE_FIELDS}
    return Employee(
        employee_id=message.employee_id,
        inactive_time=None if fields.pop("active") else now,
        version=1,
        create_time=now,
        update_time=now,
        **fields,
    )


def to_employee_changes(message: employee_pb2.Employee, mask: FieldMask) -> dict[str, Any]:
    """The new values of the fields that a mask names; a field that is not given goes back to its default."""
    return {field: _employee_field(message, field) for field in masked_paths(mask, EMPLOYEE_FIELDS, "person")}


def from_employee(employee: Employee) -> employee_pb2.Employee:
    """The person as sent."""
    return employee_pb2.Employee(
        employee_id=employee.employee_id,
        name=employee.name,
        email=employee.email,
        role=employee.role,
        designation=employee.designation,
        skills=employee.skills,
        hours_per_day=float(employee.hours_per_day),
        active=employee.active,
        identity_subject=employee.identity_subject,
        time_zone=employee.time_zone,
        create_time=from_time(employee.create_time),
        update_time=from_time(employee.update_time),
        etag=etag_of(employee.version),
        erase_time=from_time(employee.erase_time),
    )


def forget_person(method: str, response: bytes, employee: Employee) -> bytes:
    """An answer that `method` gave before, with a person as they are now and without reasons of their time off."""
    answer: Message = getattr(pb, f"{method.rpartition('/')[2]}Response").FromString(response)
    _forget_in(answer, from_employee(employee))
    return answer.SerializeToString()


def to_places(request: pb.AssignTeamMembersRequest) -> list[TeamMember]:
    """The places asked for, with defaults for what is not given."""
    return [
        TeamMember(
            project_id=request.project_id,
            employee_id=asked.employee_id,
            allocation_percent=asked.allocation_percent or FULL_TIME,
            start_date=to_date_or_none(asked.start_date, f"assignments[{index}].start_date") or ALWAYS,
            end_date=to_date_or_none(asked.end_date, f"assignments[{index}].end_date"),
        )
        for index, asked in enumerate(request.assignments)
    ]


def from_place(place: TeamMember, employee: Employee) -> employee_pb2.TeamMember:
    """A place on a team, with the person, as sent."""
    return employee_pb2.TeamMember(
        project_id=place.project_id,
        employee_id=place.employee_id,
        allocation_percent=place.allocation_percent,
        start_date=from_date(place.start_date),
        end_date=from_date(place.end_date),
        employee=from_employee(employee),
    )


def to_days(
    request: pb.ListHolidaysRequest | pb.CheckAvailabilityRequest | pb.GetCapacityRequest,
) -> Days:
    """The range of days asked for; DateOutOfRange if it is too long."""
    return days_between(to_date(request.start_date, "start_date"), to_date(request.end_date, "end_date"))


def to_company_day(request: pb.AddHolidayRequest) -> Holiday:
    """The company day to add."""
    return Holiday(to_date(request.date, "date"), request.name, HolidayKind.COMPANY)


def from_holiday(holiday: Holiday) -> calendar_pb2.Holiday:
    """A holiday as sent."""
    kind = calendar_pb2.HolidayKind.Value(f"HOLIDAY_KIND_{holiday.kind}")
    return calendar_pb2.Holiday(date=from_date(holiday.date), name=holiday.name, kind=kind)


def to_pto(message: calendar_pb2.Pto, pto_id: UUID, now: datetime) -> Pto:
    """New time off."""
    return Pto(
        pto_id=pto_id,
        employee_id=message.employee_id,
        start_date=to_date(message.start_date, "pto.start_date"),
        end_date=to_date(message.end_date, "pto.end_date"),
        starts_at_midday=message.starts_at_midday,
        ends_at_midday=message.ends_at_midday,
        reason=message.reason,
        create_time=now,
    )


def from_pto(pto: Pto) -> calendar_pb2.Pto:
    """Time off as sent."""
    return calendar_pb2.Pto(
        pto_id=str(pto.pto_id),
        employee_id=pto.employee_id,
        start_date=from_date(pto.start_date),
        end_date=from_date(pto.end_date),
        starts_at_midday=pto.starts_at_midday,
        ends_at_midday=pto.ends_at_midday,
        reason=pto.reason,
        create_time=from_time(pto.create_time),
    )


def from_conflicts(conflicts: Sequence[Conflict]) -> pb.CheckAvailabilityResponse:
    """What an availability check found, as sent."""
    status = calendar_pb2.AVAILABILITY_STATUS_CONFLICT if conflicts else calendar_pb2.AVAILABILITY_STATUS_OK
    return pb.CheckAvailabilityResponse(status=status, conflicts=map(_from_conflict, conflicts))


def from_capacity(capacity: Capacity) -> pb.GetCapacityResponse:
    """A team's capacity as sent."""
    # Most of a large team's days are alike, and so are their names and amounts: each is worked out once.
    names = {day: from_date(day) for day, _ in capacity.days}

    def days_of(days: Sequence[tuple[Any, Amount]]) -> list[calendar_pb2.DayCapacity]:
        return [
            calendar_pb2.DayCapacity(date=names[day], person_days=amount.person_days, hours=amount.hours)
            for day, amount in days
        ]

    return pb.GetCapacityResponse(
        person_days=capacity.total.person_days,
        hours=capacity.total.hours,
        working_days=len(capacity.days),
        members=[
            calendar_pb2.MemberCapacity(
                employee_id=member.employee_id,
                person_days=member.total.person_days,
                hours=member.total.hours,
                days=days_of(member.days),
                skills=member.skills,
            )
            for member in capacity.members
        ],
        days=days_of(capacity.days),
    )


def _forget_in(message: Message, gone: employee_pb2.Employee) -> None:
    for field, value in message.ListFields():
        if field.message_type:
            for part in value if field.is_repeated else (value,):
                if isinstance(part, employee_pb2.Employee) and part.employee_id == gone.employee_id:
                    part.CopyFrom(gone)
                elif isinstance(part, calendar_pb2.Pto) and part.employee_id == gone.employee_id:
                    part.ClearField("reason")
                else:
                    _forget_in(part, gone)


def _from_conflict(conflict: Conflict) -> calendar_pb2.AvailabilityConflict:
    kinds = {
        ConflictKind.HOLIDAY: calendar_pb2.CONFLICT_KIND_HOLIDAY,
        ConflictKind.PTO: calendar_pb2.CONFLICT_KIND_PTO,
    }
    return calendar_pb2.AvailabilityConflict(
        kind=kinds[conflict.kind],
        date=from_date(conflict.date),
        employee_id=conflict.employee_id,
        details=conflict.details,
        day_share=conflict.halves / HALVES_PER_DAY,
    )


def _project_field(message: project_pb2.Project, field: str) -> Any:
    match field:
        case "time_zone":
            return check_time_zone(message.time_zone or DEFAULT_TIME_ZONE, "project.time_zone")
        case "holiday_calendar":
            calendar = message.holiday_calendar
            return check_holiday_calendar(HolidayCalendar(calendar.country or DEFAULT_COUNTRY, calendar.subdivision))
        case "working_days":
            return tuple(sorted(message.working_days)) or DEFAULT_WORKING_DAYS
    return getattr(message, field)


def _employee_field(message: employee_pb2.Employee, field: str) -> Any:
    match field:
        case "skills":
            return check_skills(message.skills)
        case "hours_per_day":
            return to_points(message.hours_per_day, "employee.hours_per_day") or DEFAULT_HOURS_PER_DAY
        case "active":
            return message.active if message.HasField("active") else True
        case "time_zone":
            return check_time_zone(message.time_zone, "employee.time_zone") if message.time_zone else ""
    return getattr(message, field)
