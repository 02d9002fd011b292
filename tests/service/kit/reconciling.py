"""Asking the sprint service whether it and the backlog tell the same."""

from __future__ import annotations

from dsm.common.v1 import admin_service_pb2 as pb
from dsm.common.v1.admin_service_pb2_grpc import AdminServiceStub

from tests.harness import World
from tests.service.sprint.sprints import Fixture


async def reconcile(world: World, project_id: str = "", grace: int = 0, seconds: float = 30) -> pb.ReconcileResponse:
    """Compare all projects, or one; `grace` in seconds."""
    admin = AdminServiceStub(await world.channel("sprint"))
    request = pb.ReconcileRequest(project_id=project_id, grace_seconds=grace)
    return await admin.Reconcile(request, timeout=seconds)


async def agree(scene: Fixture) -> bool:
    """True if nothing of a project differs, or is still on its way."""
    answer = await reconcile(scene.world, scene.project_id)
    return not answer.disagreements and not answer.unpublished_events
