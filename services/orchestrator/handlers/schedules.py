"""Schedules: cron jobs of daily scrums, and orchestrations by themselves."""

from dataclasses import replace

from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1 import schedule_pb2
from dsm.project.v1 import project_pb2

from services.kit.data.paging import page_of
from services.kit.serving.gate import Context
from services.orchestrator import events
from services.orchestrator.convert import requests
from services.orchestrator.convert import schedules as convert
from services.orchestrator.domain.errors import CronJobNotFound, ProjectArchived
from services.orchestrator.domain.schedule import Timer, check_schedule
from services.orchestrator.domain.timetable import Timetable
from services.orchestrator.handlers.room import Room
from services.orchestrator.store import schedules, timetables


class ScheduleHandlers(Room):
    """ListCronJobs, DeleteCronJob, GetOrchestrationSchedule and SetOrchestrationSchedule."""

    async def ListCronJobs(self, request: pb.ListCronJobsRequest, context: Context) -> pb.ListCronJobsResponse:
        """Cron jobs by project and sprint."""
        found, token = await schedules.page_of_jobs(self.db.read, request.project_id, page_of(request))
        jobs = [convert.from_cron_job(job, self.keeping) for job in found]
        return pb.ListCronJobsResponse(cron_jobs=jobs, next_page_token=token)

    async def DeleteCronJob(self, request: pb.DeleteCronJobRequest, context: Context) -> pb.DeleteCronJobResponse:
        """End a project's wish, and with it the cron job."""
        now = self.now()
        async with self.db.write() as tx:
            job = await schedules.find_job(tx, request.project_id, request.cron_job_name)
            wish = await schedules.find_wish(tx, request.project_id)
            if job is None or wish is None:
                raise CronJobNotFound(request.project_id, request.cron_job_name)
            ended = await schedules.put_wish(tx, replace(wish, wanted=False, update_time=now))
            if ended:
                events.wish_changed(tx, ended)
            await schedules.sync(tx, [request.project_id], now)
            answer = pb.DeleteCronJobResponse(
                cron_job=convert.from_cron_job(job, self.keeping),
                schedule=convert.from_wish(ended or wish),
                message=f"{job.name} is deleted, and sprints of {job.project_id} get no new one.",
            )
            return tx.reply(answer)

    async def GetOrchestrationSchedule(
        self, request: pb.GetOrchestrationScheduleRequest, context: Context
    ) -> pb.GetOrchestrationScheduleResponse:
        """When a project is orchestrated by itself."""
        if timetable := await timetables.find(self.db.read, request.project_id):
            return pb.GetOrchestrationScheduleResponse(schedule=convert.from_timetable(timetable))
        project = await self.observer.project(request.project_id)
        never = schedule_pb2.OrchestrationSchedule(project_id=request.project_id, time_zone=project.time_zone)
        return pb.GetOrchestrationScheduleResponse(schedule=never)

    async def SetOrchestrationSchedule(
        self, request: pb.SetOrchestrationScheduleRequest, context: Context
    ) -> pb.SetOrchestrationScheduleResponse:
        """Set it, as a whole."""
        options = requests.to_options(request.options)
        if options.schedule:
            check_schedule(options.schedule, "options.schedule")
        schedule = check_schedule(request.schedule, "schedule")
        project = await self.observer.project(request.project_id)
        if project.status == project_pb2.PROJECT_STATUS_ARCHIVED:
            raise ProjectArchived(request.project_id)
        now, timer = self.now(), Timer(schedule, project.time_zone or "UTC")
        timetable = Timetable(request.project_id, request.enabled, timer, options, now)
        if request.enabled:
            timetable = replace(timetable, next_run_time=timer.next_after(now))
        async with self.db.write() as tx:
            stored = await timetables.put(tx, timetable)
            events.timetable_changed(tx, stored)
            return tx.reply(pb.SetOrchestrationScheduleResponse(schedule=convert.from_timetable(stored)))
