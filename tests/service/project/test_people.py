"""The project service on real sockets: people and teams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import pytest
from dsm.events.v1 import event_pb2
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1.employee_pb2 import Employee
from dsm.project.v1.project_pb2 import Project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from tests.harness import World, refused

if TYPE_CHECKING:
    from dsm.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub


@pytest.fixture
async def stub(world: World) -> ProjectServiceAsyncStub:
    return ProjectServiceStub(await world.channel("project"))


async def _hire(stub: ProjectServiceAsyncStub, *employee_ids: str) -> None:
    for employee_id in employee_ids:
        employee = Employee(employee_id=employee_id, name=f"Name of {employee_id}")
        await stub.CreateEmployee(pb.CreateEmployeeRequest(employee=employee))


async def _found(stub: ProjectServiceAsyncStub, *project_ids: str) -> None:
    for project_id in project_ids:
        await stub.CreateProject(pb.CreateProjectRequest(project=Project(project_id=project_id, name="A project")))


def _update(employee: Employee, *paths: str) -> pb.UpdateEmployeeRequest:
    return pb.UpdateEmployeeRequest(employee=employee, update_mask=FieldMask(paths=paths))


def _place(employee_id: str, percent: int = 0, start_date: str = "", end_date: str = "") -> pb.TeamAssignment:
    return pb.TeamAssignment(
        employee_id=employee_id, allocation_percent=percent, start_date=start_date, end_date=end_date
    )


def _assign(project_id: str, *places: pb.TeamAssignment, request_id: str = "") -> pb.AssignTeamMembersRequest:
    return pb.AssignTeamMembersRequest(project_id=project_id, assignments=places, request_id=request_id)


async def _team(stub: ProjectServiceAsyncStub, project_id: str, on_date: str = "") -> dict[str, int]:
    answer = await stub.ListTeamMembers(pb.ListTeamMembersRequest(project_id=project_id, on_date=on_date))
    return {member.employee_id: member.allocation_percent for member in answer.team_members}


async def _events(world: World, aggregate_id: str) -> list[event_pb2.Event]:
    sql = "SELECT payload FROM outbox WHERE aggregate_id = %(id)s ORDER BY position"
    return [
        event_pb2.Event.FromString(row["payload"]) for row in await world.query("project", sql, {"id": aggregate_id})
    ]


# --- people -------------------------------------------------------------------------------------


async def test_a_person_is_created_with_defaults_and_read(stub: ProjectServiceAsyncStub) -> None:
    request = pb.CreateEmployeeRequest(employee=Employee(employee_id="PE-NEW", name="Ada"))
    created = (await stub.CreateEmployee(request)).employee
    assert (created.hours_per_day, created.active, created.time_zone) == (8, True, "")
    assert (await stub.GetEmployee(pb.GetEmployeeRequest(employee_id="PE-NEW"))).employee == created
    missing = await refused(stub.GetEmployee(pb.GetEmployeeRequest(employee_id="PE-NONE")))
    assert (missing.code, missing.reason, missing.metadata) == (
        "NOT_FOUND",
        "EMPLOYEE_NOT_FOUND",
        {"employee_id": "PE-NONE"},
    )


async def test_a_person_keeps_all_that_is_given(stub: ProjectServiceAsyncStub) -> None:
    given = Employee(
        employee_id="PE-FULL",
        name="Grace",
        email="grace@example.org",
        role="developer",
        designation="Rear admiral",
        skills=["COBOL", "SQL"],
        hours_per_day=7.7,
        active=False,
        identity_subject="sub|1",
        time_zone="America/New_York",
    )
    created = (await stub.CreateEmployee(pb.CreateEmployeeRequest(employee=given))).employee
    for output_only in ("create_time", "update_time", "etag"):
        created.ClearField(output_only)
    assert created == given


@pytest.mark.parametrize(
    ("employee", "field"),
    [
        (Employee(name="No id"), "employee.employee_id"),
        (Employee(employee_id="PE-BAD"), "employee.name"),
        (Employee(employee_id="PE-BAD", name="X", email="nowhere"), "employee.email"),
        (Employee(employee_id="PE-BAD", name="X", hours_per_day=25), "employee.hours_per_day"),
        (Employee(employee_id="PE-BAD", name="X", hours_per_day=7.333), "employee.hours_per_day"),
        (Employee(employee_id="PE-BAD", name="X", time_zone="Nowhere"), "employee.time_zone"),
        (Employee(employee_id="PE-BAD", name="X", skills=["a", "A"]), "employee.skills[1]"),
    ],
)
async def test_a_bad_person_is_refused_by_field(stub: ProjectServiceAsyncStub, employee: Employee, field: str) -> None:
    failed = await refused(stub.CreateEmployee(pb.CreateEmployeeRequest(employee=employee)))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", "VALIDATION_FAILED", field)


async def test_a_person_is_created_once(stub: ProjectServiceAsyncStub) -> None:
    employee = Employee(employee_id="PE-ONCE", name="Ada")
    request = pb.CreateEmployeeRequest(employee=employee, request_id=str(uuid4()))
    first = await stub.CreateEmployee(request)
    assert await stub.CreateEmployee(request) == first
    failed = await refused(stub.CreateEmployee(pb.CreateEmployeeRequest(employee=employee)))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "EMPLOYEE_ALREADY_EXISTS")
    request.employee.name = "Eve"
    assert (await refused(stub.CreateEmployee(request))).reason == "REQUEST_ID_REUSED"


async def test_a_person_is_updated_by_mask_and_etag(stub: ProjectServiceAsyncStub) -> None:
    await _hire(stub, "PE-EDIT")
    wish = Employee(employee_id="PE-EDIT", name="ignored", hours_per_day=6, skills=["Go"], etag="v1")
    after = (await stub.UpdateEmployee(_update(wish, "hours_per_day", "skills"))).employee
    assert (after.name, after.hours_per_day, list(after.skills), after.etag) == ("Name of PE-EDIT", 6, ["Go"], "v2")
    stale = await refused(stub.UpdateEmployee(_update(wish, "name")))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    reset = (await stub.UpdateEmployee(_update(Employee(employee_id="PE-EDIT"), "hours_per_day", "active"))).employee
    assert (reset.hours_per_day, reset.active) == (8, True)
    missing = await refused(stub.UpdateEmployee(_update(Employee(employee_id="PE-NONE", name="X"), "name")))
    assert missing.reason == "EMPLOYEE_NOT_FOUND"
    for paths, field in (((), "update_mask"), (("employee_id",), "update_mask"), (("name",), "employee.name")):
        failed = await refused(stub.UpdateEmployee(_update(Employee(employee_id="PE-EDIT"), *paths)))
        assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", field)


async def test_people_are_listed_by_project_skill_and_activity(stub: ProjectServiceAsyncStub) -> None:
    await _found(stub, "PE-LIST")
    await _hire(stub, "PE-L1", "PE-L2", "PE-L3", "PE-L4")
    skilled = Employee(skills=["Zymurgy", "Python"])
    for employee_id in ("PE-L1", "PE-L2", "PE-L4"):
        skilled.employee_id = employee_id
        await stub.UpdateEmployee(_update(skilled, "skills"))
    await stub.AssignTeamMembers(_assign("PE-LIST", *map(_place, ("PE-L1", "PE-L2", "PE-L3"))))
    await stub.UpdateEmployee(_update(Employee(employee_id="PE-L2", active=False), "active"))

    async def ids(**wanted: object) -> list[str]:
        answer = await stub.ListEmployees(pb.ListEmployeesRequest(**wanted))  # type: ignore[arg-type]
        return [employee.employee_id for employee in answer.employees]

    assert await ids(skill="zymurgy") == ["PE-L1", "PE-L2", "PE-L4"]
    assert await ids(skill="zym") == []
    assert await ids(project_id="PE-LIST") == ["PE-L1", "PE-L2", "PE-L3"]
    assert await ids(project_id="PE-LIST", skill="ZYMURGY", active=True) == ["PE-L1"]
    assert await ids(project_id="PE-LIST", active=False) == ["PE-L2"]
    assert await ids(project_id="PE-NONE") == []
    everybody = await ids(page_size=250)
    assert everybody == sorted(everybody)


async def test_people_come_in_pages(stub: ProjectServiceAsyncStub) -> None:
    await _found(stub, "PE-PAGES")
    team = [f"PE-P{number}" for number in range(5)]
    await _hire(stub, *team)
    await stub.AssignTeamMembers(_assign("PE-PAGES", *map(_place, team)))
    people = pb.ListEmployeesRequest(project_id="PE-PAGES", page_size=2)
    members = pb.ListTeamMembersRequest(project_id="PE-PAGES", page_size=2)
    found_people, found_members = [], []
    for _ in range(3):
        page = await stub.ListEmployees(people)
        found_people += [employee.employee_id for employee in page.employees]
        people.page_token = page.next_page_token
        team_page = await stub.ListTeamMembers(members)
        found_members += [member.employee_id for member in team_page.team_members]
        members.page_token = team_page.next_page_token
    assert found_people == found_members == team
    assert people.page_token == members.page_token == ""
    token = (await stub.ListEmployees(pb.ListEmployeesRequest(project_id="PE-PAGES", page_size=1))).next_page_token
    assert (await refused(stub.ListEmployees(pb.ListEmployeesRequest(page_token=token)))).reason == "PAGE_TOKEN_INVALID"
    other = pb.ListTeamMembersRequest(project_id="PE-PAGES", page_token=token)
    assert (await refused(stub.ListTeamMembers(other))).reason == "PAGE_TOKEN_INVALID"


async def test_events_of_people_carry_no_personal_data(stub: ProjectServiceAsyncStub, world: World) -> None:
    person = Employee(employee_id="PE-TOLD", name="Secret Name", email="secret@example.org", identity_subject="secret")
    await stub.CreateEmployee(pb.CreateEmployeeRequest(employee=person))
    person.name = "Secret Other"
    await stub.UpdateEmployee(_update(person, "name", "email"))
    events = await _events(world, "PE-TOLD")
    assert [(event.WhichOneof("payload"), event.aggregate_version) for event in events] == [
        ("employee_created", 1),
        ("employee_updated", 2),
    ]
    assert list(events[1].employee_updated.changed_fields) == ["name"]
    assert not any(b"ecret" in event.SerializeToString() for event in events)


# --- teams --------------------------------------------------------------------------------------


async def test_a_team_is_assigned_changed_and_left(stub: ProjectServiceAsyncStub, world: World) -> None:
    await _found(stub, "PT-MAKE")
    await _hire(stub, "PT-M1", "PT-M2")
    answer = await stub.AssignTeamMembers(
        _assign("PT-MAKE", _place("PT-M2", 40, "2026-03-01", "2026-03-31"), _place("PT-M1"))
    )
    assert [
        (member.employee_id, member.allocation_percent, member.start_date, member.end_date, member.employee.name)
        for member in answer.team_members
    ] == [
        ("PT-M2", 40, "2026-03-01", "2026-03-31", "Name of PT-M2"),
        ("PT-M1", 100, "1970-01-01", "", "Name of PT-M1"),
    ]
    assert await _team(stub, "PT-MAKE") == {"PT-M1": 100, "PT-M2": 40}
    assert await _team(stub, "PT-MAKE", "2026-03-31") == {"PT-M1": 100, "PT-M2": 40}
    assert await _team(stub, "PT-MAKE", "2026-04-01") == {"PT-M1": 100}
    # Somebody who is on the team already changes places; who stays as they are is no news.
    await stub.AssignTeamMembers(
        _assign("PT-MAKE", _place("PT-M1", 50), _place("PT-M2", 40, "2026-03-01", "2026-03-31"))
    )
    assert await _team(stub, "PT-MAKE") == {"PT-M1": 50, "PT-M2": 40}
    await stub.RemoveTeamMember(pb.RemoveTeamMemberRequest(project_id="PT-MAKE", employee_id="PT-M2"))
    assert await _team(stub, "PT-MAKE") == {"PT-M1": 50}
    events = (await _events(world, "PT-MAKE"))[1:]
    assert [event.aggregate_version for event in events] == [2, 3, 4]
    assert [[place.employee_id for place in event.team_changed.assigned] for event in events] == [
        ["PT-M2", "PT-M1"],
        ["PT-M1"],
        [],
    ]
    assert list(events[2].team_changed.removed_employee_ids) == ["PT-M2"]
    assert (await stub.GetProject(pb.GetProjectRequest(project_id="PT-MAKE"))).project.etag == "v4"


async def test_the_same_request_id_assigns_once(stub: ProjectServiceAsyncStub, world: World) -> None:
    await _found(stub, "PT-TWICE")
    await _hire(stub, "PT-T1")
    request = _assign("PT-TWICE", _place("PT-T1", 30), request_id=str(uuid4()))
    first = await stub.AssignTeamMembers(request)
    leave = pb.RemoveTeamMemberRequest(project_id="PT-TWICE", employee_id="PT-T1", request_id=str(uuid4()))
    await stub.RemoveTeamMember(leave)
    assert await stub.AssignTeamMembers(request) == first
    await stub.RemoveTeamMember(leave)
    assert await _team(stub, "PT-TWICE") == {}
    assert len(await _events(world, "PT-TWICE")) == 3
    request.assignments[0].allocation_percent = 31
    assert (await refused(stub.AssignTeamMembers(request))).reason == "REQUEST_ID_REUSED"


async def test_an_assignment_is_all_or_nothing(stub: ProjectServiceAsyncStub, world: World) -> None:
    await _found(stub, "PT-ALL", "PT-OTHER")
    await _hire(stub, "PT-A1", "PT-A2", "PT-A3")
    await stub.UpdateEmployee(_update(Employee(employee_id="PT-A3", active=False), "active"))
    await stub.AssignTeamMembers(_assign("PT-OTHER", _place("PT-A2", 70, "2026-06-10", "2026-06-20")))
    missing = await refused(stub.AssignTeamMembers(_assign("PT-ALL", _place("PT-A1"), _place("PT-NONE"))))
    assert (missing.code, missing.reason, missing.metadata) == (
        "NOT_FOUND",
        "EMPLOYEE_NOT_FOUND",
        {"employee_id": "PT-NONE"},
    )
    inactive = await refused(stub.AssignTeamMembers(_assign("PT-ALL", _place("PT-A1"), _place("PT-A3"))))
    assert (inactive.code, inactive.reason, inactive.metadata) == (
        "FAILED_PRECONDITION",
        "EMPLOYEE_NOT_ACTIVE",
        {"employee_id": "PT-A3"},
    )
    exceeded = await refused(stub.AssignTeamMembers(_assign("PT-ALL", _place("PT-A1"), _place("PT-A2", 31))))
    assert (exceeded.code, exceeded.reason) == ("FAILED_PRECONDITION", "ALLOCATION_EXCEEDED")
    assert exceeded.metadata == {
        "employee_id": "PT-A2",
        "date": "2026-06-10",
        "allocated_percent": "70",
        "requested_percent": "31",
    }
    assert await _team(stub, "PT-ALL") == {}
    assert len(await _events(world, "PT-ALL")) == 1
    await stub.AssignTeamMembers(_assign("PT-ALL", _place("PT-A1"), _place("PT-A2", 30)))
    await stub.AssignTeamMembers(_assign("PT-ALL", _place("PT-A2", 100, "2026-06-21")))
    assert await _team(stub, "PT-ALL") == {"PT-A1": 100, "PT-A2": 100}


async def test_a_bad_assignment_is_refused_by_field(stub: ProjectServiceAsyncStub) -> None:
    await _found(stub, "PT-BAD")
    await _hire(stub, "PT-B1")
    for places, field in (
        ((), "assignments"),
        ((_place("PT-B1", 101),), "assignments[0].allocation_percent"),
        ((_place("PT-B1", 10), _place("PT-B1", 20)), "assignments[1].employee_id"),
        ((_place("PT-B1", 10, "2026-02-30"),), "assignments[0].start_date"),
        ((_place("PT-B1", 10, "2026-03-02", "2026-03-01"),), "assignments[0].end_date"),
    ):
        failed = await refused(stub.AssignTeamMembers(_assign("PT-BAD", *places)))
        assert (failed.code, failed.reason, failed.metadata["field"]) == (
            "INVALID_ARGUMENT",
            "VALIDATION_FAILED",
            field,
        )
    for call in (
        stub.AssignTeamMembers(_assign("PT-NONE", _place("PT-B1"))),
        stub.RemoveTeamMember(pb.RemoveTeamMemberRequest(project_id="PT-NONE", employee_id="PT-B1")),
        stub.ListTeamMembers(pb.ListTeamMembersRequest(project_id="PT-NONE")),
    ):
        assert (await refused(call)).reason == "PROJECT_NOT_FOUND"
    absent = await refused(stub.RemoveTeamMember(pb.RemoveTeamMemberRequest(project_id="PT-BAD", employee_id="PT-B1")))
    assert (absent.code, absent.reason) == ("NOT_FOUND", "TEAM_MEMBER_NOT_FOUND")
    assert absent.metadata == {"project_id": "PT-BAD", "employee_id": "PT-B1"}


async def test_no_race_passes_the_whole_of_a_persons_time(stub: ProjectServiceAsyncStub, world: World) -> None:
    """Twelve projects want 30 % of the same two people at once, half of them in the other order: three get them."""
    projects = [f"PT-RACE{number}" for number in range(12)]
    await _found(stub, *projects)
    await _hire(stub, "PT-R1", "PT-R2")
    places = [_place("PT-R1", 30), _place("PT-R2", 30)]

    async def assign(number: int) -> str:
        try:
            await stub.AssignTeamMembers(_assign(projects[number], *(places if number % 2 else places[::-1])))
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    outcomes = await asyncio.gather(*map(assign, range(12)))
    assert sorted(outcomes) == ["FAILED_PRECONDITION"] * 9 + ["OK"] * 3
    sums = await world.query(
        "project",
        "SELECT employee_id, sum(allocation_percent) AS percent FROM team_member "
        "WHERE employee_id IN ('PT-R1', 'PT-R2') GROUP BY employee_id",
    )
    assert {row["employee_id"]: row["percent"] for row in sums} == {"PT-R1": 90, "PT-R2": 90}
