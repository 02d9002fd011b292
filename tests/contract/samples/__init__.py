"""A good request for every call of the contract, with what it needs to be answered.

A new RPC needs a method of its name here; what it changes it must make afresh, because tests call it more than once.
"""

from __future__ import annotations

from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from tests.contract.methods import short
from tests.contract.samples import backlog, chronicle, common, orchestrator, project, sprint
from tests.contract.samples.scene import Scene

SERVICES: dict[str, object] = {
    service.__name__: service()
    for service in (
        project.ProjectService,
        backlog.BacklogService,
        sprint.SprintService,
        sprint.DailyScrumService,
        chronicle.ChronicleService,
        orchestrator.OrchestratorService,
        common.EmbeddingService,
        common.StatusService,
        common.AdminService,
    )
}


async def sample(scene: Scene, method: MethodDescriptor) -> list[Message]:
    """Messages that the call answers OK; one but for a client stream."""
    make = getattr(SERVICES.get(method.containing_service.name), method.name, None)
    assert make, f"{short(method)} has no sample: add one in tests/contract/samples"
    made = await make(scene)
    return made if isinstance(made, list) else [made]
