"""Recovery: the effects of this service's own events, for a database that was restored to before them.

Events tell of projects, teams and calendars whole, and of people by id alone: who came or changed since the backup has
to be entered again. Who was erased since is erased again.
"""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from dsm.events.v1 import event_pb2
from dsm.events.v1 import project_events_pb2 as pb
from dsm.project.v1 import project_pb2

from services.kit.convert import to_date, to_date_or_none, to_time
from services.kit.data.database import WriteHandle
from services.project import convert
from services.project.domain.calendar import Holiday, HolidayKind, Pto
from services.project.domain.employee import erase_employee
from services.project.domain.project import Project
from services.project.domain.team import TeamMember
from services.project.store import answers, calendars, employees, projects, teams


async def take_back(tx: WriteHandle, event: event_pb2.Event) -> None:
    """Have the effect of one event that was lost."""
    match event.WhichOneof("payload"):
        case "project_created":
            await _put_back(tx, _project(event.project_created.project))
        case "project_updated":
            await _put_back(tx, _project(event.project_updated.project))
        case "team_changed":
            await _take_back_team(tx, event.team_changed)
        case "holiday_added":
            added = event.holiday_added
            holiday = Holiday(to_date(added.date, "date"), added.name, HolidayKind.COMPANY)
            await calendars.add_company_day(tx, added.project_id, holiday)
        case "holiday_removed":
            removed = event.holiday_removed
            await calendars.remove_company_day(tx, removed.project_id, to_date(removed.date, "date"))
        case "pto_added":
            await _take_back_pto(tx, event)
        case "pto_cancelled":
            await calendars.cancel_pto(tx, UUID(event.pto_cancelled.pto_id))
        case "employee_erased":
            await _erase(tx, event)
    await _count(tx, event)


async def _put_back(tx: WriteHandle, project: Project) -> None:
    if not await projects.insert(tx, project):
        known = await projects.lock(tx, project.project_id)
        if known.version < project.version:
            await projects.update(tx, project)


async def _count(tx: WriteHandle, event: event_pb2.Event) -> None:
    """Let what comes next be newer than all that was told: teams and company days count as the project does, time off
    as the person does.
    """
    version = event.aggregate_version
    if event.aggregate_type == "project":
        project = await projects.lock(tx, event.aggregate_id)
        await projects.update(tx, replace(project, version=max(version, project.version)))
    else:
        for employee in (await employees.lock_all(tx, [event.aggregate_id])).values():
            await employees.update(tx, replace(employee, version=max(version, employee.version)))


async def _take_back_team(tx: WriteHandle, payload: pb.TeamChanged) -> None:
    known = await _known(tx, [place.employee_id for place in payload.assigned])
    places = [
        TeamMember(
            payload.project_id,
            place.employee_id,
            place.allocation_percent,
            to_date(place.start_date, "start_date"),
            to_date_or_none(place.end_date, "end_date"),
        )
        for place in payload.assigned
        if place.employee_id in known
    ]
    await teams.assign(tx, places)
    for employee_id in payload.removed_employee_ids:
        await teams.remove(tx, payload.project_id, employee_id)


async def _take_back_pto(tx: WriteHandle, event: event_pb2.Event) -> None:
    added = event.pto_added
    # Taken away first: what is told twice is there once.
    await calendars.cancel_pto(tx, UUID(added.pto_id))
    if await _known(tx, [added.employee_id]):
        pto = Pto(
            pto_id=UUID(added.pto_id),
            employee_id=added.employee_id,
            start_date=to_date(added.start_date, "start_date"),
            end_date=to_date(added.end_date, "end_date"),
            starts_at_midday=added.starts_at_midday,
            ends_at_midday=added.ends_at_midday,
            reason="",
            create_time=to_time(event.event_time),
        )
        await calendars.add_pto(tx, pto)


async def _erase(tx: WriteHandle, event: event_pb2.Event) -> None:
    employee_id = event.employee_erased.employee_id
    if before := (await employees.lock_all(tx, [employee_id])).get(employee_id):
        employee = erase_employee(before, to_time(event.event_time))
        await employees.update(tx, employee)
        await calendars.forget_reasons(tx, employee_id)
        kept = await answers.speaking_of(tx, employee_id)
        await answers.replace(tx, {key: convert.forget_person(how, old, employee) for key, how, old in kept})


async def _known(tx: WriteHandle, employee_ids: Sequence[str]) -> set[str]:
    """Those of these people that the database has."""
    return set(await employees.lock_all(tx, employee_ids))


def _project(message: project_pb2.Project) -> Project:
    return replace(
        convert.to_project(message, to_time(message.create_time)),
        version=int(message.etag.removeprefix("v")),
        update_time=to_time(message.update_time),
    )
