"""Planning: how much a sprint takes, and how it begins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.kit.errors import FailedPrecondition
from services.sprint.domain.assigning import Candidate
from services.sprint.domain.sprint import Sprint, SprintState, SprintTask, TaskState, moved, points_of

# A first sprint: 8 points per person and two weeks, the start that SAFe gives teams without a history.
DEFAULT_POINTS_PER_PERSON_DAY = Decimal("0.8")
# The same where nothing is estimated: one task per person and week.
DEFAULT_TASKS_PER_PERSON_DAY = Decimal("0.2")
HISTORY_SPRINTS = 6
MOST_TASKS = 5000

_CENT = Decimal("0.01")
# What a sprint one place further back counts, compared with the one after it.
_DECAY = Decimal("0.5")


class SprintAlreadyOpen(FailedPrecondition):
    """The project has a sprint that is not closed."""

    reason = "SPRINT_ALREADY_OPEN"

    def __init__(self, project_id: str, sprint_id: str | None = None, state: str | None = None) -> None:
        super().__init__(
            f"Project {project_id} has an open sprint: close it before the next starts.",
            project_id=project_id,
            sprint_id=sprint_id,
            state=state,
        )


class ProjectNotActive(FailedPrecondition):
    """No sprint can start in a project that is not ACTIVE."""

    reason = "PROJECT_NOT_ACTIVE"

    def __init__(self, project_id: str, status: str) -> None:
        super().__init__(
            f"Project {project_id} is {status}: only ACTIVE projects start sprints.",
            project_id=project_id,
            status=status,
        )


class NoUnassignedTasks(FailedPrecondition):
    """No task is free to be planned."""

    reason = "NO_UNASSIGNED_TASKS"

    def __init__(self, project_id: str) -> None:
        super().__init__(f"Project {project_id} has no task that is free to be planned.", project_id=project_id)


class NoCapacity(FailedPrecondition):
    """Nobody can work in the sprint's days."""

    reason = "NO_CAPACITY"

    def __init__(self, project_id: str, start_date: object, end_date: object) -> None:
        super().__init__(
            f"Nobody on the team of {project_id} has capacity between {start_date} and {end_date}.",
            project_id=project_id,
            start_date=start_date,
            end_date=end_date,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """Limits that the caller set; 0, None and () = not set."""

    max_tasks: int = 0
    max_points: Decimal | None = None
    task_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BacklogFigures:
    """What is known of a backlog before planning."""

    free_tasks: int
    estimated_tasks: int
    total_points: Decimal

    @property
    def mean_points(self) -> Decimal:
        """Points of an average estimated task, two decimals; 0 if none has points."""
        if not self.estimated_tasks or not self.total_points:
            return Decimal(0)
        return max(_CENT, (self.total_points / self.estimated_tasks).quantize(_CENT))


@dataclass(frozen=True, slots=True)
class PastSprint:
    """What a closed sprint tells of the team's pace."""

    person_days: Decimal
    points: Decimal
    tasks: int


@dataclass(frozen=True, slots=True)
class Limit:
    """How much planning takes, at most: tasks (0 = any number), points (None = any), and where that comes from."""

    max_tasks: int
    max_points: Decimal | None
    unestimated_points: Decimal
    basis: str


@dataclass(frozen=True, slots=True)
class Reserved:
    """A task as the backlog gave it for a sprint, with both services' versions of it."""

    candidate: Candidate
    title: str
    progress_percent: int
    version: int
    backlog_version: int


def limit_of(asked: Asked, backlog: BacklogFigures, history: Sequence[PastSprint], person_days: Decimal) -> Limit:
    """How much to take: what is asked, else person-days times the team's pace, else times a default.

    `history` is the newest sprint first. A backlog without a single point is limited in tasks instead.
    """
    if asked.task_ids or asked.max_tasks or asked.max_points is not None:
        return Limit(asked.max_tasks, asked.max_points, backlog.mean_points, _asked_basis(asked))
    if backlog.mean_points:
        rate, source = _rate([(past.points, past.person_days) for past in history], DEFAULT_POINTS_PER_PERSON_DAY)
        points = max(_CENT, (person_days * rate).quantize(_CENT))
        basis = f"{_plain(points)} points: {_plain(person_days)} person-days x {_plain(rate)} points per person-day, "
        return Limit(0, points, backlog.mean_points, f"{basis}{source}.")
    rate, source = _rate([(Decimal(past.tasks), past.person_days) for past in history], DEFAULT_TASKS_PER_PERSON_DAY)
    tasks = min(MOST_TASKS, max(1, int(person_days * rate)))
    basis = f"{tasks} tasks, none being estimated: {_plain(person_days)} person-days x {_plain(rate)} tasks per "
    return Limit(tasks, None, Decimal(0), f"{basis}person-day, {source}.")


def weighted_rate(history: Sequence[tuple[Decimal, Decimal]]) -> Decimal | None:
    """Work per person-day over past sprints, newest first: sum(w * work) / sum(w * person_days), w = 1, 1/2, 1/4 …

    A ratio of sums (Cochran, Sampling Techniques, chapter 6), so that a sprint of few days does not count as much as
    one of many, with weights of exponential smoothing (Brown 1959), so that the team of today counts more than that
    of a year ago. None if the sprints had no person-days or no work.
    """
    weights = [_DECAY**age for age in range(len(history))]
    work = sum((w * done for w, (done, _) in zip(weights, history, strict=True)), Decimal(0))
    days = sum((w * person_days for w, (_, person_days) in zip(weights, history, strict=True)), Decimal(0))
    return work / days if work > 0 and days > 0 else None


def begin(
    sprint: Sprint,
    reserved: Sequence[Reserved],
    assignees: Mapping[str, str],
    versions: Mapping[str, int],
    now: datetime,
) -> tuple[Sprint, list[SprintTask]]:
    """The sprint under way, and its tasks in planning order, each with the version after its last one.

    `versions` are the last ones known here; the backlog's memory of them counts too, should it be the newer.
    """
    tasks = [
        SprintTask(
            sprint_id=sprint.sprint_id,
            task_id=task.candidate.task_id,
            project_id=sprint.project_id,
            title=task.title,
            points=task.candidate.points,
            state=TaskState.ASSIGNED_TO_SPRINT,
            assignee_id=assignees[task.candidate.task_id],
            progress_percent=task.progress_percent,
            version=max(task.version, versions.get(task.candidate.task_id, 0)) + 1,
            position=position,
            add_date=sprint.start_date,
            complete_date=None,
            outcome=None,
            update_time=now,
            backlog_version=task.backlog_version,
        )
        for position, task in enumerate(reserved, start=1)
    ]
    started = replace(
        moved(sprint, SprintState.IN_PROGRESS, now), planned_tasks=len(tasks), planned_points=points_of(tasks)
    )
    return started, tasks


def _rate(history: Sequence[tuple[Decimal, Decimal]], default: Decimal) -> tuple[Decimal, str]:
    rate = weighted_rate(history)
    if rate is None:
        return default, "the default for a team without a closed sprint to learn from"
    rate = max(Decimal("0.0001"), rate.quantize(Decimal("0.0001")))
    sprints = "the last closed sprint" if len(history) == 1 else f"the last {len(history)} closed sprints"
    return rate, f"the pace of {sprints}, recent ones counted more"


def _asked_basis(asked: Asked) -> str:
    parts = []
    if asked.task_ids:
        parts.append(f"the {len(asked.task_ids)} tasks named")
    if asked.max_tasks:
        parts.append(f"at most {asked.max_tasks} tasks")
    if asked.max_points is not None:
        parts.append(f"at most {_plain(asked.max_points)} points")
    return f"As asked: {', '.join(parts)}."


def _plain(number: Decimal) -> str:
    return f"{number.normalize():f}"
