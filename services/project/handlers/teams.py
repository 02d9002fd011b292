"""Teams."""

from dsm.project.v1 import project_service_pb2 as pb

from services.kit.convert import to_date_or_none
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.project import convert, events
from services.project.domain.project import check_writable, touch_project
from services.project.domain.team import TeamMemberNotFound, assign, check_assignments
from services.project.handlers.room import Room
from services.project.store import employees, projects, teams


class TeamHandlers(Room):
    """AssignTeamMembers to ListTeamMembers."""

    async def AssignTeamMembers(
        self, request: pb.AssignTeamMembersRequest, context: Context
    ) -> pb.AssignTeamMembersResponse:
        """Put people on a team or change their places, all or none.

        The people stay locked meanwhile: whoever assigns the same ones to another project waits, and then counts these
        places too.
        """
        asked = convert.to_places(request)
        check_assignments(asked)
        employee_ids = [place.employee_id for place in asked]
        async with self.db.write() as tx:
            project = await projects.lock(tx, request.project_id)
            check_writable(project)
            people = await employees.lock_all(tx, employee_ids)
            changed = assign(asked, people, await teams.held_by(tx, employee_ids))
            if changed:
                await teams.assign(tx, changed)
                project = touch_project(project, self.clock())
                await projects.update(tx, project)
                events.emit_of_project(tx, project, events.team_changed(project, changed))
            members = [convert.from_place(place, people[place.employee_id]) for place in asked]
            return tx.reply(pb.AssignTeamMembersResponse(team_members=members))

    async def RemoveTeamMember(
        self, request: pb.RemoveTeamMemberRequest, context: Context
    ) -> pb.RemoveTeamMemberResponse:
        """Take a person off a team."""
        async with self.db.write() as tx:
            project = await projects.lock(tx, request.project_id)
            check_writable(project)
            if not await teams.remove(tx, request.project_id, request.employee_id):
                raise TeamMemberNotFound(request.project_id, request.employee_id)
            project = touch_project(project, self.clock())
            await projects.update(tx, project)
            events.emit_of_project(tx, project, events.team_changed(project, [], [request.employee_id]))
            return tx.reply(pb.RemoveTeamMemberResponse())

    async def ListTeamMembers(self, request: pb.ListTeamMembersRequest, context: Context) -> pb.ListTeamMembersResponse:
        """A page of a team, by employee id."""
        page = page_of(request)
        (after,) = page.after or ("",)
        on_date = to_date_or_none(request.on_date, "on_date")
        await projects.get(self.db.read, request.project_id)
        found = await teams.list_after(self.db.read, request.project_id, after, page.limit, on_date)
        kept, token = page.cut(found, lambda member: (member[0].employee_id,))
        members = [convert.from_place(place, employee) for place, employee in kept]
        return pb.ListTeamMembersResponse(team_members=members, next_page_token=token)
