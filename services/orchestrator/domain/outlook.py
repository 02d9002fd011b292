"""Where a project is heading: trends of its closed sprints, and the risk of the open one."""

from dataclasses import dataclass
from datetime import date

from services.orchestrator.domain.outcome import SUCCESS_RATE
from services.orchestrator.domain.situation import OpenSprint, Velocity

LEAST_SPRINTS = 3


@dataclass(frozen=True)
class Risk:
    """Predicted risk, 0 to 1."""

    overall: float
    sprint_failure: float


def predict(velocity: Velocity | None, sprint: OpenSprint | None, today: date) -> Risk | None:
    """The risk of the open sprint, or of the next one; None with fewer than three closed sprints of known outcome.

    The chance of failure is (failed + 1) / (closed + 2), Laplace's rule of succession, where a sprint failed that
    completed less than 80 % of its tasks. Without an open sprint that is the whole risk. With one, the whole is half of
    it, 0.3 of how far the completed share lags behind the elapsed share of the sprint's days, and 0.2 of the share of
    its tasks that are blocked.
    """
    rates = [s.completion_rate for s in velocity.sprints if s.completion_rate is not None] if velocity else []
    if len(rates) < LEAST_SPRINTS:
        return None
    failure = (sum(rate < SUCCESS_RATE for rate in rates) + 1) / (len(rates) + 2)
    if sprint is None or sprint.total_tasks == 0:
        return Risk(failure, failure)
    overall = 0.5 * failure + 0.3 * _lag(sprint, today) + 0.2 * sprint.blocked_tasks / sprint.total_tasks
    return Risk(min(1.0, overall), failure)


def _lag(sprint: OpenSprint, today: date) -> float:
    days = (sprint.end - sprint.start).days + 1
    elapsed = min(1.0, max(0.0, (today - sprint.start).days / days))
    return max(0.0, elapsed - sprint.completed_tasks / sprint.total_tasks)
