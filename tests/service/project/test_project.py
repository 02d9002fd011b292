"""The project service on real sockets: projects, and what all its mutations have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from dsm.events.v1 import event_pb2
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1.project_pb2 import (
    PROJECT_STATUS_ACTIVE,
    PROJECT_STATUS_ARCHIVED,
    PROJECT_STATUS_INACTIVE,
    PROJECT_STATUS_UNSPECIFIED,
    HolidayCalendar,
    Project,
    ProjectStatus,
)
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub
from google.protobuf.field_mask_pb2 import FieldMask
from nats.js.errors import NotFoundError

from tests.harness import World, eventually, refused

if TYPE_CHECKING:
    from dsm.project.v1.project_service_pb2_grpc import ProjectServiceAsyncStub


@pytest.fixture
async def stub(world: World) -> ProjectServiceAsyncStub:
    return ProjectServiceStub(await world.channel("project"))


async def _create(stub: ProjectServiceAsyncStub, project_id: str) -> Project:
    request = pb.CreateProjectRequest(project=Project(project_id=project_id, name=f"Project {project_id}"))
    return (await stub.CreateProject(request)).project


def _set(project_id: str, status: ProjectStatus.ValueType, **fields: str) -> pb.SetProjectStatusRequest:
    return pb.SetProjectStatusRequest(project_id=project_id, status=status, **fields)


def _update(project: Project, *paths: str, request_id: str = "") -> pb.UpdateProjectRequest:
    return pb.UpdateProjectRequest(project=project, update_mask=FieldMask(paths=paths), request_id=request_id)


async def test_a_project_is_created_with_defaults_and_read(stub: ProjectServiceAsyncStub) -> None:
    created = await _create(stub, "P-NEW")
    read = (await stub.GetProject(pb.GetProjectRequest(project_id="P-NEW"))).project
    assert read == created
    assert read.status == PROJECT_STATUS_ACTIVE
    assert read.time_zone == "UTC"
    assert read.holiday_calendar == HolidayCalendar(country="US")
    assert list(read.working_days) == [1, 2, 3, 4, 5]
    assert not read.simulate_daily_scrums
    assert read.create_time == read.update_time


async def test_a_project_keeps_all_that_it_is_given(stub: ProjectServiceAsyncStub) -> None:
    given = Project(
        project_id="P-FULL",
        name="Full",
        description="Straße\nand 漢字",
        status=PROJECT_STATUS_INACTIVE,
        time_zone="Asia/Riyadh",
        holiday_calendar=HolidayCalendar(country="DE", subdivision="BY"),
        working_days=[7, 1, 2, 3, 4],
        simulate_daily_scrums=True,
    )
    created = (await stub.CreateProject(pb.CreateProjectRequest(project=given))).project
    kept = Project()
    kept.CopyFrom(created)
    for output_only in ("create_time", "update_time", "etag"):
        kept.ClearField(output_only)
    given.working_days[:] = sorted(given.working_days)
    assert kept == given
    assert (await stub.GetProject(pb.GetProjectRequest(project_id="P-FULL"))).project == created


@pytest.mark.parametrize(
    ("project", "reason", "field"),
    [
        (Project(name="No id"), "VALIDATION_FAILED", "project.project_id"),
        (Project(project_id="P-BAD"), "VALIDATION_FAILED", "project.name"),
        (Project(project_id="p-bad", name="Lower"), "VALIDATION_FAILED", "project.project_id"),
        (Project(project_id="P-BAD", name="Zone", time_zone="Mars/Base"), "VALIDATION_FAILED", "project.time_zone"),
        (
            Project(project_id="P-BAD", name="Days", working_days=[1, 1]),
            "VALIDATION_FAILED",
            "project.working_days",
        ),
        (
            Project(project_id="P-BAD", name="Land", holiday_calendar=HolidayCalendar(country="XX")),
            "HOLIDAY_CALENDAR_UNKNOWN",
            "project.holiday_calendar",
        ),
        (
            Project(project_id="P-BAD", name="Land", holiday_calendar=HolidayCalendar(subdivision="BY")),
            "HOLIDAY_CALENDAR_UNKNOWN",
            "project.holiday_calendar",
        ),
    ],
)
async def test_a_bad_project_is_refused_by_field(
    stub: ProjectServiceAsyncStub, project: Project, reason: str, field: str
) -> None:
    failed = await refused(stub.CreateProject(pb.CreateProjectRequest(project=project)))
    assert (failed.code, failed.reason, failed.metadata["field"]) == ("INVALID_ARGUMENT", reason, field)
    if reason == "HOLIDAY_CALENDAR_UNKNOWN":
        assert failed.metadata["country"] == (project.holiday_calendar.country or "US")
    gone = await refused(stub.GetProject(pb.GetProjectRequest(project_id="P-BAD")))
    assert (gone.code, gone.reason, gone.metadata) == ("NOT_FOUND", "PROJECT_NOT_FOUND", {"project_id": "P-BAD"})


async def test_an_id_is_given_once(stub: ProjectServiceAsyncStub) -> None:
    await _create(stub, "P-TWICE")
    again = pb.CreateProjectRequest(project=Project(project_id="P-TWICE", name="Other"))
    failed = await refused(stub.CreateProject(again))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "PROJECT_ALREADY_EXISTS")
    assert failed.metadata == {"project_id": "P-TWICE"}


async def test_the_same_request_id_gives_the_first_answer(stub: ProjectServiceAsyncStub) -> None:
    request = pb.CreateProjectRequest(project=Project(project_id="P-ONCE", name="Once"), request_id=str(uuid4()))
    first = await stub.CreateProject(request)
    await stub.UpdateProject(_update(Project(project_id="P-ONCE", name="Changed"), "name"))
    assert await stub.CreateProject(request) == first
    request.project.name = "Other"
    failed = await refused(stub.CreateProject(request))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_an_update_changes_what_the_mask_names(stub: ProjectServiceAsyncStub) -> None:
    before = await _create(stub, "P-EDIT")
    wish = Project(project_id="P-EDIT", name="Edited", description="ignored", etag=before.etag)
    after = (await stub.UpdateProject(_update(wish, "name"))).project
    assert (after.name, after.description) == ("Edited", "")
    assert after.etag != before.etag
    # A field that is named and not given goes back to its default.
    zoned = Project(project_id="P-EDIT", time_zone="Europe/Berlin", holiday_calendar=HolidayCalendar(country="DE"))
    changed = (await stub.UpdateProject(_update(zoned, "time_zone", "holiday_calendar"))).project
    assert (changed.time_zone, changed.holiday_calendar.country) == ("Europe/Berlin", "DE")
    reset = (await stub.UpdateProject(_update(Project(project_id="P-EDIT"), "time_zone", "holiday_calendar"))).project
    assert (reset.time_zone, reset.holiday_calendar.country) == ("UTC", "US")


async def test_an_update_that_changes_nothing_is_no_new_version(stub: ProjectServiceAsyncStub, world: World) -> None:
    before = await _create(stub, "P-SAME")
    assert (await stub.UpdateProject(_update(before, "name", "working_days"))).project == before
    assert (await stub.SetProjectStatus(_set("P-SAME", PROJECT_STATUS_ACTIVE))).project == before
    assert len(await _outbox(world, "P-SAME")) == 1


async def test_a_bad_update_is_refused(stub: ProjectServiceAsyncStub) -> None:
    before = await _create(stub, "P-WRONG")
    await stub.UpdateProject(_update(Project(project_id="P-WRONG", name="Newer"), "name"))
    stale = await refused(stub.UpdateProject(_update(before, "description")))
    assert (stale.code, stale.reason) == ("ABORTED", "ETAG_MISMATCH")
    assert stale.metadata == {"etag": "v1", "current_etag": "v2"}
    unknown = await refused(stub.UpdateProject(_update(Project(project_id="P-NONE", name="X"), "name")))
    assert unknown.reason == "PROJECT_NOT_FOUND"
    for paths, project, field in (
        ((), Project(name="X"), "update_mask"),
        (("status",), Project(name="X"), "update_mask"),
        (("name",), Project(), "project.name"),
        (("time_zone",), Project(time_zone="../etc/passwd"), "project.time_zone"),
    ):
        project.project_id = "P-WRONG"
        failed = await refused(stub.UpdateProject(_update(project, *paths)))
        assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", field)
    land = Project(project_id="P-WRONG", holiday_calendar=HolidayCalendar(country="DE", subdivision="CA"))
    failed = await refused(stub.UpdateProject(_update(land, "holiday_calendar")))
    assert failed.reason == "HOLIDAY_CALENDAR_UNKNOWN"
    assert (failed.metadata["country"], failed.metadata["subdivision"]) == ("DE", "CA")


async def test_an_archived_project_is_read_only(stub: ProjectServiceAsyncStub) -> None:
    await _create(stub, "P-ARCH")
    stale = await refused(stub.SetProjectStatus(_set("P-ARCH", PROJECT_STATUS_ARCHIVED, etag="v7")))
    assert stale.reason == "ETAG_MISMATCH"
    archived = (await stub.SetProjectStatus(_set("P-ARCH", PROJECT_STATUS_ARCHIVED, etag="v1"))).project
    assert archived.status == PROJECT_STATUS_ARCHIVED
    team = [pb.TeamAssignment(employee_id="NOBODY")]
    for call in (
        stub.UpdateProject(_update(Project(project_id="P-ARCH", name="X"), "name")),
        stub.AssignTeamMembers(pb.AssignTeamMembersRequest(project_id="P-ARCH", assignments=team)),
        stub.RemoveTeamMember(pb.RemoveTeamMemberRequest(project_id="P-ARCH", employee_id="NOBODY")),
        stub.AddHoliday(pb.AddHolidayRequest(project_id="P-ARCH", date="2026-01-02", name="Bridge")),
        stub.RemoveHoliday(pb.RemoveHolidayRequest(project_id="P-ARCH", date="2026-01-02")),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "PROJECT_ARCHIVED")
        assert failed.metadata == {"project_id": "P-ARCH"}
    active = (await stub.SetProjectStatus(_set("P-ARCH", PROJECT_STATUS_ACTIVE))).project
    assert active.status == PROJECT_STATUS_ACTIVE
    assert (await refused(stub.SetProjectStatus(_set("P-NONE", PROJECT_STATUS_ACTIVE)))).reason == "PROJECT_NOT_FOUND"
    assert (
        await refused(stub.SetProjectStatus(_set("P-ARCH", PROJECT_STATUS_UNSPECIFIED)))
    ).reason == "VALIDATION_FAILED"


async def test_projects_are_listed_in_pages_by_id(stub: ProjectServiceAsyncStub) -> None:
    ids = [f"P-LIST{number}" for number in range(5)]
    for project_id in reversed(ids):
        await _create(stub, project_id)
        await stub.SetProjectStatus(_set(project_id, PROJECT_STATUS_INACTIVE))
    found, token = [], ""
    while True:
        request = pb.ListProjectsRequest(status=PROJECT_STATUS_INACTIVE, page_size=2, page_token=token)
        page = await stub.ListProjects(request)
        found += [project.project_id for project in page.projects]
        token = page.next_page_token
        if not token:
            break
    assert [project_id for project_id in found if project_id in ids] == ids
    assert found == sorted(found)
    unfiltered = await stub.ListProjects(pb.ListProjectsRequest(page_size=1000))
    assert len(unfiltered.projects) <= 250
    assert {project.status for project in unfiltered.projects} != {PROJECT_STATUS_INACTIVE}


async def test_a_page_token_belongs_to_its_query(stub: ProjectServiceAsyncStub) -> None:
    for project_id in ("P-PAGE1", "P-PAGE2"):
        await _create(stub, project_id)
    token = (await stub.ListProjects(pb.ListProjectsRequest(page_size=1))).next_page_token
    for request in (
        pb.ListProjectsRequest(status=PROJECT_STATUS_ACTIVE, page_token=token),
        pb.ListProjectsRequest(page_token="nonsense"),
    ):
        failed = await refused(stub.ListProjects(request))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    assert (await refused(stub.ListProjects(pb.ListProjectsRequest(page_size=-1)))).reason == "VALIDATION_FAILED"


async def test_every_change_is_published_once_in_order(stub: ProjectServiceAsyncStub, world: World) -> None:
    before = await _last(world)
    await _create(stub, "P-TOLD")
    await stub.UpdateProject(_update(Project(project_id="P-TOLD", name="Told"), "name"))
    await stub.SetProjectStatus(_set("P-TOLD", PROJECT_STATUS_INACTIVE))
    await stub.AddHoliday(pb.AddHolidayRequest(project_id="P-TOLD", date="2026-01-02", name="Bridge"))
    await stub.RemoveHoliday(pb.RemoveHolidayRequest(project_id="P-TOLD", date="2026-01-02"))
    await eventually(lambda: _all_published(world, "P-TOLD"))
    events = [event for event in await _published(world, before) if event.aggregate_id == "P-TOLD"]
    assert [event.WhichOneof("payload") for event in events] == [
        "project_created",
        "project_updated",
        "project_updated",
        "holiday_added",
        "holiday_removed",
    ]
    assert [event.aggregate_version for event in events] == [1, 2, 3, 4, 5]
    assert {(event.aggregate_type, event.project_id, event.source_service) for event in events} == {
        ("project", "P-TOLD", "project")
    }
    assert list(events[1].project_updated.changed_fields) == ["name"]
    assert events[2].project_updated.project.status == PROJECT_STATUS_INACTIVE
    assert (await stub.GetProject(pb.GetProjectRequest(project_id="P-TOLD"))).project.etag == "v5"


async def _outbox(world: World, aggregate_id: str) -> list[dict[str, object]]:
    sql = "SELECT subject, publish_time FROM outbox WHERE aggregate_id = %(id)s ORDER BY position"
    return await world.query("project", sql, {"id": aggregate_id})


async def _all_published(world: World, aggregate_id: str) -> bool:
    return all(row["publish_time"] for row in await _outbox(world, aggregate_id))


async def _last(world: World) -> int:
    """Number of the last message in the stream; 0 if there is no stream yet."""
    async with world.jetstream() as js:
        try:
            return (await js.stream_info("DSM_PROJECT")).state.last_seq
        except NotFoundError:
            return 0


async def _published(world: World, after: int) -> list[event_pb2.Event]:
    """What came into the stream after a message."""
    async with world.jetstream() as js:
        last = (await js.stream_info("DSM_PROJECT")).state.last_seq
        messages = [await js.get_msg("DSM_PROJECT", number) for number in range(after + 1, last + 1)]
    assert all(message.headers and message.headers["Dsm-Type"] == message.subject for message in messages)
    return [event_pb2.Event.FromString(message.data or b"") for message in messages]
