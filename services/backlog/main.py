"""Puts the backlog service together."""

from dsm.backlog.v1 import backlog_service_pb2
from dsm.backlog.v1.backlog_service_pb2_grpc import add_BacklogServiceServicer_to_server
from pydantic import Field

from services.backlog.events import PROJECT_SUBJECTS, SPRINT_SUBJECTS, apply_projects, apply_sprints
from services.backlog.handlers import BacklogHandlers
from services.backlog.recovery import take_back
from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings

NAME = "backlog"


class BacklogSettings(StatefulSettings):
    """Settings of the backlog service."""

    project_address: str = Field(description="Where the project service answers, for example project:7600.")


SETTINGS = BacklogSettings


def build(settings: BacklogSettings) -> StatefulService:
    """The service, not started."""
    service = StatefulService(NAME, settings)
    project = service.callee("project", settings.project_address)
    handlers = BacklogHandlers(service.database, service.watch, project, utc_now)
    service.serve(
        backlog_service_pb2.DESCRIPTOR.services_by_name["BacklogService"],
        add_BacklogServiceServicer_to_server,
        handlers,
    )
    service.consume("DSM_PROJECT", PROJECT_SUBJECTS, apply_projects)
    service.consume("DSM_SPRINT", SPRINT_SUBJECTS, apply_sprints)
    service.take_back = take_back
    return service
