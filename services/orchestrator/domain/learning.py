"""What lessons the past teaches: in which situations another number of tasks than the rules' would have been better.

A lesson is an episode with its outcome. It also tells what other plans would have come to: a team that completed C of
its P tasks would have completed min(C, A) of any A up to P, and of more than P still C if it left work undone. Only a
team that completed all of a smaller plan says nothing about a larger one (its capacity is censored from above). So each
lesson votes for or against each factor on the rules' number of tasks.

A factor is worth a strategy in a kind of situation only if intervals, not averages, say so. One that asks for less must
have a chance of success whose interval lies above the interval of the rules', and keep what was delivered; one that
asks for more must surely deliver more. As many kinds of situations and factors are tried at once, the intervals are
widened by Bonferroni's correction before a strategy is used: with k trials each holds with 1 - 0.05 / k.
"""

from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, log2, sqrt
from statistics import NormalDist, fmean
from uuid import UUID

from services.orchestrator.domain.outcome import SUCCESS_RATE
from services.orchestrator.domain.strategy import Condition, Feature, Features

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.25, 1.5)
# Votes without which nothing is learned; projects that must have a say where a rule is to hold for all, and the newest
# votes of one project that then count: its sprints are not independent of each other.
LEAST_VOTES = 8
LEAST_PROJECTS = 3
MOST_OF_ONE_PROJECT = 10
# Least share of the delivered tasks that a smaller plan would have kept.
KEPT = 0.95
# Chance of being wrong about any one interval before the correction.
ERROR = 0.05
# Least chance of success, as the lower end of its interval, of what is learned at all, and of what is applied: the
# latter is the gate's default.
EVEN = 0.5
SURE = 0.75


@dataclass(frozen=True)
class Lesson:
    """An episode of good quality with its outcome. `rule_tasks` is the number of tasks that the rules decided on."""

    episode_id: UUID
    project_id: str
    situation: Features
    rule_tasks: int
    planned_tasks: int
    completed_tasks: int

    def asked(self, factor: float) -> int:
        """Tasks of the plan that a factor on the rules' decision makes."""
        return max(1, round(factor * self.rule_tasks))

    def vote(self, factor: float) -> bool | None:
        """Whether such a plan would have succeeded, by 80 % of its tasks completed; None = the outcome does not say."""
        asked = self.asked(factor)
        if self.planned_tasks < asked and self.completed_tasks >= self.planned_tasks:
            return None
        return self.completed_tasks >= SUCCESS_RATE * asked

    def delivered(self, factor: float) -> float:
        """Tasks that such a plan would have delivered, as a share of those that the rules' would have."""
        by_rules = min(self.completed_tasks, self.rule_tasks)
        return min(self.completed_tasks, self.asked(factor)) / by_rules if by_rules else 1.0


@dataclass(frozen=True)
class Kind:
    """A kind of situation, in a project or, with an empty project_id, in all."""

    project_id: str
    conditions: tuple[Condition, ...]


class Lessons:
    """All lessons, newest first, also by project."""

    def __init__(self, lessons: Iterable[Lesson]) -> None:
        self.all = tuple(lessons)
        self._of: dict[str, list[Lesson]] = defaultdict(list)
        for lesson in self.all:
            self._of[lesson.project_id].append(lesson)

    def fitting(self, kind: Kind) -> list[Lesson]:
        """Those that rules for a kind of situation are judged by: for all projects only so many of each count."""
        counted: Counter[str] = Counter()
        found = []
        for lesson in self._of[kind.project_id] if kind.project_id else self.all:
            if all(condition.holds(lesson.situation) for condition in kind.conditions):
                counted[lesson.project_id] += 1
                if kind.project_id or counted[lesson.project_id] <= MOST_OF_ONE_PROJECT:
                    found.append(lesson)
        return found


@dataclass(frozen=True)
class Interval:
    """Where a figure surely lies."""

    low: float
    high: float


@dataclass(frozen=True)
class Votes:
    """The lessons for and against a factor in a kind of situation, newest first."""

    supporting: tuple[UUID, ...]
    contradicting: tuple[UUID, ...]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.supporting) + len(self.contradicting)

    def share(self, error: float = ERROR) -> Interval:
        """Interval of the chance of success."""
        return share_interval(len(self.supporting), self.count, error)


# A factor in a kind of situation.
Rule = tuple[Kind, float]


@dataclass(frozen=True)
class Finding:
    """A factor that is better than the rules' number of tasks; `sure` if it may be applied."""

    kind: Kind
    factor: float
    sure: bool


def findings(lessons: Lessons, scopes: Iterable[str], failed: Collection[Rule]) -> dict[Kind, Finding]:
    """The best factor of each kind of situation that has one, within projects and ("") over all of them.

    The best is the largest that is sure enough to be applied, since it delivers most, else the surest; one that has
    `failed` before is never found again. `lessons` are newest first. Each scope is corrected for its own trials.
    """
    kinds = _kinds(lessons, set(scopes))
    trials = Counter(kind.project_id for kind in kinds)
    found = {}
    for kind, fitting in kinds.items():
        corrected = ERROR / (len(FACTORS) * trials[kind.project_id])
        if finding := _best(kind, fitting, corrected, failed):
            found[kind] = finding
    return found


def _best(kind: Kind, lessons: Sequence[Lesson], corrected: float, failed: Collection[Rule]) -> Finding | None:
    rules = votes(lessons, 1.0)
    better = [
        (votes(lessons, factor).share().low, factor)
        for factor in _worth_a_trial(lessons, rules)
        if (kind, factor) not in failed and _is_better(lessons, factor, rules, ERROR)
    ]
    if not better:
        return None
    confidence, factor = max(better, key=lambda each: (each[0] >= SURE, each[1] if each[0] >= SURE else each[0]))
    return Finding(kind, factor, confidence >= SURE and _is_better(lessons, factor, rules, corrected))


def _worth_a_trial(lessons: Sequence[Lesson], rules: Votes) -> list[float]:
    """The factors that could be better at all: most kinds of situations have none, which saves most of the work."""
    less = rules.share().high < share_interval(len(lessons), len(lessons)).low
    more = any(lesson.completed_tasks > lesson.rule_tasks for lesson in lessons)
    return [factor for factor in FACTORS if (less if factor < 1 else more)]


def votes(lessons: Iterable[Lesson], factor: float) -> Votes:
    """How lessons vote on a factor."""
    cast = [(lesson.episode_id, lesson.vote(factor)) for lesson in lessons]
    return Votes(
        tuple(episode_id for episode_id, vote in cast if vote is True),
        tuple(episode_id for episode_id, vote in cast if vote is False),
    )


def share_interval(successes: int, count: int, error: float = ERROR) -> Interval:
    """Wilson's score interval of a chance of success (0 to 1), wrong with a chance of `error`.

    It is neither empty at 0 or 1 nor outside of them. Source: Wilson, Probable inference, the law of succession, and
    statistical inference, Journal of the American Statistical Association 22 (1927), 209-212.
    """
    if not count:
        return Interval(0.0, 1.0)
    z = NormalDist().inv_cdf(1 - error / 2)
    share, wide = successes / count, z * z / count
    middle = (share + wide / 2) / (1 + wide)
    half = z * sqrt(share * (1 - share) / count + wide / (4 * count)) / (1 + wide)
    # An interval contains the share that it is about, whatever the last bit says.
    return Interval(max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half)))


def mean_interval(values: Sequence[float], error: float = ERROR) -> Interval:
    """Student's t interval of a mean, wrong with a chance of `error`; everything for fewer than two values.

    The quantile of t is the expansion 26.7.5 of Abramowitz and Stegun, Handbook of Mathematical Functions (1964).
    """
    if len(values) < 2:
        return Interval(-inf, inf)
    z, n = NormalDist().inv_cdf(1 - error / 2), len(values) - 1
    t = z + (z**3 + z) / (4 * n) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    t += (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)
    # By hand: statistics.variance is exact, and fifty times as slow.
    mean = fmean(values)
    half = t * sqrt(fsum((value - mean) ** 2 for value in values) / n / len(values))
    return Interval(mean - half, mean + half)


def _is_better(lessons: Sequence[Lesson], factor: float, rules: Votes, error: float) -> bool:
    """Whether a factor is better than the rules, if each interval may be wrong with a chance of `error`."""
    cast = votes(lessons, factor)
    if cast.count < LEAST_VOTES or cast.share(error).low < EVEN:
        return False
    delivered = mean_interval([each.delivered(factor) for each in lessons if each.vote(factor) is not None], error)
    if factor > 1:
        return delivered.low > 1
    return delivered.low >= KEPT and cast.share(error).low > rules.share(error).high


# --- kinds of situations ----------------------------------------------------------------------
# Few and fixed beforehand: looking for the best limits in the lessons themselves would be one more comparison for each.

_TEAM_SIZES = ((1, 3), (4, 7), (8, None))
_RELATIVE_LOADS = ((None, 0.8), (0.8, 1.0), (1.0, 1.25), (1.25, 1.6), (1.6, 2.0), (2.0, 2.5), (2.5, None))
_SHORT_HISTORY = Condition(Feature.CLOSED_SPRINTS, maximum=2)


def _kinds(lessons: Lessons, scopes: set[str]) -> Mapping[Kind, list[Lesson]]:
    """The kinds of situations in which enough lessons were learned, with those that fit."""
    met: dict[Kind, list[Lesson]] = defaultdict(list)
    counted: Counter[tuple[str, tuple[Condition, ...]]] = Counter()
    for lesson in lessons.all:
        if "" in scopes:
            for conditions in _general_conditions(lesson.situation):
                counted[lesson.project_id, conditions] += 1
                if counted[lesson.project_id, conditions] <= MOST_OF_ONE_PROJECT:
                    met[Kind("", conditions)].append(lesson)
        if lesson.project_id in scopes:
            for conditions in _own_conditions(lesson.situation):
                met[Kind(lesson.project_id, conditions)].append(lesson)
    return {kind: found for kind, found in met.items() if _enough(kind, found)}


def _enough(kind: Kind, lessons: Sequence[Lesson]) -> bool:
    projects = {lesson.project_id for lesson in lessons}
    return len(lessons) >= LEAST_VOTES and bool(kind.project_id or len(projects) >= LEAST_PROJECTS)


def _own_conditions(situation: Features) -> list[tuple[Condition, ...]]:
    """The kinds that a situation belongs to within its project: always, and by how much the rules ask for."""
    return [(), *((condition,) for condition in (*_load(situation), *_relative_load(situation)))]


def _general_conditions(situation: Features) -> list[tuple[Condition, ...]]:
    """The kinds that a situation belongs to over all projects: by how much the rules ask for, and of whom."""
    found: list[tuple[Condition, ...]] = [(condition,) for condition in _relative_load(situation)]
    for load in _load(situation):
        found += [(load,), *((size, load) for size in _ranges(situation, Feature.TEAM_SIZE, _TEAM_SIZES))]
        if _SHORT_HISTORY.holds(situation):
            found.append((_SHORT_HISTORY, load))
    return found


def _relative_load(situation: Features) -> list[Condition]:
    return _ranges(situation, Feature.RELATIVE_LOAD, _RELATIVE_LOADS)


def _load(situation: Features) -> list[Condition]:
    """Within a factor of 2, because how large tasks are is each organisation's own; around the powers of 2."""
    load = situation.get(Feature.LOAD)
    if not load:
        return []
    middle = 2.0 ** round(log2(load))
    return [Condition(Feature.LOAD, middle / sqrt(2), middle * sqrt(2))]


def _ranges(
    situation: Features, feature: Feature, ranges: Sequence[tuple[float | None, float | None]]
) -> list[Condition]:
    conditions = [Condition(feature, least, most) for least, most in ranges]
    return [condition for condition in conditions if condition.holds(situation)]
