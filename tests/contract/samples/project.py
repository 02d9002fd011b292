"""Good requests of the project service."""

from __future__ import annotations

from dsm.project.v1 import calendar_pb2, employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as pb
from google.protobuf.field_mask_pb2 import FieldMask

from tests.contract.samples.scene import LAST_DAY, MONDAY, TUESDAY, Scene, new_sprint_id, project_of


class ProjectService:
    """One request for each call, named as the call."""

    async def CreateProject(self, scene: Scene) -> pb.CreateProjectRequest:
        project_id = project_of(new_sprint_id())
        return pb.CreateProjectRequest(project=project_pb2.Project(project_id=project_id, name="A project"))

    async def GetProject(self, scene: Scene) -> pb.GetProjectRequest:
        return pb.GetProjectRequest(project_id=scene.project_id)

    async def ListProjects(self, scene: Scene) -> pb.ListProjectsRequest:
        return pb.ListProjectsRequest(status=project_pb2.PROJECT_STATUS_ACTIVE)

    async def UpdateProject(self, scene: Scene) -> pb.UpdateProjectRequest:
        project = project_pb2.Project(project_id=await scene.new_project(), name="Another name")
        return pb.UpdateProjectRequest(project=project, update_mask=FieldMask(paths=["name"]))

    async def SetProjectStatus(self, scene: Scene) -> pb.SetProjectStatusRequest:
        status = project_pb2.PROJECT_STATUS_INACTIVE
        return pb.SetProjectStatusRequest(project_id=await scene.new_project(), status=status)

    async def CreateEmployee(self, scene: Scene) -> pb.CreateEmployeeRequest:
        employee_id = project_of(new_sprint_id())
        return pb.CreateEmployeeRequest(employee=employee_pb2.Employee(employee_id=employee_id, name="Somebody"))

    async def GetEmployee(self, scene: Scene) -> pb.GetEmployeeRequest:
        return pb.GetEmployeeRequest(employee_id=scene.employee_id)

    async def ListEmployees(self, scene: Scene) -> pb.ListEmployeesRequest:
        return pb.ListEmployeesRequest(project_id=scene.project_id)

    async def UpdateEmployee(self, scene: Scene) -> pb.UpdateEmployeeRequest:
        employee = employee_pb2.Employee(employee_id=await scene.new_employee(), role="developer")
        return pb.UpdateEmployeeRequest(employee=employee, update_mask=FieldMask(paths=["role"]))

    async def ErasePerson(self, scene: Scene) -> pb.ErasePersonRequest:
        return pb.ErasePersonRequest(employee_id=await scene.new_employee())

    async def AssignTeamMembers(self, scene: Scene) -> pb.AssignTeamMembersRequest:
        places = [pb.TeamAssignment(employee_id=await scene.new_employee(), allocation_percent=50)]
        return pb.AssignTeamMembersRequest(project_id=await scene.new_project(), assignments=places)

    async def RemoveTeamMember(self, scene: Scene) -> pb.RemoveTeamMemberRequest:
        project_id, employee_id = await scene.new_team()
        return pb.RemoveTeamMemberRequest(project_id=project_id, employee_id=employee_id)

    async def ListTeamMembers(self, scene: Scene) -> pb.ListTeamMembersRequest:
        return pb.ListTeamMembersRequest(project_id=scene.project_id, on_date=MONDAY)

    async def ListHolidays(self, scene: Scene) -> pb.ListHolidaysRequest:
        return pb.ListHolidaysRequest(project_id=scene.project_id, start_date=MONDAY, end_date=LAST_DAY)

    async def AddHoliday(self, scene: Scene) -> pb.AddHolidayRequest:
        return pb.AddHolidayRequest(project_id=await scene.new_project(), date=TUESDAY, name="A day")

    async def RemoveHoliday(self, scene: Scene) -> pb.RemoveHolidayRequest:
        return pb.RemoveHolidayRequest(project_id=await scene.new_holiday(), date=TUESDAY)

    async def AddPto(self, scene: Scene) -> pb.AddPtoRequest:
        employee_id = await scene.new_employee()
        return pb.AddPtoRequest(pto=calendar_pb2.Pto(employee_id=employee_id, start_date=MONDAY, end_date=TUESDAY))

    async def ListPto(self, scene: Scene) -> pb.ListPtoRequest:
        return pb.ListPtoRequest(project_id=scene.project_id)

    async def CancelPto(self, scene: Scene) -> pb.CancelPtoRequest:
        return pb.CancelPtoRequest(pto_id=await scene.new_pto())

    async def CheckAvailability(self, scene: Scene) -> pb.CheckAvailabilityRequest:
        return pb.CheckAvailabilityRequest(project_id=scene.project_id, start_date=MONDAY, end_date=LAST_DAY)

    async def GetCapacity(self, scene: Scene) -> pb.GetCapacityRequest:
        return pb.GetCapacityRequest(project_id=scene.project_id, start_date=MONDAY, end_date=LAST_DAY)
