"""The project service on real sockets: projects and what every call has in common."""

import pytest
from dsm.project.v1 import project_service_pb2 as pb
from dsm.project.v1.project_pb2 import (
    PROJECT_STATUS_ACTIVE,
    HolidayCalendar,
    Project,
)
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub

from tests.harness import World


@pytest.fixture
async def stub(world: World) -> ProjectServiceStub:
    return ProjectServiceStub(await world.channel("project"))


async def test_a_project_is_created_and_read(stub: ProjectServiceStub) -> None:
    created = await stub.CreateProject(pb.CreateProjectRequest(project=Project(project_id="P-NEW", name="New")))
    read = await stub.GetProject(pb.GetProjectRequest(project_id="P-NEW"))
    assert read.project == created.project
    assert read.project.status == PROJECT_STATUS_ACTIVE
    assert read.project.time_zone == "UTC"
    assert read.project.holiday_calendar == HolidayCalendar(country="US")
    assert list(read.project.working_days) == [1, 2, 3, 4, 5]
    assert not read.project.simulate_daily_scrums
    assert read.project.create_time == read.project.update_time
