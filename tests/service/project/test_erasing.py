"""The project service on real sockets: a person is forgotten."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from dsm.events.v1 import event_pb2
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1.calendar_pb2 import Pto
from dsm.project.v1.employee_pb2 import Employee
from dsm.project.v1.project_pb2 import Project
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from google.protobuf.field_mask_pb2 import FieldMask

from tests.harness import World, refused

if TYPE_CHECKING:
    from dsm.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub

_SECRETS = ("Grace", "grace@example.org", "sub-4711", "tester", "Head of testing", "cobol", "Asia/Tokyo", "in hospital")


@pytest.fixture
async def stub(world: World) -> ProjectServiceAsyncStub:
    return ProjectServiceStub(await world.channel("project"))


def _person(employee_id: str) -> Employee:
    return Employee(
        employee_id=employee_id,
        name="Grace",
        email="grace@example.org",
        role="tester",
        designation="Head of testing",
        skills=["cobol"],
        hours_per_day=6,
        identity_subject="sub-4711",
        time_zone="Asia/Tokyo",
    )


async def test_what_tells_who_it_was_is_gone_everywhere(stub: ProjectServiceAsyncStub, world: World) -> None:
    create = pb.CreateEmployeeRequest(employee=_person("ER-1"), request_id=str(uuid4()))
    await stub.CreateEmployee(create)
    await stub.CreateProject(pb.CreateProjectRequest(project=Project(project_id="ER-P", name="A project")))
    assign = pb.AssignTeamMembersRequest(
        project_id="ER-P", assignments=[pb.TeamAssignment(employee_id="ER-1")], request_id=str(uuid4())
    )
    await stub.AssignTeamMembers(assign)
    pto = Pto(employee_id="ER-1", start_date="2026-03-02", end_date="2026-03-03", reason="in hospital")
    add = pb.AddPtoRequest(pto=pto, request_id=str(uuid4()))
    await stub.AddPto(add)
    days = {"project_id": "ER-P", "start_date": "2026-03-02", "end_date": "2026-03-06"}
    before = await stub.GetCapacity(pb.GetCapacityRequest(**days))

    erased = (await stub.ErasePerson(pb.ErasePersonRequest(employee_id="ER-1"))).employee
    assert (erased.employee_id, erased.hours_per_day, erased.active) == ("ER-1", 6, False)
    assert (erased.name, erased.email, erased.identity_subject, list(erased.skills)) == ("", "", "", [])
    assert erased.HasField("erase_time")
    assert (await stub.GetEmployee(pb.GetEmployeeRequest(employee_id="ER-1"))).employee == erased

    # Answers that were kept for a repeated call tell no more than the row; what they were about stays.
    assert (await stub.CreateEmployee(create)).employee == erased
    assert (await stub.AssignTeamMembers(assign)).team_members[0].employee == erased
    assert (await stub.AddPto(add)).pto.reason == ""
    [off] = (await stub.ListPto(pb.ListPtoRequest(employee_id="ER-1"))).pto
    assert (off.start_date, off.end_date, off.reason) == ("2026-03-02", "2026-03-03", "")
    for table in ("employee", "pto", "request_record", "outbox"):
        rows = await world.query("project", f"SELECT * FROM {table}")
        held = [row for row in rows if "ER-1" in repr(row)]
        assert held
        assert not [word for row in held for word in _SECRETS if word in repr(row)]
    # Days before the person left have the capacity that they had.
    assert before.person_days > 0
    members = (await stub.ListTeamMembers(pb.ListTeamMembersRequest(project_id="ER-P"))).team_members
    assert [member.employee_id for member in members] == ["ER-1"]


async def test_the_others_are_told_once_and_by_id(stub: ProjectServiceAsyncStub, world: World) -> None:
    await stub.CreateEmployee(pb.CreateEmployeeRequest(employee=_person("ER-2")))
    request = pb.ErasePersonRequest(employee_id="ER-2", request_id=str(uuid4()))
    first = await stub.ErasePerson(request)
    assert await stub.ErasePerson(request) == first
    assert await stub.ErasePerson(pb.ErasePersonRequest(employee_id="ER-2")) == first
    sql = "SELECT payload FROM outbox WHERE aggregate_id = 'ER-2' ORDER BY position"
    events = [event_pb2.Event.FromString(row["payload"]) for row in await world.query("project", sql)]
    assert [event.WhichOneof("payload") for event in events] == ["employee_created", "employee_erased"]
    assert (events[1].employee_erased.employee_id, events[1].aggregate_version) == ("ER-2", 2)
    request.employee_id = "ER-3"
    assert (await refused(stub.ErasePerson(request))).reason == "REQUEST_ID_REUSED"


async def test_nothing_personal_is_entered_again(stub: ProjectServiceAsyncStub) -> None:
    await stub.CreateEmployee(pb.CreateEmployeeRequest(employee=_person("ER-4")))
    await stub.CreateProject(pb.CreateProjectRequest(project=Project(project_id="ER-Q", name="A project")))
    await stub.ErasePerson(pb.ErasePersonRequest(employee_id="ER-4"))
    update = pb.UpdateEmployeeRequest(
        employee=Employee(employee_id="ER-4", name="Grace"), update_mask=FieldMask(paths=["name"])
    )
    off = pb.AddPtoRequest(pto=Pto(employee_id="ER-4", start_date="2026-03-02", end_date="2026-03-02"))
    for call in (stub.UpdateEmployee(update), stub.AddPto(off)):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "EMPLOYEE_ERASED")
        assert failed.metadata == {"employee_id": "ER-4"}
    again = await refused(stub.CreateEmployee(pb.CreateEmployeeRequest(employee=_person("ER-4"))))
    assert again.reason == "EMPLOYEE_ALREADY_EXISTS"
    place = pb.AssignTeamMembersRequest(project_id="ER-Q", assignments=[pb.TeamAssignment(employee_id="ER-4")])
    assert (await refused(stub.AssignTeamMembers(place))).reason == "EMPLOYEE_NOT_ACTIVE"


@pytest.mark.parametrize(
    ("employee_id", "reason"),
    [("ER-NONE", "EMPLOYEE_NOT_FOUND"), ("", "VALIDATION_FAILED"), ("x y", "VALIDATION_FAILED")],
)
async def test_who_is_not_there_cannot_be_erased(stub: ProjectServiceAsyncStub, employee_id: str, reason: str) -> None:
    assert (await refused(stub.ErasePerson(pb.ErasePersonRequest(employee_id=employee_id)))).reason == reason
