"""Puts the chronicle together."""

from dsm.chronicle.v1 import chronicle_service_pb2
from dsm.chronicle.v1.chronicle_service_pb2_grpc import add_ChronicleServiceServicer_to_server

from services.chronicle import events
from services.chronicle.handlers import ChronicleHandlers
from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings

NAME = "chronicle"


class ChronicleSettings(StatefulSettings):
    """Settings of the chronicle."""


SETTINGS = ChronicleSettings


def build(settings: ChronicleSettings) -> StatefulService:
    """The service, not started."""
    service = StatefulService(NAME, settings)
    # Analytics beyond the velocity answer UNIMPLEMENTED so far.
    handlers = ChronicleHandlers(service.database, utc_now)  # type: ignore[abstract]
    service.serve(
        chronicle_service_pb2.DESCRIPTOR.services_by_name["ChronicleService"],
        add_ChronicleServiceServicer_to_server,
        handlers,
    )
    service.consume("DSM_SPRINT", events.FROM_SPRINT, events.apply)
    service.consume("DSM_ORCHESTRATOR", events.FROM_ORCHESTRATOR, events.apply)
    return service
