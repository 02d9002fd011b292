"""Puts the chronicle together."""

from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.chronicle.v1.chronicle_service_pb2_grpc import add_ChronicleServiceServicer_to_server
from pydantic import Field

from services.chronicle import events, figures
from services.chronicle.embedder import Embedder
from services.chronicle.handlers import ChronicleHandlers
from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings

NAME = "chronicle"


class ChronicleSettings(StatefulSettings):
    """Settings of the chronicle."""

    embedding_address: str = Field(
        description="Address of the embedding service, for example embedding:7600; without it, texts are not compared."
    )
    embedding_share: float = Field(
        default=0.1, gt=0, le=1, description="Part of the time that embedding titles of tasks may take."
    )


SETTINGS = ChronicleSettings


def build(settings: ChronicleSettings) -> StatefulService:
    """The service, not started."""
    service = StatefulService(NAME, settings)
    embedder = Embedder(
        service.database, service.callee("embedding", settings.embedding_address), share=settings.embedding_share
    )
    handlers = ChronicleHandlers(service.database, utc_now)
    service.serve(
        chronicle_service_pb2.DESCRIPTOR.services_by_name["ChronicleService"],
        add_ChronicleServiceServicer_to_server,
        handlers,
    )
    service.consume("DSM_SPRINT", events.FROM_SPRINT, events.apply)
    service.consume("DSM_ORCHESTRATOR", events.FROM_ORCHESTRATOR, events.apply)
    service.consume("DSM_BACKLOG", events.FROM_BACKLOG, events.apply, concerns=events.changes_title)
    service.consume("DSM_PROJECT", events.FROM_PROJECT, events.apply)
    service.measures.add(figures.TEXTS_WAITING, figures.WAITING, figures.KINDS)
    service.run(embedder.run)
    return service
