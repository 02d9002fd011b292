"""Answers ProjectService."""

from dsm.project.v1.project_service_pb2_grpc import ProjectServiceServicer

from services.project.handlers.calendars import CalendarHandlers
from services.project.handlers.employees import EmployeeHandlers
from services.project.handlers.projects import ProjectsHandlers
from services.project.handlers.teams import TeamHandlers


class ProjectHandlers(ProjectsHandlers, EmployeeHandlers, TeamHandlers, CalendarHandlers, ProjectServiceServicer):
    """The RPCs of dsm.project.v1.ProjectService, by noun."""
