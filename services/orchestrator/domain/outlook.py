"""Where a project is heading: the risk of its open sprint, or of the next one."""

from datetime import date

from services.orchestrator.domain.outcome import SUCCESS_RATE
from services.orchestrator.domain.situation import OpenSprint, Risk, ScorePart, Velocity

LEAST_SPRINTS = 3


def predict(
    velocity: Velocity | None, sprint: OpenSprint | None, today: date, overload: float | None = None
) -> Risk | None:
    """The risk of the open sprint, or of the next one; None with fewer than three closed sprints of known outcome.

    The chance of failure is (failed + 1) / (closed + 2), Laplace's rule of succession, where a sprint failed that
    completed less than 80 % of its tasks. With an open sprint the whole is half of that, 0.3 of how far the completed
    share lags behind the elapsed share of the sprint's days, and 0.2 of the share of its tasks that are blocked.
    Without one it is the chance of failure, or the mean of that and of the chance that the plan is too much,
    `overload`, where this is known. The confidence is closed / (closed + 2), the outcomes' weight in Laplace's rule.
    """
    rates = [s.completion_rate for s in velocity.sprints if s.completion_rate is not None] if velocity else []
    if len(rates) < LEAST_SPRINTS:
        return None
    failed = sum(rate < SUCCESS_RATE for rate in rates)
    failure = (failed + 1) / (len(rates) + 2)
    told = f"{failed} of {len(rates)} closed sprints completed less than {SUCCESS_RATE:.0%} of their tasks."
    if sprint and sprint.total_tasks:
        parts: tuple[ScorePart, ...] = (
            ScorePart("sprint_failure", failure, 0.5, told),
            ScorePart("lag", _lag(sprint, today), 0.3, "How far the completed tasks lag behind the elapsed days."),
            ScorePart(
                "blocked",
                sprint.blocked_tasks / sprint.total_tasks,
                0.2,
                f"{sprint.blocked_tasks} of {sprint.total_tasks} tasks are blocked.",
            ),
        )
    elif overload is not None:
        parts = (
            ScorePart("sprint_failure", failure, 0.5, told),
            ScorePart("capacity_overload", overload, 0.5, "Chance that the plan is more than the days can bear."),
        )
    else:
        parts = (ScorePart("sprint_failure", failure, 1.0, told),)
    overall = min(1.0, sum(part.weight * part.score for part in parts))
    return Risk(overall, failure, len(rates) / (len(rates) + 2), parts, overload)


def _lag(sprint: OpenSprint, today: date) -> float:
    days = (sprint.end - sprint.start).days + 1
    elapsed = min(1.0, max(0.0, (today - sprint.start).days / days))
    return max(0.0, elapsed - sprint.completed_tasks / sprint.total_tasks)
