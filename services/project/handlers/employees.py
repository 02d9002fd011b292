"""People."""

from dsm.project.v1 import project_service_pb2 as pb

from services.kit.convert import check_etag
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.project import convert, events
from services.project.domain.employee import EmployeeAlreadyExists, erase_employee, update_employee
from services.project.handlers.room import Room
from services.project.store import answers, calendars, employees


class EmployeeHandlers(Room):
    """CreateEmployee to ErasePerson."""

    async def CreateEmployee(self, request: pb.CreateEmployeeRequest, context: Context) -> pb.CreateEmployeeResponse:
        """A new person."""
        employee = convert.to_employee(request.employee, self.clock())
        async with self.db.write() as tx:
            if not await employees.insert(tx, employee):
                raise EmployeeAlreadyExists(employee.employee_id)
            events.emit_of_employee(tx, employee, events.employee_created(employee))
            return tx.reply(pb.CreateEmployeeResponse(employee=convert.from_employee(employee)))

    async def GetEmployee(self, request: pb.GetEmployeeRequest, context: Context) -> pb.GetEmployeeResponse:
        """One person."""
        employee = await employees.get(self.db.read, request.employee_id)
        return pb.GetEmployeeResponse(employee=convert.from_employee(employee))

    async def ListEmployees(self, request: pb.ListEmployeesRequest, context: Context) -> pb.ListEmployeesResponse:
        """A page of people, by id."""
        page = page_of(request)
        (after,) = page.after or ("",)
        active = request.active if request.HasField("active") else None
        wanted = employees.Filter(request.project_id, request.skill, active)
        found = await employees.list_after(self.db.read, after, page.limit, wanted)
        kept, token = page.cut(found, lambda employee: (employee.employee_id,))
        return pb.ListEmployeesResponse(employees=map(convert.from_employee, kept), next_page_token=token)

    async def UpdateEmployee(self, request: pb.UpdateEmployeeRequest, context: Context) -> pb.UpdateEmployeeResponse:
        """Change what the mask names; what is so already makes no new version and no event."""
        changes = convert.to_employee_changes(request.employee, request.update_mask)
        async with self.db.write() as tx:
            employee = await employees.lock(tx, request.employee.employee_id)
            check_etag(request.employee.etag, employee.version)
            employee, changed = update_employee(employee, changes, self.clock())
            if changed:
                await employees.update(tx, employee)
                events.emit_of_employee(tx, employee, events.employee_updated(employee, changed))
            return tx.reply(pb.UpdateEmployeeResponse(employee=convert.from_employee(employee)))

    async def ErasePerson(self, request: pb.ErasePersonRequest, context: Context) -> pb.ErasePersonResponse:
        """Forget who a person was, for good.

        Here that is the person's row, the reasons of their time off and the answers kept for request_ids, which may
        repeat either; team_member and the outbox know people by id alone. employee.erased tells the others.
        """
        async with self.db.write() as tx:
            before = await employees.lock(tx, request.employee_id)
            employee = erase_employee(before, self.clock())
            if employee is not before:
                await employees.update(tx, employee)
                await calendars.forget_reasons(tx, employee.employee_id)
                kept = await answers.speaking_of(tx, employee.employee_id)
                await answers.replace(tx, {key: convert.forget_person(how, old, employee) for key, how, old in kept})
                events.emit_of_employee(tx, employee, events.employee_erased(employee))
            return tx.reply(pb.ErasePersonResponse(employee=convert.from_employee(employee)))
