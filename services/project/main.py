"""Puts the project service together."""

from dsm.project.v1 import project_service_pb2
from dsm.project.v1.project_service_pb2_grpc import add_ProjectServiceServicer_to_server

from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings
from services.project.handlers import ProjectHandlers
from services.project.recovery import take_back

NAME = "project"


class ProjectSettings(StatefulSettings):
    """Settings of the project service."""


SETTINGS = ProjectSettings


def build(settings: ProjectSettings) -> StatefulService:
    """The service, not started."""
    service = StatefulService(NAME, settings)
    handlers = ProjectHandlers(service.database, utc_now)
    service.serve(
        project_service_pb2.DESCRIPTOR.services_by_name["ProjectService"],
        add_ProjectServiceServicer_to_server,
        handlers,
    )
    service.take_back = take_back
    return service
