"""Assigning: who gets what, in proportion to capacity, as far as may be who has it already or has the skills."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from services.sprint.domain.sprint import Member

_CENT = Decimal("0.01")


@dataclass(frozen=True, slots=True)
class Candidate:
    """A task to be given to somebody. `assignee_id` is who has it now; tags in lower case."""

    task_id: str
    points: Decimal | None
    assignee_id: str = ""
    tags: frozenset[str] = frozenset()


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


def _by_id(member: Member) -> str:
    return member.employee_id
