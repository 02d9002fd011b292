"""The situation of a project: what was asked, what was seen, and the analysis that a decision rests on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from services.orchestrator.domain.errors import DateOutOfRange
from services.orchestrator.domain.schedule import check_schedule

DEFAULT_MAX_TASKS = 10
LONGEST_SPRINT_WEEKS = 6
NO_ACTIVE_SPRINT = "NO_ACTIVE_SPRINT"


class OrchestrateAction(StrEnum):
    """What a call asks for."""

    ANALYZE_AND_ORCHESTRATE = "ANALYZE_AND_ORCHESTRATE"
    ANALYZE_ONLY = "ANALYZE_ONLY"


class SprintState(StrEnum):
    """States of a sprint that is not closed."""

    PLANNING = "PLANNING"
    IN_PROGRESS = "IN_PROGRESS"
    CLOSING = "CLOSING"


class Trend(StrEnum):
    """Direction of the velocity over the closed sprints."""

    RISING = "RISING"
    STABLE = "STABLE"
    FALLING = "FALLING"


@dataclass(frozen=True)
class Options:
    """The options of a call as given; None and 0 stand for the defaults that the properties tell."""

    create_sprint_if_needed: bool | None = None
    assign_tasks: bool | None = None
    create_cronjob: bool | None = None
    schedule: str = ""
    sprint_duration_weeks: int = 0
    max_tasks_per_sprint: int = 0
    dry_run: bool = False
    close_finished_sprint: bool | None = None
    start_date: date | None = None
    as_of_date: date | None = None
    roll_over_unfinished: bool = False

    @property
    def may_start(self) -> bool:
        """A sprint holds tasks, so both wishes are needed to start one."""
        return self.create_sprint_if_needed is not False and self.assign_tasks is not False

    @property
    def may_close(self) -> bool:
        """Whether a finished sprint may be closed."""
        return self.close_finished_sprint is not False

    @property
    def may_schedule(self) -> bool:
        """Whether the daily scrum may be scheduled."""
        return self.create_cronjob is not False

    @property
    def max_tasks(self) -> int:
        """Most tasks of a new sprint."""
        return self.max_tasks_per_sprint or DEFAULT_MAX_TASKS


@dataclass(frozen=True)
class Membership:
    """A person's place on the team, from the first to the last day (None = no end)."""

    start: date
    end: date | None


@dataclass(frozen=True)
class Backlog:
    """Tasks of the backlog by state, and the points of the unassigned ones."""

    total: int = 0
    unassigned: int = 0
    assigned_to_sprint: int = 0
    in_progress: int = 0
    blocked: int = 0
    completed: int = 0
    cancelled: int = 0
    unassigned_points: float = 0

    @property
    def open(self) -> int:
        """Tasks that are neither completed nor cancelled."""
        return self.unassigned + self.assigned_to_sprint + self.in_progress + self.blocked


@dataclass(frozen=True)
class OpenSprint:
    """The sprint of a project that is not closed. `end` is included."""

    sprint_id: str
    name: str
    state: SprintState
    start: date
    end: date
    time_zone: str
    total_tasks: int
    completed_tasks: int
    blocked_tasks: int

    @property
    def pending_tasks(self) -> int:
        """Tasks that are not completed."""
        return self.total_tasks - self.completed_tasks

    def finished(self, today: date) -> bool:
        """All its tasks are done, or its last day has passed."""
        return self.end < today or (self.total_tasks > 0 and self.pending_tasks == 0)


@dataclass(frozen=True)
class ClosedSprint:
    """What one closed sprint came to. Points and person-days; None = not known."""

    sprint_id: str
    start: date
    end: date
    completed_tasks: int
    completed_points: float
    completion_rate: float | None
    planned_tasks: int | None = None
    planned_points: float | None = None
    person_days: float | None = None


@dataclass(frozen=True)
class Velocity:
    """The closed sprints of a project, oldest first, with what the chronicle makes of them."""

    sprints: tuple[ClosedSprint, ...] = ()
    trend: Trend | None = None
    points_per_person_day: float | None = None


@dataclass(frozen=True)
class Patterns:
    """What the closed sprints have in common: means, None = not known; and the most frequent impediments."""

    closed_sprints: int
    duration_days: float
    completed_tasks: float
    completion_rate: float | None
    trend: Trend | None
    points_per_person_day: float | None
    impediments: tuple[str, ...] = ()


@dataclass(frozen=True)
class ScorePart:
    """One part of a score: score and weight 0 to 1, and what the score rests on."""

    name: str
    score: float
    weight: float
    explanation: str


@dataclass(frozen=True)
class SimilarProject:
    """Another project that resembles this one, with its closed sprints and lessons. `similarity` is 0 to 1."""

    project_id: str
    similarity: float
    parts: tuple[ScorePart, ...] = ()
    closed_sprints: int = 0
    completion_rate: float | None = None
    team_size: int = 0
    sprints: tuple[ClosedSprint, ...] = ()
    lessons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Risk:
    """Predicted risk of a sprint, 0 to 1, with the parts that the whole is made of.

    `overload` is the chance that it holds more than its person-days can bear; None = not known.
    """

    overall: float
    sprint_failure: float
    confidence: float
    parts: tuple[ScorePart, ...] = ()
    overload: float | None = None


@dataclass(frozen=True)
class Observation:
    """Everything that was seen, before anybody thought about it. None = could not be had; `degraded` says what."""

    project_id: str
    today: date
    team: tuple[Membership, ...]
    backlog: Backlog
    sprint: OpenSprint | None
    capacity_by_day: Mapping[date, float] | None
    velocity: Velocity | None
    similar: tuple[SimilarProject, ...] = ()
    impediments: tuple[str, ...] = ()
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True)
class Glance:
    """What a status shows of a project; None = could not be had, and `degraded` says what."""

    backlog: Backlog | None
    # One or none.
    sprints: Sequence[OpenSprint] | None
    velocity: Velocity | None
    degraded: tuple[str, ...]

    @property
    def sprint(self) -> OpenSprint | None:
        """The open sprint, if there is one and it is known."""
        return self.sprints[0] if self.sprints else None

    @property
    def sprint_status(self) -> str:
        """Its state; empty = not known."""
        if self.sprints is None:
            return ""
        return self.sprint.state if self.sprint else NO_ACTIVE_SPRINT


@dataclass(frozen=True)
class Analysis:
    """The figures that a decision rests on."""

    as_of_date: date
    team_size: int
    backlog_tasks: int
    unassigned_tasks: int
    unassigned_points: float
    active_sprint_id: str = ""
    active_sprint_state: SprintState | None = None
    active_sprint_finished: bool = False
    active_sprint_pending: int = 0
    capacity_person_days: float | None = None
    patterns: Patterns | None = None
    similar: tuple[SimilarProject, ...] = ()
    risk: Risk | None = None

    @property
    def closable_sprint_id(self) -> str:
        """The open sprint, if it is finished and not being closed already."""
        closable = self.active_sprint_finished and self.active_sprint_state is SprintState.IN_PROGRESS
        return self.active_sprint_id if closable else ""

    @property
    def available_tasks(self) -> int:
        """Tasks that a new sprint can take: the unassigned ones, and those that closing the finished sprint frees."""
        return self.unassigned_tasks + (self.active_sprint_pending if self.closable_sprint_id else 0)


def check_options(options: Options, today: date) -> date:
    """The day that counts as today; DateOutOfRange or ScheduleInvalid if the options ask for what cannot be."""
    if options.as_of_date and options.as_of_date > today:
        raise DateOutOfRange("options.as_of_date", f"must not be after {today.isoformat()}", options.as_of_date)
    if options.schedule:
        check_schedule(options.schedule, "options.schedule")
    return options.as_of_date or today


def analyze(seen: Observation) -> Analysis:
    """The figures behind a decision; the capacity is added once the sprint's days are known."""
    sprint = seen.sprint
    return Analysis(
        as_of_date=seen.today,
        team_size=sum(m.start <= seen.today and (m.end is None or seen.today <= m.end) for m in seen.team),
        backlog_tasks=seen.backlog.open,
        unassigned_tasks=seen.backlog.unassigned,
        unassigned_points=seen.backlog.unassigned_points,
        active_sprint_id=sprint.sprint_id if sprint else "",
        active_sprint_state=sprint.state if sprint else None,
        active_sprint_finished=bool(sprint and sprint.finished(seen.today)),
        active_sprint_pending=sprint.pending_tasks if sprint else 0,
        patterns=patterns_of(seen.velocity, seen.impediments) if seen.velocity else None,
        similar=seen.similar,
    )


def patterns_of(velocity: Velocity, impediments: Sequence[str] = ()) -> Patterns | None:
    """Means over the closed sprints; None without any."""
    sprints = velocity.sprints
    if not sprints:
        return None
    rates = [sprint.completion_rate for sprint in sprints if sprint.completion_rate is not None]
    return Patterns(
        closed_sprints=len(sprints),
        duration_days=sum((sprint.end - sprint.start).days + 1 for sprint in sprints) / len(sprints),
        completed_tasks=sum(sprint.completed_tasks for sprint in sprints) / len(sprints),
        completion_rate=sum(rates) / len(rates) if rates else None,
        trend=velocity.trend,
        points_per_person_day=velocity.points_per_person_day,
        impediments=tuple(impediments),
    )


def capacity_of(seen: Observation, start: date | None, weeks: int) -> float | None:
    """Person-days of a sprint of so many weeks; None if there is no sprint, or the capacity is not known."""
    if seen.capacity_by_day is None or start is None:
        return None
    days = (start + timedelta(days=offset) for offset in range(7 * weeks))
    # Days that are not worked are not in the mapping.
    return round(sum(seen.capacity_by_day.get(day, 0.0) for day in days), 4)
