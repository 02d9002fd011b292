"""Schedules, as callers and consumers of events get them, and as the sprint service's events tell of sprints."""

from dsm.events.v1 import event_pb2
from dsm.orchestrator.v1 import schedule_pb2
from dsm.sprint.v1 import sprint_pb2

from services.kit.convert import from_time, to_date
from services.orchestrator.convert.answers import from_options
from services.orchestrator.domain.schedule import CronJob, CronJobState, Keeping, Runner, TrackedSprint, Wish
from services.orchestrator.domain.timetable import Timetable


def from_cron_job(job: CronJob, keeping: Keeping) -> schedule_pb2.CronJob:
    """A cron job; the service's own are in place as soon as they are stored."""
    state = CronJobState.ACTIVE if keeping.runner is Runner.SERVICE else job.state
    return schedule_pb2.CronJob(
        name=job.name,
        project_id=job.project_id,
        sprint_id=job.sprint_id,
        schedule=job.timer.schedule,
        time_zone=job.timer.time_zone,
        runner=schedule_pb2.CronJobRunner.Value(f"CRON_JOB_RUNNER_{keeping.runner}"),
        namespace=keeping.namespace,
        state=schedule_pb2.CronJobState.Value(f"CRON_JOB_STATE_{state}"),
        state_reason=job.state_reason,
        next_run_time=from_time(job.next_run_time),
        last_run_time=from_time(job.last_run_time),
        create_time=from_time(job.create_time),
        last_run_result=job.last_run_result,
    )


def from_wish(wish: Wish) -> schedule_pb2.DailyScrumSchedule:
    """What a project wants."""
    return schedule_pb2.DailyScrumSchedule(
        project_id=wish.project_id,
        wanted=wish.wanted,
        schedule=wish.schedule,
        time_zone=wish.time_zone,
        update_time=from_time(wish.update_time),
    )


def from_timetable(timetable: Timetable) -> schedule_pb2.OrchestrationSchedule:
    """When a project is orchestrated by itself."""
    return schedule_pb2.OrchestrationSchedule(
        project_id=timetable.project_id,
        enabled=timetable.enabled,
        schedule=timetable.timer.schedule,
        time_zone=timetable.timer.time_zone,
        options=from_options(timetable.options),
        next_run_time=from_time(timetable.next_run_time),
        last_run_time=from_time(timetable.last_run_time),
        last_run_result=timetable.last_run_result,
        last_decision_id=str(timetable.last_decision_id or ""),
        update_time=from_time(timetable.update_time),
    )


def to_tracked(sprint: sprint_pb2.Sprint) -> TrackedSprint:
    """What schedules need to know of a sprint."""
    return TrackedSprint(
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        is_open=sprint.state == sprint_pb2.SPRINT_STATE_IN_PROGRESS,
        time_zone=sprint.time_zone or "UTC",
        start=to_date(sprint.start_date, ""),
        end=to_date(sprint.end_date, ""),
        version=sprint.version,
    )


def to_told(event: event_pb2.Event) -> TrackedSprint:
    """What an event tells of a sprint that was started, closed or abandoned."""
    payload = getattr(event, event.WhichOneof("payload") or "")
    return to_tracked(payload.sprint)
