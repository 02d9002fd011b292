"""Planning: how much a sprint takes, and who gets what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal

from services.kit.errors import FailedPrecondition
from services.sprint.domain.sprint import Member, Sprint, SprintState, SprintTask, TaskState, moved, points_of

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
class Candidate:
    """A task to be given to somebody. `assignee_id` is who has it now; tags in lower case."""

    task_id: str
    points: Decimal | None
    assignee_id: str = ""
    tags: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Reserved:
    """A task as the backlog gave it for a sprint, with both services' versions of it."""

    candidate: Candidate
    title: str
    progress_percent: int
    version: int
    backlog_version: int


@dataclass(frozen=True, slots=True)
class Reassignment:
    """A task that changed hands, and why."""

    task_id: str
    from_employee_id: str
    to_employee_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Assignment:
    """Who gets each task, and what changed hands."""

    assignees: Mapping[str, str]
    reassignments: tuple[Reassignment, ...] = ()


@dataclass(frozen=True, slots=True)
class PersonLoad:
    """What one person got."""

    employee_id: str
    person_days: Decimal
    tasks: int
    points: Decimal


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


def assign(candidates: Sequence[Candidate], members: Sequence[Member]) -> Assignment:
    """Give every task to somebody with capacity.

    Each person's share of the points is proportional to capacity: |points_i - total * cap_i / sum(cap)| is at most the
    largest task, tasks without points counted as the mean of the others (1 if there is none). Within that, a task
    stays with who has it, then goes to who has its skills, then to whoever lacks most of the share; equals take turns.

    Why the bound holds: call share minus load a person's deficit; deficits sum to the points not yet given. Tasks are
    first kept or matched by skill only while all surpluses together stay within the largest task m. The rest goes,
    task by task, to the largest deficit, which is not negative, so no surplus passes m. If at the end somebody's
    deficit were D > m, everybody who was given a task in that last phase had at least D just before it and so ends
    above 0; only the surpluses of the first phase are below 0 and balance D, but they are at most m.
    """
    team = [member for member in members if member.person_days > 0]
    if not team:
        return Assignment({c.task_id: "" for c in candidates}, _without_team(candidates))
    split = _Split(candidates, team)
    open_tasks = _keep(split, candidates)
    open_tasks = _match(split, open_tasks, {m.employee_id: m.skills for m in team})
    # Large ones first, which leaves the small ones to even out the loads (Graham 1969); equal ones by rank.
    for candidate in sorted(open_tasks, key=lambda c: -split.size(c)):
        split.give(candidate, split.neediest(candidate))
    present = {member.employee_id: member.person_days for member in members}
    reassignments = tuple(
        Reassignment(c.task_id, c.assignee_id, split.assignees[c.task_id], _why_moved(c.assignee_id, present))
        for c in candidates
        if c.assignee_id and c.assignee_id != split.assignees[c.task_id]
    )
    return Assignment(split.assignees, reassignments)


def keep_assignees(candidates: Sequence[Candidate]) -> Assignment:
    """Leave every task with who has it, or with nobody."""
    return Assignment({c.task_id: c.assignee_id for c in candidates})


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


def loads(members: Sequence[Member], given: Sequence[tuple[str, Decimal | None]]) -> tuple[PersonLoad, ...]:
    """What each person got, by employee id; `given` is (assignee, points) per task."""
    found = {m.employee_id: PersonLoad(m.employee_id, m.person_days, 0, Decimal(0)) for m in members}
    for assignee_id, points in given:
        if assignee_id:
            load = found.get(assignee_id) or PersonLoad(assignee_id, Decimal(0), 0, Decimal(0))
            found[assignee_id] = replace(load, tasks=load.tasks + 1, points=load.points + (points or 0))
    return tuple(found[employee_id] for employee_id in sorted(found))


class _Split:
    """Tasks being given out. Whole numbers only, so that the bound is exact: points and person-days in fine units,
    deficits multiplied by the team's capacity."""

    def __init__(self, candidates: Sequence[Candidate], team: Sequence[Member]) -> None:
        self._default = _default_points([c.points for c in candidates if c.points is not None])
        self._capacity = {m.employee_id: int(m.person_days * 10_000) or 1 for m in sorted(team, key=_by_id)}
        self._sum = sum(self._capacity.values())
        total = sum(map(self.size, candidates))
        self._deficit = {who: total * capacity for who, capacity in self._capacity.items()}
        self._slack = max(map(self.size, candidates), default=0) * self._sum
        self._tasks = dict.fromkeys(self._capacity, 0)
        self.assignees: dict[str, str] = {}

    def size(self, candidate: Candidate) -> int:
        """What a task counts, in hundredths of a point."""
        return int((self._default if candidate.points is None else candidate.points) * 100)

    def has(self, employee_id: str) -> bool:
        """True if the person can be given tasks."""
        return employee_id in self._capacity

    def give(self, candidate: Candidate, employee_id: str) -> None:
        """Give a task to a person."""
        self.assignees[candidate.task_id] = employee_id
        self._deficit[employee_id] -= self.size(candidate) * self._sum
        self._tasks[employee_id] += 1

    def fits(self, candidate: Candidate, employee_id: str) -> bool:
        """True if the task is within what is left of the person's share."""
        return self._deficit[employee_id] >= self.size(candidate) * self._sum

    def room(self, candidate: Candidate, employee_id: str) -> bool:
        """True if it fits, or passes the share so little that all surpluses stay within the largest task together."""
        if self.fits(candidate, employee_id):
            return True
        deficit = self._deficit[employee_id]
        surplus = sum(max(0, -other) for who, other in self._deficit.items() if who != employee_id)
        return deficit > 0 and surplus + self.size(candidate) * self._sum - deficit <= self._slack

    def neediest(self, candidate: Candidate) -> str:
        """Who lacks most of the share; among equals who has the task now, then who has fewest tasks, then by id."""
        return min(
            self._capacity,
            key=lambda who: (-self._deficit[who], who != candidate.assignee_id, self._tasks[who], who),
        )

    def skilled(self, candidate: Candidate, skills: Mapping[str, frozenset[str]]) -> str:
        """Who has most of the task's skills and room for it, then who lacks most of the share; "" if nobody."""
        matches = {who: len(candidate.tags & skills[who]) for who in self._capacity}
        return min(
            (who for who, match in matches.items() if match and self.room(candidate, who)),
            key=lambda who: (-matches[who], -self._deficit[who], self._tasks[who], who),
            default="",
        )


def _keep(split: _Split, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Leave tasks with who has them, first those within the share, then those that pass it a little; the others."""
    owned = [c for c in candidates if split.has(c.assignee_id)]
    for candidate in owned:
        if split.fits(candidate, candidate.assignee_id):
            split.give(candidate, candidate.assignee_id)
    for candidate in owned:
        if candidate.task_id not in split.assignees and split.room(candidate, candidate.assignee_id):
            split.give(candidate, candidate.assignee_id)
    return [c for c in candidates if c.task_id not in split.assignees]


def _match(split: _Split, candidates: Sequence[Candidate], skills: Mapping[str, frozenset[str]]) -> list[Candidate]:
    """Give tasks to who has their skills and room for them; the others."""
    for candidate in candidates:
        skilled = split.skilled(candidate, skills)
        if skilled:
            split.give(candidate, skilled)
    return [c for c in candidates if c.task_id not in split.assignees]


def _default_points(estimates: Sequence[Decimal]) -> Decimal:
    total = sum(estimates, Decimal(0))
    return max(_CENT, (total / len(estimates)).quantize(_CENT)) if total else Decimal(1)


def _without_team(candidates: Sequence[Candidate]) -> tuple[Reassignment, ...]:
    reason = "Nobody has capacity in these days."
    return tuple(Reassignment(c.task_id, c.assignee_id, "", reason) for c in candidates if c.assignee_id)


def _why_moved(employee_id: str, present: Mapping[str, Decimal]) -> str:
    if employee_id not in present:
        return f"{employee_id} is not on the team in these days."
    if not present[employee_id]:
        return f"{employee_id} has no capacity in these days."
    return f"{employee_id} has as many points already as the capacity allows."


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


def _by_id(member: Member) -> str:
    return member.employee_id
