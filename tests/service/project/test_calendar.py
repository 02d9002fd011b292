"""The project service on real sockets: holidays, PTO, availability and capacity."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from dsm.events.v1 import event_pb2
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1.calendar_pb2 import (
    AVAILABILITY_STATUS_CONFLICT,
    AVAILABILITY_STATUS_OK,
    CONFLICT_KIND_HOLIDAY,
    CONFLICT_KIND_PTO,
    HOLIDAY_KIND_COMPANY,
    HOLIDAY_KIND_PUBLIC,
    Pto,
)
from dsm.project.v1.employee_pb2 import Employee
from dsm.project.v1.project_pb2 import HolidayCalendar, Project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from services.kit.clock import day_in, utc_now
from tests.harness import World, refused

if TYPE_CHECKING:
    from dsm.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub


@pytest.fixture
async def stub(world: World) -> ProjectServiceAsyncStub:
    return ProjectServiceStub(await world.channel("project"))


async def _project(stub: ProjectServiceAsyncStub, project_id: str, country: str = "US", subdivision: str = "") -> None:
    calendar = HolidayCalendar(country=country, subdivision=subdivision)
    project = Project(project_id=project_id, name="A project", holiday_calendar=calendar)
    await stub.CreateProject(pb.CreateProjectRequest(project=project))


async def _team(stub: ProjectServiceAsyncStub, project_id: str, *places: pb.TeamAssignment) -> None:
    """Put people on a team; who does not exist yet is hired."""
    for place in places:
        employee = Employee(employee_id=place.employee_id, name="Somebody")
        try:
            await stub.CreateEmployee(pb.CreateEmployeeRequest(employee=employee))
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.ALREADY_EXISTS:
                raise
    await stub.AssignTeamMembers(pb.AssignTeamMembersRequest(project_id=project_id, assignments=places))


def _place(employee_id: str, percent: int = 100) -> pb.TeamAssignment:
    return pb.TeamAssignment(employee_id=employee_id, allocation_percent=percent)


def _pto(
    employee_id: str, start_date: str, end_date: str = "", *, from_midday: bool = False, until_midday: bool = False
) -> Pto:
    return Pto(
        employee_id=employee_id,
        start_date=start_date,
        end_date=end_date or start_date,
        starts_at_midday=from_midday,
        ends_at_midday=until_midday,
        reason="Secret journey",
    )


async def _add_pto(stub: ProjectServiceAsyncStub, pto: Pto) -> Pto:
    return (await stub.AddPto(pb.AddPtoRequest(pto=pto))).pto


async def _events(world: World, aggregate_id: str) -> list[event_pb2.Event]:
    sql = "SELECT payload FROM outbox WHERE aggregate_id = %(id)s ORDER BY position"
    return [
        event_pb2.Event.FromString(row["payload"]) for row in await world.query("project", sql, {"id": aggregate_id})
    ]


# --- holidays -----------------------------------------------------------------------------------


async def test_holidays_are_public_ones_and_company_days(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-HOL", "DE", "BY")
    wish = pb.AddHolidayRequest(project_id="PC-HOL", date="2026-01-05", name="Bridge", request_id=str(uuid4()))
    added = await stub.AddHoliday(wish)
    assert (added.holiday.date, added.holiday.name, added.holiday.kind) == (
        "2026-01-05",
        "Bridge",
        HOLIDAY_KIND_COMPANY,
    )
    assert await stub.AddHoliday(wish) == added
    twice = await refused(stub.AddHoliday(pb.AddHolidayRequest(project_id="PC-HOL", date="2026-01-05", name="Again")))
    assert (twice.code, twice.reason) == ("ALREADY_EXISTS", "HOLIDAY_ALREADY_EXISTS")
    assert twice.metadata == {"project_id": "PC-HOL", "date": "2026-01-05"}
    january = pb.ListHolidaysRequest(project_id="PC-HOL", start_date="2026-01-01", end_date="2026-01-31")
    assert [(h.date, h.name, h.kind) for h in (await stub.ListHolidays(january)).holidays] == [
        ("2026-01-01", "New Year's Day", HOLIDAY_KIND_PUBLIC),
        ("2026-01-05", "Bridge", HOLIDAY_KIND_COMPANY),
        ("2026-01-06", "Epiphany", HOLIDAY_KIND_PUBLIC),
    ]
    remove = pb.RemoveHolidayRequest(project_id="PC-HOL", date="2026-01-05", request_id=str(uuid4()))
    assert await stub.RemoveHoliday(remove) == await stub.RemoveHoliday(remove)
    assert len((await stub.ListHolidays(january)).holidays) == 2
    # Public holidays cannot be taken away.
    for day in ("2026-01-05", "2026-01-06"):
        gone = await refused(stub.RemoveHoliday(pb.RemoveHolidayRequest(project_id="PC-HOL", date=day)))
        assert (gone.code, gone.reason) == ("NOT_FOUND", "HOLIDAY_NOT_FOUND")
        assert gone.metadata == {"project_id": "PC-HOL", "date": day}


async def test_bad_days_and_ranges_are_refused(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-BAD")
    for project_id, start, end, reason in (
        ("PC-BAD", "2026-01-01", "2027-01-02", "DATE_OUT_OF_RANGE"),
        ("PC-BAD", "2026-01-02", "2026-01-01", "VALIDATION_FAILED"),
        ("PC-BAD", "2026-02-30", "2026-03-01", "VALIDATION_FAILED"),
        ("PC-BAD", "tomorrow", "2026-03-01", "VALIDATION_FAILED"),
        ("PC-NONE", "2026-01-01", "2026-01-02", "PROJECT_NOT_FOUND"),
    ):
        days = {"project_id": project_id, "start_date": start, "end_date": end}
        for call in (
            stub.ListHolidays(pb.ListHolidaysRequest(**days)),
            stub.CheckAvailability(pb.CheckAvailabilityRequest(**days)),
            stub.GetCapacity(pb.GetCapacityRequest(**days)),
        ):
            assert (await refused(call)).reason == reason
    year = await stub.GetCapacity(
        pb.GetCapacityRequest(project_id="PC-BAD", start_date="2028-01-01", end_date="2028-12-31")
    )
    assert year.working_days == 260 - 10  # weekdays less the holidays on them
    missing = pb.AddHolidayRequest(project_id="PC-NONE", date="2026-01-02", name="Bridge")
    assert (await refused(stub.AddHoliday(missing))).reason == "PROJECT_NOT_FOUND"
    impossible = pb.AddHolidayRequest(project_id="PC-BAD", date="2026-02-30", name="Never")
    failed = await refused(stub.AddHoliday(impossible))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "date")


# --- PTO ----------------------------------------------------------------------------------------


async def test_pto_is_entered_listed_and_cancelled(stub: ProjectServiceAsyncStub, world: World) -> None:
    await _project(stub, "PC-PTO")
    await _team(stub, "PC-PTO", _place("PC-P1"), _place("PC-P2"))
    request = pb.AddPtoRequest(pto=_pto("PC-P1", "2026-03-02", "2026-03-04", from_midday=True), request_id=str(uuid4()))
    added = await stub.AddPto(request)
    assert await stub.AddPto(request) == added
    assert added.pto.pto_id
    assert (added.pto.start_date, added.pto.end_date, added.pto.starts_at_midday) == ("2026-03-02", "2026-03-04", True)
    early = await _add_pto(stub, _pto("PC-P2", "2026-02-01"))

    async def listed(**wanted: object) -> list[str]:
        answer = await stub.ListPto(pb.ListPtoRequest(**wanted))  # type: ignore[arg-type]
        return [pto.pto_id for pto in answer.pto]

    assert await listed(project_id="PC-PTO") == [early.pto_id, added.pto.pto_id]
    assert await listed(employee_id="PC-P1") == [added.pto.pto_id]
    assert await listed(project_id="PC-PTO", start_date="2026-03-04", end_date="2026-03-09") == [added.pto.pto_id]
    assert await listed(project_id="PC-PTO", start_date="2026-03-05") == []
    assert await listed(project_id="PC-PTO", end_date="2026-02-28") == [early.pto_id]
    cancel = pb.CancelPtoRequest(pto_id=added.pto.pto_id, request_id=str(uuid4()))
    assert await stub.CancelPto(cancel) == await stub.CancelPto(cancel)
    gone = await refused(stub.CancelPto(pb.CancelPtoRequest(pto_id=added.pto.pto_id)))
    assert (gone.code, gone.reason, gone.metadata) == ("NOT_FOUND", "PTO_NOT_FOUND", {"pto_id": added.pto.pto_id})
    events = await _events(world, "PC-P1")
    assert [(event.WhichOneof("payload"), event.aggregate_version) for event in events] == [
        ("employee_created", 1),
        ("pto_added", 2),
        ("pto_cancelled", 3),
    ]
    assert events[1].pto_added.pto_id == added.pto.pto_id
    assert not any(b"Secret" in event.SerializeToString() for event in events)


async def test_pto_is_listed_in_pages(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-PAGE")
    await _team(stub, "PC-PAGE", *(_place(f"PC-G{number}") for number in range(5)))
    # The same day for all: the order is settled by the id.
    expected = {(await _add_pto(stub, _pto(f"PC-G{number}", "2026-03-02"))).pto_id for number in range(5)}
    request, found = pb.ListPtoRequest(project_id="PC-PAGE", page_size=2), []
    while True:
        page = await stub.ListPto(request)
        found += [pto.pto_id for pto in page.pto]
        request.page_token = page.next_page_token
        if not request.page_token:
            break
    assert len(found) == 5
    assert set(found) == expected
    token = (await stub.ListPto(pb.ListPtoRequest(project_id="PC-PAGE", page_size=2))).next_page_token
    assert (await refused(stub.ListPto(pb.ListPtoRequest(page_token=token)))).reason == "PAGE_TOKEN_INVALID"
    assert (await refused(stub.ListPto(pb.ListPtoRequest(project_id="PC-NONE")))).reason == "PROJECT_NOT_FOUND"
    assert (await refused(stub.ListPto(pb.ListPtoRequest(employee_id="PC-NONE")))).reason == "EMPLOYEE_NOT_FOUND"


async def test_bad_pto_is_refused_by_field(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-WRONG")
    await _team(stub, "PC-WRONG", _place("PC-W1"), _place("PC-W2"))
    for pto, field in (
        (_pto("PC-W1", "2026-03-04", "2026-03-02"), "pto.end_date"),
        (_pto("PC-W1", "2026-03-04", from_midday=True, until_midday=True), "pto.ends_at_midday"),
        (_pto("PC-W1", "2026-02-29"), "pto.start_date"),
        (_pto("PC-W1", "", "2026-02-28"), "pto.start_date"),
    ):
        failed = await refused(stub.AddPto(pb.AddPtoRequest(pto=pto)))
        assert (failed.code, failed.reason, failed.metadata["field"]) == (
            "INVALID_ARGUMENT",
            "VALIDATION_FAILED",
            field,
        )
    missing = await refused(stub.AddPto(pb.AddPtoRequest(pto=_pto("PC-NONE", "2026-03-04"))))
    assert (missing.code, missing.reason) == ("NOT_FOUND", "EMPLOYEE_NOT_FOUND")
    first = await _add_pto(stub, _pto("PC-W1", "2026-03-04", "2026-03-06", until_midday=True))
    overlap = await refused(stub.AddPto(pb.AddPtoRequest(pto=_pto("PC-W1", "2026-03-06", "2026-03-09"))))
    assert (overlap.code, overlap.reason) == ("INVALID_ARGUMENT", "PTO_OVERLAP")
    assert overlap.metadata["field"] == "pto.start_date"
    assert (overlap.metadata["employee_id"], overlap.metadata["pto_id"]) == ("PC-W1", first.pto_id)
    # It touches at midday, or is somebody else's.
    await _add_pto(stub, _pto("PC-W1", "2026-03-06", "2026-03-09", from_midday=True))
    await _add_pto(stub, _pto("PC-W2", "2026-03-06"))


async def test_no_race_enters_the_same_days_twice(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-RACE")
    await _team(stub, "PC-RACE", _place("PC-R1"))

    async def add(_: int) -> str:
        try:
            await _add_pto(stub, _pto("PC-R1", "2026-03-02", "2026-03-06"))
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    outcomes = await asyncio.gather(*map(add, range(10)))
    assert sorted(outcomes) == ["INVALID_ARGUMENT"] * 9 + ["OK"]


# --- availability -------------------------------------------------------------------------------


async def test_availability_names_every_conflict(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-AVAIL")
    await _team(stub, "PC-AVAIL", _place("PC-A1"), _place("PC-A2"))
    await _add_pto(stub, _pto("PC-A2", "2026-07-01", "2026-07-02", until_midday=True))
    await stub.AddHoliday(pb.AddHolidayRequest(project_id="PC-AVAIL", date="2026-07-01", name="Company day"))
    answer = await stub.CheckAvailability(
        pb.CheckAvailabilityRequest(project_id="PC-AVAIL", start_date="2026-07-01", end_date="2026-07-05")
    )
    assert answer.status == AVAILABILITY_STATUS_CONFLICT
    # Independence Day is a Saturday; the Friday before is its observed day.
    assert [(c.date, c.kind, c.employee_id, c.details, c.day_share) for c in answer.conflicts] == [
        ("2026-07-01", CONFLICT_KIND_HOLIDAY, "", "Company day", 1),
        ("2026-07-01", CONFLICT_KIND_PTO, "PC-A2", "Secret journey", 1),
        ("2026-07-02", CONFLICT_KIND_PTO, "PC-A2", "Secret journey", 0.5),
        ("2026-07-03", CONFLICT_KIND_HOLIDAY, "", "Independence Day (observed)", 1),
    ]
    free = await stub.CheckAvailability(
        pb.CheckAvailabilityRequest(project_id="PC-AVAIL", start_date="2026-07-06", end_date="2026-07-10")
    )
    assert (free.status, list(free.conflicts)) == (AVAILABILITY_STATUS_OK, [])


# --- capacity -----------------------------------------------------------------------------------


async def test_capacity_by_person_and_day(stub: ProjectServiceAsyncStub) -> None:
    await _project(stub, "PC-CAP")
    await _team(stub, "PC-CAP", _place("PC-C1"), _place("PC-C2", 50))
    part_time = Employee(employee_id="PC-C2", hours_per_day=7.7, skills=["SQL"])
    await stub.UpdateEmployee(
        pb.UpdateEmployeeRequest(employee=part_time, update_mask=FieldMask(paths=["hours_per_day", "skills"]))
    )
    await _add_pto(stub, _pto("PC-C1", "2026-06-29", "2026-06-30", until_midday=True))
    # Monday to Sunday, with Friday off for Independence Day.
    found = await stub.GetCapacity(
        pb.GetCapacityRequest(project_id="PC-CAP", start_date="2026-06-29", end_date="2026-07-05")
    )
    assert found.working_days == 4
    assert [(m.employee_id, m.person_days, m.hours, list(m.skills)) for m in found.members] == [
        ("PC-C1", 2.5, 20, []),
        ("PC-C2", 2, 15.4, ["SQL"]),
    ]
    assert (found.person_days, found.hours) == (4.5, 35.4)
    assert [(day.date, day.person_days, day.hours) for day in found.days] == [
        ("2026-06-29", 0.5, 3.85),
        ("2026-06-30", 1, 7.85),
        ("2026-07-01", 1.5, 11.85),
        ("2026-07-02", 1.5, 11.85),
    ]
    assert [(day.date, day.person_days) for day in found.members[0].days] == [
        ("2026-06-29", 0),
        ("2026-06-30", 0.5),
        ("2026-07-01", 1),
        ("2026-07-02", 1),
    ]


async def test_pto_counts_in_every_project_and_nobody_counts_twice(stub: ProjectServiceAsyncStub) -> None:
    for project_id, percent in (("PC-ONE", 40), ("PC-TWO", 60)):
        await _project(stub, project_id)
        await _team(stub, project_id, _place("PC-BOTH", percent))
    await _add_pto(stub, _pto("PC-BOTH", "2026-03-02", "2026-03-03"))
    days = {"start_date": "2026-03-02", "end_date": "2026-03-06"}
    found = [
        (await stub.GetCapacity(pb.GetCapacityRequest(project_id=project_id, **days))).person_days
        for project_id in ("PC-ONE", "PC-TWO")
    ]
    assert found == [1.2, 1.8]


async def test_who_becomes_inactive_counts_nothing_from_then_on(stub: ProjectServiceAsyncStub, world: World) -> None:
    await _project(stub, "PC-LEFT")
    await _team(stub, "PC-LEFT", _place("PC-L1"))
    leaving = Employee(employee_id="PC-L1", active=False)
    await stub.UpdateEmployee(pb.UpdateEmployeeRequest(employee=leaving, update_mask=FieldMask(paths=["active"])))
    # As if it had happened on a Wednesday.
    sql = "UPDATE employee SET inactive_time = '2026-03-04 12:00+00' WHERE employee_id = 'PC-L1'"
    await world.query("project", sql)
    found = await stub.GetCapacity(
        pb.GetCapacityRequest(project_id="PC-LEFT", start_date="2026-03-02", end_date="2026-03-06")
    )
    assert [day.person_days for day in found.members[0].days] == [1, 1, 0, 0, 0]
    back = Employee(employee_id="PC-L1", active=True)
    await stub.UpdateEmployee(pb.UpdateEmployeeRequest(employee=back, update_mask=FieldMask(paths=["active"])))
    await stub.UpdateEmployee(pb.UpdateEmployeeRequest(employee=leaving, update_mask=FieldMask(paths=["active"])))
    today = day_in(utc_now(), "UTC").isoformat()
    now = await stub.GetCapacity(pb.GetCapacityRequest(project_id="PC-LEFT", start_date=today, end_date=today))
    assert now.person_days == 0


async def test_capacity_of_a_large_team_for_a_year_is_quick(stub: ProjectServiceAsyncStub, world: World) -> None:
    await _project(stub, "PC-BIG")
    await world.query(
        "project",
        """
        WITH person AS (
            INSERT INTO employee (employee_id, name, email, role, designation, skills, skill_keys, hours_per_day,
                                  identity_subject, time_zone, version, create_time, update_time)
            SELECT 'PC-BIG' || n, 'Many', '', '', '', '{}', '{}', 8, '', '', 1, now(), now()
            FROM generate_series(1, 200) AS n RETURNING employee_id
        ), place AS (
            INSERT INTO team_member SELECT 'PC-BIG', employee_id, 100, '1970-01-01', NULL FROM person
        )
        INSERT INTO pto SELECT gen_random_uuid(), employee_id, day, day + 4, false, true, '', now()
        FROM person, unnest('{2026-03-02,2026-06-01,2026-09-07}'::date[]) AS day
        """,
    )
    request = pb.GetCapacityRequest(project_id="PC-BIG", start_date="2026-01-01", end_date="2026-12-31")
    began = time.monotonic()
    found = await stub.GetCapacity(request)
    assert time.monotonic() - began < 3  # about 0.2 s by itself; the limit only catches a query per person or day
    assert found.working_days == 250
    assert found.person_days == 200 * (250 - 13.5 + 1)  # Labor Day is within the last time off
