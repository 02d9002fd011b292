"""`dsm schedule`: what runs by itself, and when."""

from datetime import UTC
from typing import Annotated

import typer
from dsm.orchestrator.v1.orchestrator_service_pb2 import (
    DeleteCronJobRequest,
    GetOrchestrationScheduleRequest,
    ListCronJobsRequest,
    SetOrchestrationScheduleRequest,
)
from dsm.orchestrator.v1.schedule_pb2 import CronJob, CronJobRunner, CronJobState, OrchestrationSchedule
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from services.cli.client import Client, TargetOption, connect
from services.cli.errors import CliError
from services.cli.lookup import word
from services.cli.output import JsonOption, escape, out, print_json, table

_PAGE = 250


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Daily scrums and orchestrations that run by themselves.", no_args_is_help=True)
    group.command("list")(list_schedules)
    group.command("delete")(delete)
    group.command("orchestrate")(orchestrate)
    app.add_typer(group, name="schedule")


def list_schedules(
    project: Annotated[str, typer.Argument(help="The project.", show_default="all")] = "",
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show the cron jobs of daily scrums with their next runs; of one project also when it is orchestrated."""
    with connect(target) as dsm:
        jobs = _jobs(dsm, project)
        schedule = _orchestration(dsm, project) if project else None
    if as_json:
        found: list[Message] = [*jobs, *([schedule] if schedule else [])]
        print_json(found)
        return
    if not jobs:
        out.print("No daily scrum runs by itself: `dsm decide PROJECT` schedules one.")
    else:
        columns = ["Daily scrum", "Schedule", "Run by", "Next run", "Last run"]
        out.print(table("", columns, map(_row, jobs)))
    if schedule and schedule.schedule:
        show_orchestration(schedule)


def delete(
    project: Annotated[str, typer.Argument(help="The project.")],
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """End a project's wish that its daily scrums run by themselves, and delete the cron job of its open sprint."""
    with connect(target) as dsm:
        jobs = _jobs(dsm, project)
        if not jobs:
            raise CliError(f"No daily scrum of {project} runs by itself: there is nothing to delete.")
        request = DeleteCronJobRequest(project_id=project, cron_job_name=jobs[0].name)
        answer = dsm.orchestrator.DeleteCronJob(request)
    if as_json:
        print_json(answer)
    else:
        out.print(escape(answer.message))


def orchestrate(
    project: Annotated[str, typer.Argument(help="The project.")],
    schedule: Annotated[
        str, typer.Argument(help='A cron expression of five fields, as "0 6 * * 1-5".', show_default="as it was")
    ] = "",
    off: Annotated[bool, typer.Option("--off", help="Remember the schedule, and run nothing.")] = False,
    max_tasks: Annotated[
        int, typer.Option(help="Most tasks of a new sprint.", show_default="as it was, else 10", min=0, max=5000)
    ] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Each run decides, and does nothing.")] = False,
    target: TargetOption = "",
    as_json: JsonOption = False,
) -> None:
    """Orchestrate a project by itself: each run is what `dsm decide` does.

    Example: [bold]dsm schedule orchestrate SHOP "0 6 * * 1"[/bold]
    """
    with connect(target) as dsm:
        before = _orchestration(dsm, project)
        if not (schedule or before.schedule):
            raise CliError(
                f"{project} has no schedule yet: name one, as `dsm schedule orchestrate {project} '0 6 * * 1'`."
            )
        options = before.options
        options.dry_run = dry_run
        options.max_tasks_per_sprint = max_tasks or options.max_tasks_per_sprint
        request = SetOrchestrationScheduleRequest(
            project_id=project, enabled=not off, schedule=schedule or before.schedule, options=options
        )
        answer = dsm.orchestrator.SetOrchestrationSchedule(request)
    if as_json:
        print_json(answer)
    else:
        show_orchestration(answer.schedule)


def show_orchestration(schedule: OrchestrationSchedule) -> None:
    """When a project is orchestrated, and what came of the last run."""
    when = f"next on {_time(schedule.next_run_time)}" if schedule.enabled else "switched off"
    out.print(
        f"[bold]{escape(schedule.project_id)}[/bold] is orchestrated at {escape(schedule.schedule)!r} "
        f"({escape(schedule.time_zone)}): {when}."
    )
    if schedule.HasField("last_run_time"):
        out.print(f"Last run {_time(schedule.last_run_time)}: {escape(schedule.last_run_result)}")


def _jobs(dsm: Client, project: str) -> list[CronJob]:
    found: list[CronJob] = []
    token = ""
    while True:
        request = ListCronJobsRequest(project_id=project, page_size=_PAGE, page_token=token)
        answer = dsm.orchestrator.ListCronJobs(request)
        found += answer.cron_jobs
        token = answer.next_page_token
        if not token:
            return found


def _orchestration(dsm: Client, project: str) -> OrchestrationSchedule:
    request = GetOrchestrationScheduleRequest(project_id=project)
    return dsm.orchestrator.GetOrchestrationSchedule(request).schedule


def _row(job: CronJob) -> tuple[object, ...]:
    runner = word(CronJobRunner, job.runner) + (f" ({job.namespace})" if job.namespace else "")
    return (
        job.sprint_id,
        f"{job.schedule}\n{job.time_zone}",
        _lines(runner, word(CronJobState, job.state), job.state_reason),
        _time(job.next_run_time) if job.HasField("next_run_time") else "",
        _lines(_time(job.last_run_time) if job.HasField("last_run_time") else "", job.last_run_result),
    )


def _lines(*parts: str) -> str:
    """Those that say something, one below the other."""
    return "\n".join(filter(None, parts))


def _time(moment: Timestamp) -> str:
    return moment.ToDatetime(tzinfo=UTC).strftime("%Y-%m-%d %H:%M UTC")
