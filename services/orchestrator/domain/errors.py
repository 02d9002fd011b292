"""The orchestrator's own errors."""

from datetime import date

from services.kit.errors import Aborted, Code, FailedPrecondition, InvalidArgument, NotFound

# A call that ended so may have had its effect, or may have it when it is tried again.
UNDECIDED = {Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED, Code.ABORTED, Code.RESOURCE_EXHAUSTED, Code.CANCELLED}


class OrchestrationInProgress(Aborted):
    """Another call works on the project."""

    reason = "ORCHESTRATION_IN_PROGRESS"
    retry_after = 1.0

    def __init__(self, project_id: str) -> None:
        super().__init__(f"{project_id} is being orchestrated by another call: try again.", project_id=project_id)


class ProjectNotActive(FailedPrecondition):
    """No sprint can start in the project."""

    reason = "PROJECT_NOT_ACTIVE"

    def __init__(self, project_id: str, status: str) -> None:
        super().__init__(f"{project_id} is {status}: make it ACTIVE first.", project_id=project_id, status=status)


class ProjectArchived(FailedPrecondition):
    """The project is read-only."""

    reason = "PROJECT_ARCHIVED"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"{project_id} is ARCHIVED and read-only.", project_id=project_id)


class DateOutOfRange(InvalidArgument):
    """A day that makes no sense for the call."""

    reason = "DATE_OUT_OF_RANGE"

    def __init__(self, field: str, rule: str, value: date) -> None:
        super().__init__(field, rule, value.isoformat())


class ScheduleInvalid(InvalidArgument):
    """No cron expression of five fields."""

    reason = "SCHEDULE_INVALID"

    def __init__(self, field: str, value: str) -> None:
        super().__init__(field, 'must be a cron expression of five fields, as "0 14 * * 1-5"', value)


class CronJobNotFound(NotFound):
    """The project has no cron job of this name."""

    reason = "CRON_JOB_NOT_FOUND"

    def __init__(self, project_id: str, name: str) -> None:
        super().__init__(f"{project_id} has no cron job {name!r}.", project_id=project_id, cron_job_name=name)


class NotEnoughData(FailedPrecondition):
    """History is too short for the figure asked for."""

    reason = "NOT_ENOUGH_DATA"

    def __init__(self, needed: int, have: int) -> None:
        super().__init__(
            f"A forecast needs {needed} closed sprint of the team, and there are {have}: close one first.",
            needed=needed,
            have=have,
        )


class SprintNotInProgress(FailedPrecondition):
    """The sprint is not under way."""

    reason = "SPRINT_NOT_IN_PROGRESS"

    def __init__(self, sprint_id: str, state: str) -> None:
        super().__init__(
            f"{sprint_id} is {state}: only a sprint under way is forecast.", sprint_id=sprint_id, state=state
        )
