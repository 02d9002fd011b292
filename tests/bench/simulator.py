"""Simulated teams with a hidden true pace, for the benchmark of decisions: pure, and the same for the same seed.

Everything that happens to a team (its tasks, its calendar, its good and bad weeks) is drawn before the first sprint, so
that every way of deciding meets the same fate. In a sprint as many tasks are under way as there are people; whoever has
finished one begins the next, and when nothing is left to begin, people help each other: no hour is lost while there is
work. What is begun and not finished goes back to the head of the backlog with its progress. Nothing is lost by that
either, nor is anybody slower for having too much to do: all of this favours plans that are too large, so what is found
against them is found in spite of it. When the work runs out, the team waits for the next sprint: sprints have a fixed
rhythm.

Where the distributions come from (P22: one team of three over 13 sprints of two weeks with booked hours, 2022; BOARDS:
1,227 sprints of public boards, Choetkiertikul et al., IEEE TSE 2017, doi 10.1109/TSE.2017.2693989; TRACKERS: the story
points of six public issue trackers, Choetkiertikul et al., IEEE TSE 2018, doi 10.1109/TSE.2018.2792473):

- load: what the rules would plan against what the team can do. BOARDS deliver at the median 0.89 of what stood in the
  plan, quartiles 0.50 and 1.38 (sprints of five issues and more): capacity / plan is lognormal around 0.9 with a
  deviation of 0.5; the rest of that spread is noise within teams.
- noise of the pace from sprint to sprint, beyond that of the tasks: P22 0.16 points per hour (coefficient of
  variation), of which tasks of uneven effort explain 0.11, leaving 0.12; BOARDS 0.85 (log deviation of neighbours, with
  changes of team and scope, which capacity would explain). Steady 0.12, ordinary 0.2, noisy 0.45. Weeks of one team go
  together (correlation 0.5), since trouble lasts longer than a week.
- drift: P22 went from 70 to 126 points a sprint in 13 sprints, 4.6 % each. Drifting teams change by 2 to 5 % a sprint,
  up or down. A new team begins at half to 0.7 of its pace and has it after six sprints, as P22 did.
- effort of a task around its points: P22 has a log deviation of 0.59 hours per point over 488 stories.
- sizes: TRACKERS have log deviations of 0.49 to 1.18 (median 0.73), rounded to the usual cards. Sizes of neighbours
  go together (correlation up to 0.38): means of ten in a row spread 1.0 to 2.0 times what chance would give.
- people: BOARDS have at most 6 in nine of ten sprints, the Scrum Guide (2020) "typically 10 or fewer": small 2 to 4,
  ordinary 4 to 9, large 10 to 15.
- calendar: eleven public holidays (US) are 0.2 a week; time off of 25 days a year is 9.6 % of the days, mostly in
  whole weeks; sick days, which nobody knows before, 3 %.
- length: two weeks for most, as in BOARDS (median 14 days); one to three asked for, or left to the rule.
- points per person-day around 0.8, eight points per person and two weeks, the start that SAFe gives.
"""

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

SPRINTS = 20
CARDS = np.array([1, 2, 3, 5, 8, 13, 20, 40], dtype=float)
_CARD_EDGES = np.sqrt(CARDS[1:] * CARDS[:-1])
# Twenty sprints of at most six weeks, and a little more.
_WEEKS = 6 * SPRINTS + 6
_STREAM = 3000
_DAYS = 5.0
_RULE_TASKS = 10


@dataclass(frozen=True)
class Profile:
    """What a kind of team is drawn from. Weeks 0 = left to the rule; `load` = capacity / plan of the rules, a range."""

    people: tuple[int, int] = (4, 9)
    weeks: tuple[int, ...] = (2, 2, 2, 1, 3)
    most_tasks: tuple[int, int] = (0, 0)
    load: tuple[float, float] | None = None
    noise: float = 0.2
    drift: tuple[float, float] = (0.0, 0.0)
    spread: tuple[float, float] = (0.49, 0.75)
    alike: float = 0.2
    seasons: bool = False
    new: bool = False
    estimated: bool = True
    # Tasks that come in per task that the team can do, and how many sprints' worth wait at the beginning.
    inflow: tuple[float, float] = (0.9, 1.2)
    waiting: tuple[float, float] = (3.0, 12.0)


KINDS: dict[str, Profile] = {
    "ordinary": Profile(),
    "steady": Profile(noise=0.12, spread=(0.4, 0.55)),
    "noisy": Profile(noise=0.45),
    "rising": Profile(drift=(0.02, 0.05)),
    "falling": Profile(drift=(-0.05, -0.02)),
    "small team": Profile(people=(2, 4)),
    "large team": Profile(people=(10, 15)),
    "overloaded by the rule": Profile(load=(0.35, 0.8)),
    "underloaded by the rule": Profile(load=(1.3, 3.0)),
    "fits the rule": Profile(load=(0.9, 1.1)),
    "uneven tasks": Profile(spread=(0.9, 1.18), alike=0.35),
    "many holidays": Profile(seasons=True),
    "new team": Profile(new=True),
    "no estimates": Profile(estimated=False),
    "limit given": Profile(most_tasks=(6, 15)),
    "length by the rule": Profile(weeks=(0,)),
    "short backlog": Profile(inflow=(0.6, 0.9), waiting=(0.5, 1.5)),
}


@dataclass(frozen=True)
class Team:
    """One team and its fate. Arrays: points and effort by task, days known and worked by week and person, pace by week.

    Effort is in points: a task of 3 points and effort 4 turned out a third larger than it looked.
    """

    kind: str
    people: int
    weeks: int
    most_tasks: int
    estimated: bool
    points: np.ndarray
    effort: np.ndarray
    known_days: np.ndarray
    worked_days: np.ndarray
    pace: np.ndarray
    arrived: np.ndarray

    def days(self, first: int, weeks: int) -> float:
        """Person-days that the calendar promises."""
        return float(self.known_days[first : first + weeks].sum())

    def output(self, first: int, weeks: int) -> float:
        """Points of effort that the team is really able to make."""
        span = slice(first, first + weeks)
        return float((self.worked_days[span].sum(axis=1) * self.pace[span]).sum())


@dataclass(frozen=True)
class View:
    """What may be known when a sprint is planned: nothing that is hidden, nothing that is to come."""

    number: int
    people: int
    waiting_tasks: int
    waiting_points: float
    weeks: int
    most_tasks: int
    # Person-days of a sprint of so many weeks.
    person_days: Callable[[int], float]


@dataclass(frozen=True)
class Plan:
    """How much a sprint takes; no limit of points = None."""

    weeks: int
    tasks: int
    points: float | None = None


@dataclass(frozen=True)
class Result:
    """What came of a sprint. `capacity` = effort that the team was really able to make, in points."""

    number: int
    weeks: int
    person_days: float
    planned_tasks: int
    completed_tasks: int
    planned_points: float
    completed_points: float
    capacity: float
    estimated: bool = True

    @property
    def completion_rate(self) -> float:
        """Completed of the planned tasks."""
        return self.completed_tasks / self.planned_tasks if self.planned_tasks else 1.0


Policy = Callable[[View, Sequence[Result]], Plan]


def draw(kind: str, seed: int) -> Team:
    """A team of a kind."""
    profile = KINDS[kind]
    rng = np.random.default_rng([seed, *kind.encode()])
    people = int(rng.integers(profile.people[0], profile.people[1] + 1))
    weeks = int(rng.choice(profile.weeks))
    low, high = profile.most_tasks
    most = int(rng.integers(low, high + 1)) if high else 0
    points, effort = _tasks(rng, profile)
    known, worked = _calendar(rng, people, seasons=profile.seasons)
    # A sprint whose length is the rule's business is taken as one of two weeks.
    rhythm = weeks or 2
    load = rng.uniform(*profile.load) if profile.load else 0.9 * math.exp(0.5 * rng.standard_normal())
    can = load * (most or _RULE_TASKS)
    days = float(worked.mean(axis=0).sum()) * rhythm
    pace = can * points.mean() / days * _fate(rng, profile, rhythm)
    arrived = _arrivals(rng, profile, can, rhythm)
    return Team(kind, people, weeks, most, profile.estimated, points, effort, known, worked, pace, arrived)


def _tasks(rng: np.random.Generator, profile: Profile) -> tuple[np.ndarray, np.ndarray]:
    """Points on cards, alike in a row, and the effort that they turn out to be."""
    spread = rng.uniform(*profile.spread)
    logs = math.log(3.0) + spread * _in_a_row(rng, _STREAM, 0.9, profile.alike)
    points = CARDS[np.searchsorted(_CARD_EDGES, np.exp(logs))]
    effort = points * np.exp(0.59 * rng.standard_normal(_STREAM) - 0.59**2 / 2)
    return points, effort


def _in_a_row(rng: np.random.Generator, count: int, keep: float, share: float) -> np.ndarray:
    """Standard normal figures, a share of whose variance is what neighbours have in common."""
    own, slow = rng.standard_normal(count), rng.standard_normal(count)
    for at in range(1, count):
        slow[at] = keep * slow[at - 1] + math.sqrt(1 - keep**2) * slow[at]
    mixed: np.ndarray = math.sqrt(1 - share) * own + math.sqrt(share) * slow
    return mixed


def _calendar(rng: np.random.Generator, people: int, *, seasons: bool) -> tuple[np.ndarray, np.ndarray]:
    """Days by week and person: as the calendar promises, and as they were worked."""
    shape = (_WEEKS, people)
    days = np.full(shape, _DAYS) - (rng.random(_WEEKS) < 0.2)[:, None]
    days -= rng.random(shape) < 0.15
    away = np.full(_WEEKS, 0.065)
    if seasons:
        # Four weeks of every fourteen, half of the people are away.
        away[np.arange(_WEEKS) % 14 < 4] = 0.5
    days[rng.random(shape) < away[:, None]] = 0.0
    known = np.maximum(days, 0.0)
    # Somebody is always there: a team without a single day plans no sprint.
    known[known.sum(axis=1) == 0, 0] = 1.0
    worked = np.maximum(known - (rng.random(shape) < 0.15), 0.0)
    worked[worked.sum(axis=1) == 0, 0] = 1.0
    return known, worked


def _fate(rng: np.random.Generator, profile: Profile, rhythm: int) -> np.ndarray:
    """The pace of each week, around 1 at the beginning."""
    weeks = np.arange(_WEEKS)
    # So that sprints of two weeks, whose weeks have a correlation of 0.5, have the deviation asked for.
    deviation = profile.noise / math.sqrt(0.75)
    noise = deviation * _in_a_row_of_weeks(rng)
    slope = rng.uniform(*profile.drift) / rhythm if profile.drift != (0.0, 0.0) else 0.0
    pace: np.ndarray = np.exp(noise - deviation**2 / 2 + slope * weeks)
    if profile.new:
        begin = rng.uniform(0.5, 0.7)
        pace *= np.minimum(1.0, begin + (1 - begin) * weeks / (6 * rhythm))
    return pace


def _in_a_row_of_weeks(rng: np.random.Generator) -> np.ndarray:
    return _in_a_row(rng, _WEEKS, 0.5, 1.0)


def _arrivals(rng: np.random.Generator, profile: Profile, can: float, rhythm: int) -> np.ndarray:
    """Tasks that have come in by each week."""
    first = max(1, round(can * rng.uniform(*profile.waiting)))
    per_week = can / rhythm * rng.uniform(*profile.inflow)
    arrived: np.ndarray = np.minimum(_STREAM, first + np.cumsum(rng.poisson(per_week, _WEEKS)))
    return arrived


@dataclass
class _Backlog:
    """Tasks by rank: what is left of each, the unfinished ones first."""

    team: Team
    left: list[float]
    open: list[int] = field(default_factory=list)
    known: int = 0

    def refill(self, week: int) -> None:
        """Let the tasks in that have arrived."""
        until = int(self.team.arrived[week])
        self.open += range(self.known, until)
        self.known = max(self.known, until)

    def take(self, plan: Plan) -> list[int]:
        """By rank until a limit is reached, as ReserveTasks does: the first task that does not fit ends it."""
        taken: list[int] = []
        points = 0.0
        for task in self.open[: max(1, plan.tasks)]:
            size = float(self.team.points[task]) if self.team.estimated else 0.0
            if plan.points is not None and taken and points + size > plan.points:
                break
            taken.append(task)
            points += size
        return taken


def play(team: Team, policy: Policy, sprints: int = SPRINTS) -> list[Result]:
    """Sprints of a team one after the other, each planned by a policy that sees what came of those before."""
    backlog = _Backlog(team, team.effort.tolist())
    results: list[Result] = []
    week = 0
    for number in range(1, sprints + 1):
        week = _until_there_is_work(backlog, week)
        plan = policy(_view(team, backlog, number, week), results)
        results.append(_work(backlog, backlog.take(plan), number, week, plan.weeks))
        week += plan.weeks
    return results


def oracle(team: Team, sprints: int = SPRINTS) -> list[Result]:
    """The same by somebody who knows the future: always as many tasks as will all be completed, and at least one.

    Where the rule has the length, sprints of two weeks.
    """
    backlog = _Backlog(team, team.effort.tolist())
    results: list[Result] = []
    week = 0
    weeks = team.weeks or 2
    for number in range(1, sprints + 1):
        week = _until_there_is_work(backlog, week)
        able, tasks = team.output(week, weeks), 0
        for task in backlog.open[: team.most_tasks or None]:
            able -= backlog.left[task]
            if able < 0:
                break
            tasks += 1
        results.append(_work(backlog, backlog.open[: max(1, tasks)], number, week, weeks))
        week += weeks
    return results


def _until_there_is_work(backlog: _Backlog, week: int) -> int:
    """The first week, from this one on, with a task in the backlog."""
    backlog.refill(week)
    while not backlog.open:
        week += 1
        backlog.refill(week)
    return week


def _view(team: Team, backlog: _Backlog, number: int, week: int) -> View:
    points = float(team.points[backlog.open].sum()) if team.estimated else 0.0
    return View(
        number=number,
        people=team.people,
        waiting_tasks=len(backlog.open),
        waiting_points=points,
        weeks=team.weeks,
        most_tasks=team.most_tasks,
        person_days=lambda weeks: team.days(week, weeks),
    )


def _work(backlog: _Backlog, taken: Sequence[int], number: int, week: int, weeks: int) -> Result:
    """A sprint: equal shares of the team's effort for each task under way, at most as many as there are people.

    `given` is what a task has been given that has been under way from the beginning: one that joins at `given` and
    needs `left` is done at given + left.
    """
    team = backlog.team
    able = team.output(week, weeks)
    waiting = list(reversed(taken))
    under_way: list[tuple[float, int]] = []
    done: list[int] = []
    given = 0.0
    effort = able
    while effort > 0 and (waiting or under_way):
        while waiting and len(under_way) < team.people:
            task = waiting.pop()
            heapq.heappush(under_way, (given + backlog.left[task], task))
        ends, task = under_way[0]
        need = (ends - given) * len(under_way)
        if need > effort:
            given += effort / len(under_way)
            break
        effort -= need
        given = ends
        heapq.heappop(under_way)
        done.append(task)
    for ends, task in under_way:
        backlog.left[task] = ends - given
    finished = set(done)
    backlog.open = [task for task in backlog.open if task not in finished]
    return Result(
        number=number,
        weeks=weeks,
        person_days=team.days(week, weeks),
        planned_tasks=len(taken),
        completed_tasks=len(done),
        planned_points=float(team.points[list(taken)].sum()),
        completed_points=float(team.points[done].sum()),
        capacity=able,
        estimated=team.estimated,
    )
