"""Request ids, on real servers."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from dsm.project.v1 import project_service_pb2 as pb

from services.kit.data.database import Database
from tests.harness import refused
from tests.service.kit.small_service import Running, creation


@pytest.mark.parametrize("method", ["CreateProject", "UpdateProject"])
async def test_a_request_id_has_one_effect_and_one_answer(running: Running, database: Database, method: str) -> None:
    project_id = f"RID-{method.upper()}"
    if method == "UpdateProject":
        await running.stub.CreateProject(creation(project_id))
    request_id = str(uuid4())

    def request() -> Any:
        if method == "CreateProject":
            return creation(project_id, request_id=request_id)
        update: dict[str, Any] = {"project": {"project_id": project_id}, "update_mask": {"paths": ["name"]}}
        return pb.UpdateProjectRequest(**update, request_id=request_id)

    answers = await asyncio.gather(*(getattr(running.stub, method)(request()) for _ in range(50)))
    assert len({answer.project.etag for answer in answers}) == 1
    count = "SELECT count(*) FROM outbox WHERE aggregate_id = %(id)s"
    assert await database.read.value(count, {"id": project_id}) == (1 if method == "CreateProject" else 2)
    other = request()
    other.project.name = "Another"
    failed = await refused(getattr(running.stub, method)(other))
    assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "REQUEST_ID_REUSED")


async def test_a_refused_call_is_not_remembered(running: Running) -> None:
    await running.stub.CreateProject(creation("TWICE"))
    request_id = str(uuid4())
    for _ in range(2):
        failed = await refused(running.stub.CreateProject(creation("TWICE", request_id=request_id)))
        assert failed.reason == "PROJECT_ALREADY_EXISTS"
