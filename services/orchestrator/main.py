"""Wiring of the orchestrator."""

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1 import orchestrator_service_pb2_grpc as grpc_pb
from pydantic import Field

from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings
from services.orchestrator import events
from services.orchestrator.act import Actor
from services.orchestrator.domain.decision import ModeConfig
from services.orchestrator.handlers import OrchestratorHandlers
from services.orchestrator.memory import Memory
from services.orchestrator.observe import Observer
from services.orchestrator.pipeline import Pipeline

NAME = "orchestrator"


class OrchestratorSettings(StatefulSettings):
    """Settings of the orchestrator."""

    project_address: str = Field(description="Address of the project service, for example project:7600.")
    backlog_address: str = Field(description="Address of the backlog service.")
    sprint_address: str = Field(description="Address of the sprint service.")
    chronicle_address: str = Field(description="Address of the chronicle service.")
    embedding_address: str = Field(description="Address of the embedding service.")
    confidence_threshold: float = Field(
        default=0.75, ge=0, le=1, description="Least confidence that passes the gate, unless a project sets its own."
    )
    embed_timeout_seconds: float = Field(
        default=5, gt=0, description="Longest wait for the embedding of a situation; then memory is left out."
    )
    retrieval_timeout_ms: float = Field(
        default=300, gt=0, description="Longest search for similar episodes; then memory is left out."
    )


SETTINGS = OrchestratorSettings


def build(settings: OrchestratorSettings) -> StatefulService:
    """The service, ready to be served."""
    service = StatefulService(NAME, settings)
    project = service.callee("project", settings.project_address)
    backlog = service.callee("backlog", settings.backlog_address)
    sprint = service.callee("sprint", settings.sprint_address)
    chronicle = service.callee("chronicle", settings.chronicle_address)
    embedding = service.callee("embedding", settings.embedding_address)
    observer = Observer(project, backlog, sprint, chronicle, utc_now)
    memory = Memory(
        service.database,
        embedding,
        embed_seconds=settings.embed_timeout_seconds,
        retrieval_seconds=settings.retrieval_timeout_ms / 1000,
    )
    pipeline = Pipeline(
        service.database,
        observer,
        memory,
        Actor(sprint, utc_now),
        utc_now,
        default_mode=ModeConfig(settings.confidence_threshold),
    )
    handlers = OrchestratorHandlers(service.database, observer, memory, pipeline, utc_now)  # type: ignore[abstract]
    service.serve(
        pb.DESCRIPTOR.services_by_name["OrchestratorService"],
        grpc_pb.add_OrchestratorServiceServicer_to_server,
        handlers,
    )
    service.consume("DSM_SPRINT", ("dsm.sprint.v1.sprint.closed",), events.apply)
    service.run(memory.keep_embedded)
    service.run(pipeline.carry_on)
    return service
