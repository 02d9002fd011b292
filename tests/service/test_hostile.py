"""Input that means harm, or means nothing."""

import pytest
from dsm.project.v1 import project_pb2, project_service_pb2_grpc
from dsm.project.v1 import project_service_pb2 as pb

from tests.harness import World, refused


@pytest.mark.parametrize("text", ["a\0b", "\0"])
async def test_what_cannot_be_stored_is_the_callers_error(world: World, text: str) -> None:
    stub = project_service_pb2_grpc.ProjectServiceStub(await world.channel("project"))
    project = project_pb2.Project(project_id="NUL", name=text)
    failed = await refused(stub.CreateProject(pb.CreateProjectRequest(project=project)))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "VALIDATION_FAILED")


@pytest.mark.parametrize("text", ["'; DROP TABLE project; --", "=1+1", "%(id)s", "%s", "‮", "🦄" * 50, "\u202e\ufeff"])
async def test_strange_text_comes_back_as_it_was(world: World, text: str) -> None:
    stub = project_service_pb2_grpc.ProjectServiceStub(await world.channel("project"))
    project_id = f"ODD-{abs(hash(text))}"
    project = project_pb2.Project(project_id=project_id, name=text)
    await stub.CreateProject(pb.CreateProjectRequest(project=project))
    answer = await stub.GetProject(pb.GetProjectRequest(project_id=project_id))
    assert answer.project.name == text
