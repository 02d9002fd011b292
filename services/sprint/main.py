"""Puts the sprint service together."""

from dsm.sprint.v1 import daily_scrum_service_pb2, sprint_service_pb2
from dsm.sprint.v1.daily_scrum_service_pb2_grpc import add_DailyScrumServiceServicer_to_server
from dsm.sprint.v1.sprint_service_pb2_grpc import add_SprintServiceServicer_to_server
from pydantic import Field

from services.kit.clock import utc_now
from services.kit.service import StatefulService
from services.kit.settings import StatefulSettings
from services.sprint import events
from services.sprint.handlers import SprintHandlers
from services.sprint.handlers.daily import DailyScrumHandlers
from services.sprint.handlers.neighbours import Neighbours
from services.sprint.reconcile import Reconciler
from services.sprint.recovery import take_back

NAME = "sprint"


class SprintSettings(StatefulSettings):
    """Settings of the sprint service."""

    project_address: str = Field(description="The project service, as host:port.")
    backlog_address: str = Field(description="The backlog service, as host:port.")


SETTINGS = SprintSettings


def build(settings: SprintSettings) -> StatefulService:
    """The service, not started."""
    service = StatefulService(NAME, settings)
    backlog = service.callee("backlog", settings.backlog_address)
    neighbours = Neighbours(service.callee("project", settings.project_address), backlog)
    room = (service.database, neighbours, service.with_sagas(), service.watch, utc_now)
    service.serve(
        sprint_service_pb2.DESCRIPTOR.services_by_name["SprintService"],
        add_SprintServiceServicer_to_server,
        SprintHandlers(*room),
    )
    service.serve(
        daily_scrum_service_pb2.DESCRIPTOR.services_by_name["DailyScrumService"],
        add_DailyScrumServiceServicer_to_server,
        DailyScrumHandlers(*room),
    )
    service.consume("DSM_BACKLOG", events.TASKS, events.apply_tasks, concerns=events.changes_content)
    service.consume("DSM_PROJECT", events.PROJECTS, events.apply_projects)
    service.consume("DSM_SPRINT_IN", events.PROGRESS, events.apply_progress)
    service.take_back = take_back
    service.reconciler = Reconciler(service, backlog, utc_now).reconcile
    return service
