"""Forecasts: what the sprint service says, and what is answered."""

from collections.abc import Iterable, Sequence
from datetime import date, datetime

from dsm.backlog.v1 import task_pb2
from dsm.events.v1 import sprint_events_pb2
from dsm.orchestrator.v1 import forecast_pb2
from dsm.sprint.v1 import sprint_pb2

from services.kit.convert import from_date, from_time, to_date, to_date_or_none
from services.orchestrator.domain.errors import SprintNotInProgress
from services.orchestrator.domain.forecast.calibration import CONFIDENCES, Calibration
from services.orchestrator.domain.forecast.projections import (
    BacklogProjection,
    Basis,
    Closed,
    Closing,
    Running,
    SprintProjection,
)

_BEGUN = (task_pb2.TASK_STATE_IN_PROGRESS, task_pb2.TASK_STATE_BLOCKED)


def to_closed(sprint: sprint_pb2.Sprint) -> Closed:
    """A closed sprint; it ended when it was closed, if that was before its last day."""
    figures, last_day = sprint.statistics, to_date(sprint.end_date, "")
    return Closed(
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        last_day=min(last_day, to_date_or_none(sprint.close_date, "") or last_day),
        planned_tasks=figures.planned_tasks,
        completed_tasks=figures.completed_tasks,
        person_days=figures.capacity_person_days,
        working_days=figures.working_days,
    )


def to_closing(event: sprint_events_pb2.SprintClosed) -> Closing:
    """A sprint that has closed."""
    days = (to_date_or_none(task.complete_date, "") for task in event.completed_tasks)
    return Closing(
        closed=to_closed(event.sprint),
        complete_dates=tuple(sorted(day for day in days if day)),
        all_done=event.sprint.state == sprint_pb2.SPRINT_STATE_COMPLETED,
    )


def to_running(sprint: sprint_pb2.Sprint, as_of: date, today: date) -> Running:
    """An open sprint as it was on the morning of a day, or, if that is today, as it is. Raises SprintNotInProgress."""
    if sprint.state != sprint_pb2.SPRINT_STATE_IN_PROGRESS:
        state = sprint_pb2.SprintState.Name(sprint.state).removeprefix("SPRINT_STATE_")
        raise SprintNotInProgress(sprint.sprint_id, state)
    held = [task for task in sprint.tasks if task.outcome in (0, sprint_pb2.SPRINT_TASK_OUTCOME_COMPLETED)]
    return Running(
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        first_day=to_date(sprint.start_date, ""),
        last_day=to_date(sprint.end_date, ""),
        total_tasks=len(held),
        completed_tasks=sum(_completed(task, as_of, today) for task in held),
        begun_tasks=sum(task.state in _BEGUN for task in held),
    )


def from_sprint(forecast: SprintProjection, calibration: Calibration, now: datetime) -> forecast_pb2.SprintForecast:
    """A forecast of a sprint."""
    sprint = forecast.sprint
    return forecast_pb2.SprintForecast(
        sprint_id=sprint.sprint_id,
        project_id=sprint.project_id,
        end_date=from_date(sprint.last_day),
        remaining_tasks=forecast.remaining_tasks,
        remaining_working_days=forecast.remaining_working_days,
        completion_probability=forecast.probability,
        tasks_by_end=_from_tasks(forecast.tasks),
        completion_dates=_from_dates(forecast.dates),
        basis=_from_basis(forecast.basis),
        calibration=from_calibration(calibration, sprint.project_id),
        create_time=from_time(now),
    )


def from_backlog(forecast: BacklogProjection, calibration: Calibration, now: datetime) -> forecast_pb2.BacklogForecast:
    """A forecast of a backlog."""
    return forecast_pb2.BacklogForecast(
        project_id=forecast.project_id,
        remaining_tasks=forecast.remaining_tasks,
        target_date=from_date(forecast.target_date),
        tasks_by_date=_from_tasks(forecast.tasks or ()),
        task_count=forecast.task_count,
        completion_dates=_from_dates(forecast.dates),
        basis=_from_basis(forecast.basis),
        calibration=from_calibration(calibration, forecast.project_id),
        create_time=from_time(now),
    )


def from_calibration(calibration: Calibration, project_id: str) -> forecast_pb2.ForecastCalibration:
    """How past forecasts of a project, or ("") of all, did."""
    answer = forecast_pb2.ForecastCalibration(
        project_id=project_id,
        forecasts_evaluated=calibration.forecasts,
        brier_score=calibration.brier_score,
        not_enough_data=not calibration.enough,
    )
    for bucket in calibration.buckets:
        answer.buckets.add(
            probability_low=bucket.low,
            probability_high=bucket.high,
            forecasts=bucket.forecasts,
            mean_probability=bucket.mean_probability,
            observed_rate=bucket.observed_rate,
        )
    for percent, observed in zip(CONFIDENCES, calibration.observed, strict=True):
        answer.coverage.add(confidence_percent=percent, forecasts=calibration.forecasts, observed_rate=observed)
    return answer


def _completed(task: sprint_pb2.SprintTask, as_of: date, today: date) -> bool:
    if task.state != task_pb2.TASK_STATE_COMPLETED:
        return False
    day = to_date_or_none(task.complete_date, "")
    return day is None or day < as_of or as_of >= today


def _from_tasks(tasks: Sequence[int]) -> Iterable[forecast_pb2.TasksForecast]:
    counts = zip(CONFIDENCES, tasks, strict=True) if tasks else ()
    return [forecast_pb2.TasksForecast(confidence_percent=percent, task_count=count) for percent, count in counts]


def _from_dates(dates: Sequence[date | None]) -> Iterable[forecast_pb2.DateForecast]:
    return [
        forecast_pb2.DateForecast(confidence_percent=percent, completion_date=day.isoformat() if day else None)
        for percent, day in zip(CONFIDENCES, dates, strict=True)
    ]


def _from_basis(basis: Basis) -> forecast_pb2.ForecastBasis:
    return forecast_pb2.ForecastBasis(
        sampled_days=basis.sampled_days,
        sampled_sprints=basis.sampled_sprints,
        mean_tasks_per_day=basis.mean_tasks_per_day,
        simulations=basis.simulations,
        seed=basis.seed,
        as_of_date=from_date(basis.as_of),
    )
