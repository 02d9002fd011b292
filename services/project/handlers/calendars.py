"""Holidays, PTO, availability and capacity."""

from datetime import date
from uuid import UUID, uuid4

from dsm.project.v1 import project_service_pb2 as pb

from services.kit.convert import to_date, to_date_or_none
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.project import convert, events
from services.project.domain.calendar import (
    Days,
    HolidayAlreadyExists,
    HolidayNotFound,
    PtoNotFound,
    check_pto,
    holidays_in,
)
from services.project.domain.capacity import capacity, conflicts
from services.project.domain.employee import check_not_erased, touch_employee
from services.project.domain.project import check_writable, touch_project
from services.project.handlers.room import Room
from services.project.store import calendars, employees, projects


class CalendarHandlers(Room):
    """ListHolidays to GetCapacity."""

    async def ListHolidays(self, request: pb.ListHolidaysRequest, context: Context) -> pb.ListHolidaysResponse:
        """Public holidays and company days, by date."""
        days = convert.to_days(request)
        project, company_days = await calendars.company_days(self.db.read, request.project_id, days)
        found = holidays_in(days, project.holiday_calendar, company_days)
        return pb.ListHolidaysResponse(holidays=map(convert.from_holiday, found))

    async def AddHoliday(self, request: pb.AddHolidayRequest, context: Context) -> pb.AddHolidayResponse:
        """A new company day; it may fall on a public holiday, and then counts once."""
        holiday = convert.to_company_day(request)
        async with self.db.write() as tx:
            project = await projects.lock(tx, request.project_id)
            check_writable(project)
            if not await calendars.add_company_day(tx, request.project_id, holiday):
                raise HolidayAlreadyExists(request.project_id, holiday.date)
            project = touch_project(project, self.clock())
            await projects.update(tx, project)
            events.emit_of_project(tx, project, events.holiday_added(project, holiday))
            return tx.reply(pb.AddHolidayResponse(holiday=convert.from_holiday(holiday)))

    async def RemoveHoliday(self, request: pb.RemoveHolidayRequest, context: Context) -> pb.RemoveHolidayResponse:
        """A company day less."""
        day = to_date(request.date, "date")
        async with self.db.write() as tx:
            project = await projects.lock(tx, request.project_id)
            check_writable(project)
            if not await calendars.remove_company_day(tx, request.project_id, day):
                raise HolidayNotFound(request.project_id, day)
            project = touch_project(project, self.clock())
            await projects.update(tx, project)
            events.emit_of_project(tx, project, events.holiday_removed(project, request.date))
            return tx.reply(pb.RemoveHolidayResponse())

    async def AddPto(self, request: pb.AddPtoRequest, context: Context) -> pb.AddPtoResponse:
        """New time off; the person stays locked meanwhile, so that two calls cannot both find the days free."""
        pto = convert.to_pto(request.pto, uuid4(), self.clock())
        async with self.db.write() as tx:
            employee = await employees.lock(tx, pto.employee_id)
            check_not_erased(employee)
            check_pto(pto, await calendars.pto_of(tx, pto.employee_id, Days(pto.start_date, pto.end_date)))
            await calendars.add_pto(tx, pto)
            employee = touch_employee(employee, self.clock())
            await employees.update(tx, employee)
            events.emit_of_employee(tx, employee, events.pto_added(pto))
            return tx.reply(pb.AddPtoResponse(pto=convert.from_pto(pto)))

    async def ListPto(self, request: pb.ListPtoRequest, context: Context) -> pb.ListPtoResponse:
        """A page of time off, by start date."""
        page = page_of(request)
        after = (date.fromisoformat(page.after[0]), UUID(page.after[1])) if page.after else None
        wanted = calendars.PtoFilter(
            project_id=request.project_id,
            employee_id=request.employee_id,
            ends_from=to_date_or_none(request.start_date, "start_date"),
            starts_until=to_date_or_none(request.end_date, "end_date"),
        )
        if request.project_id:
            await projects.get(self.db.read, request.project_id)
        if request.employee_id:
            await employees.get(self.db.read, request.employee_id)
        found = await calendars.list_pto_after(self.db.read, after, page.limit, wanted)
        kept, token = page.cut(found, lambda pto: (pto.start_date, pto.pto_id))
        return pb.ListPtoResponse(pto=map(convert.from_pto, kept), next_page_token=token)

    async def CancelPto(self, request: pb.CancelPtoRequest, context: Context) -> pb.CancelPtoResponse:
        """Time off less."""
        pto_id = UUID(request.pto_id)
        async with self.db.write() as tx:
            pto = await calendars.cancel_pto(tx, pto_id)
            if pto is None:
                raise PtoNotFound(pto_id)
            employee = touch_employee(await employees.lock(tx, pto.employee_id), self.clock())
            await employees.update(tx, employee)
            events.emit_of_employee(tx, employee, events.pto_cancelled(pto))
            return tx.reply(pb.CancelPtoResponse())

    async def CheckAvailability(
        self, request: pb.CheckAvailabilityRequest, context: Context
    ) -> pb.CheckAvailabilityResponse:
        """Every holiday and PTO that falls on a working day of the week."""
        days = convert.to_days(request)
        project, company_days = await calendars.company_days(self.db.read, request.project_id, days)
        team = await calendars.team(self.db.read, project, days)
        holidays = holidays_in(days, project.holiday_calendar, company_days)
        return convert.from_conflicts(conflicts(project, days, holidays, team))

    async def GetCapacity(self, request: pb.GetCapacityRequest, context: Context) -> pb.GetCapacityResponse:
        """What the team can work, by person and by day."""
        days = convert.to_days(request)
        project, company_days = await calendars.company_days(self.db.read, request.project_id, days)
        team = await calendars.team(self.db.read, project, days)
        holidays = holidays_in(days, project.holiday_calendar, company_days)
        return convert.from_capacity(capacity(project, days, holidays, team))
