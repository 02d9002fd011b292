"""Projects."""

from collections.abc import Mapping
from typing import Any

from dsm.project.v1 import project_service_pb2 as pb

from services.kit.convert import check_etag
from services.kit.data.database import WriteHandle
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.project import convert, events
from services.project.domain.project import Project, ProjectAlreadyExists, check_writable, update_project
from services.project.handlers.room import Room
from services.project.store import projects


class ProjectsHandlers(Room):
    """CreateProject to SetProjectStatus."""

    async def CreateProject(self, request: pb.CreateProjectRequest, context: Context) -> pb.CreateProjectResponse:
        """A new project."""
        project = convert.to_project(request.project, self.clock())
        async with self.db.write() as tx:
            if not await projects.insert(tx, project):
                raise ProjectAlreadyExists(project.project_id)
            events.emit_of_project(tx, project, events.project_created(project))
            return tx.reply(pb.CreateProjectResponse(project=convert.from_project(project)))

    async def GetProject(self, request: pb.GetProjectRequest, context: Context) -> pb.GetProjectResponse:
        """One project."""
        project = await projects.get(self.db.read, request.project_id)
        return pb.GetProjectResponse(project=convert.from_project(project))

    async def ListProjects(self, request: pb.ListProjectsRequest, context: Context) -> pb.ListProjectsResponse:
        """A page of projects, by id."""
        page = page_of(request)
        (after,) = page.after or ("",)
        found = await projects.list_after(self.db.read, after, page.limit, convert.to_status(request.status))
        kept, token = page.cut(found, lambda project: (project.project_id,))
        return pb.ListProjectsResponse(projects=map(convert.from_project, kept), next_page_token=token)

    async def UpdateProject(self, request: pb.UpdateProjectRequest, context: Context) -> pb.UpdateProjectResponse:
        """Change what the mask names; what is so already makes no new version and no event."""
        changes = convert.to_project_changes(request.project, request.update_mask)
        async with self.db.write() as tx:
            project = await projects.lock(tx, request.project.project_id)
            check_writable(project)
            check_etag(request.project.etag, project.version)
            project = await self._change(tx, project, changes)
            return tx.reply(pb.UpdateProjectResponse(project=convert.from_project(project)))

    async def SetProjectStatus(
        self, request: pb.SetProjectStatusRequest, context: Context
    ) -> pb.SetProjectStatusResponse:
        """Change the status, an archived project's too; what is so already makes no new version and no event."""
        async with self.db.write() as tx:
            project = await projects.lock(tx, request.project_id)
            check_etag(request.etag, project.version)
            project = await self._change(tx, project, {"status": convert.to_status(request.status)})
            return tx.reply(pb.SetProjectStatusResponse(project=convert.from_project(project)))

    async def _change(self, tx: WriteHandle, project: Project, changes: Mapping[str, Any]) -> Project:
        changed_project, fields = update_project(project, changes, self.clock())
        if fields:
            await projects.update(tx, changed_project)
            events.emit_of_project(tx, changed_project, events.project_updated(changed_project, fields))
        return changed_project
