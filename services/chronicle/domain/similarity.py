"""How much projects resemble each other, by what happened and by what the work is about.

Figures are compared on a robust scale: how far apart two projects are, against how far projects are apart in general.
The text of the backlogs is compared by the cosine of their centroids, each less the background (see `topics`), so that
being about software, or about work, makes no two projects alike.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from services.chronicle.domain.figures import Figures
from services.chronicle.domain.patterns import CommonItem
from services.chronicle.domain.velocity import SprintVelocity

DEFAULT_THRESHOLD = 0.7
DEFAULT_RESULTS = 10

# How many projects the assumed scales stand for, against those that are really there.
_ASSUMED_WEIGHT = 10
# Quartiles of a normal distribution are this many standard deviations apart.
_QUARTILES = 1.349
# Cosines up to the one are nothing alike, from the other on they are the same. Of six real backlogs, two halves of one
# have a cosine of 0.89 to 0.96; two of different products one of 0.02 to 0.62, the highest being two Java integration
# products. The default threshold lies between, at a cosine of 0.66.
_TEXT_FLOOR = 0.1
_TEXT_CEILING = 0.9


@dataclass(frozen=True, slots=True)
class Candidate:
    """A project to be compared; text_cosine is that to the reference project's text, None = one has too little."""

    project_id: str
    figures: Figures
    text_cosine: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a score."""

    name: str
    score: float
    weight: float
    explanation: str


@dataclass(frozen=True, slots=True)
class Resemblance:
    """A project with its score, the weighted sum of the parts."""

    candidate: Candidate
    score: float
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What is told of a similar project: its newest closed sprints, oldest first, and its frequent action items."""

    sprints: tuple[SprintVelocity, ...] = ()
    items: tuple[CommonItem, ...] = ()


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure that projects are compared by.

    `assumed` is its spread (standard deviation) over teams in general, where too few projects are known; `logarithmic`
    ones are compared by ratio, as ln(1 + value).
    """

    part: str
    words: str
    value: Callable[[Figures], float | None]
    assumed: float
    logarithmic: bool = True

    def scaled(self, figures: Figures) -> float | None:
        """The figure as it is compared; None = not known."""
        value = self.value(figures)
        return math.log1p(value) if value is not None and self.logarithmic else value


# The score of each part that is known for both projects, and the measure that it rests on; None = the text.
Scores = dict[str, tuple[float, Measure | None]]


def _per(sprints: int, value: float) -> float | None:
    return value / sprints if sprints else None


# The assumed spreads were measured between real teams: issues completed per two weeks in 28 public issue trackers, and
# issues, people and share completed per sprint of 133 boards (data set of Choetkiertikul et al., Predicting Delivery
# Capability in Iterative Software Development, IEEE TSE 2017). That of impediments is a guess: neither tells of them.
VELOCITY = Measure(
    "velocity", "tasks completed per sprint", lambda f: _per(f.closed_sprints, f.completed_tasks), assumed=0.9
)
TEAM = Measure("size", "people per sprint", lambda f: _per(f.staffed_sprints, f.people), assumed=0.45)
HELD = Measure("size", "tasks held per sprint", lambda f: _per(f.closed_sprints, f.held_tasks), assumed=0.95)
COMPLETION = Measure(
    "completion_rate", "of the tasks completed", lambda f: f.completion_rate, assumed=0.3, logarithmic=False
)
IMPEDIMENTS = Measure(
    "impediments", "impediments per sprint", lambda f: _per(f.closed_sprints, f.impediments), assumed=0.5
)
# Of those of one part, the first that is known for both projects counts.
MEASURES = (VELOCITY, TEAM, HELD, COMPLETION, IMPEDIMENTS)
TEXT = "backlog_text"
_WEIGHTS = {"velocity": 0.2, "size": 0.15, "completion_rate": 0.2, "impediments": 0.15, TEXT: 0.3}


def compare(
    reference: Figures, candidates: Sequence[Candidate], threshold: float, limit: int
) -> tuple[list[Resemblance], int]:
    """The candidates most like the reference, most similar first, and how many had anything to compare.

    The score of a figure is 2^-|d|, with its difference d in robust standard deviations: 1 for equal ones, a half at
    one deviation. That of the text grows evenly with the cosine.
    """
    own = [measure.scaled(reference) for measure in MEASURES]
    theirs = [[measure.scaled(candidate.figures) for candidate in candidates] for measure in MEASURES]
    scales = [deviation(m, [*values, mine]) for m, values, mine in zip(MEASURES, theirs, own, strict=True)]
    columns = zip(*theirs, strict=True)
    scored = [(_scores(own, its, c, scales), c) for its, c in zip(columns, candidates, strict=True)]
    compared = [(_whole(scores), scores, candidate) for scores, candidate in scored if scores]
    found = sorted((s for s in compared if s[0] >= threshold), key=lambda s: (-s[0], s[2].project_id))
    return [_explain(reference, *each) for each in found[:limit]], len(compared)


def deviation(measure: Measure, values: Iterable[float | None]) -> float:
    """The robust standard deviation of a measure: the distance of its quartiles / 1.349, drawn toward the assumed one.

    As if as many projects as _ASSUMED_WEIGHT had the assumed spread, so that two or three projects that are the same
    by chance make no small difference a large one.
    """
    known = [value for value in values if value is not None]
    if not known:
        return measure.assumed
    lower, upper = np.quantile(known, (0.25, 0.75))
    found = float(upper - lower) / _QUARTILES
    return (len(known) * found + _ASSUMED_WEIGHT * measure.assumed) / (len(known) + _ASSUMED_WEIGHT)


def text_score(cosine: float) -> float:
    """The score of a cosine of centroids, 0 to 1."""
    return min(1.0, max(0.0, (cosine - _TEXT_FLOOR) / (_TEXT_CEILING - _TEXT_FLOOR)))


def _scores(
    own: Sequence[float | None], its: Sequence[float | None], candidate: Candidate, scales: Sequence[float]
) -> Scores:
    scores: Scores = {}
    for measure, ours, theirs, unit in zip(MEASURES, own, its, scales, strict=True):
        if ours is not None and theirs is not None and measure.part not in scores:
            scores[measure.part] = 2 ** (-abs(ours - theirs) / unit), measure
    if candidate.text_cosine is not None:
        scores[TEXT] = text_score(candidate.text_cosine), None
    return scores


def _whole(scores: Scores) -> float:
    """The weighted mean: what is not known gives its weight to the rest."""
    weights = sum(_WEIGHTS[part] for part in scores)
    return min(1.0, sum(_WEIGHTS[part] * score for part, (score, _) in scores.items()) / weights)


def _explain(reference: Figures, score: float, scores: Scores, candidate: Candidate) -> Resemblance:
    weights = sum(_WEIGHTS[part] for part in scores)
    parts = tuple(
        Part(part, each, _WEIGHTS[part] / weights, _explanation(reference, candidate, measure))
        for part, (each, measure) in scores.items()
    )
    return Resemblance(candidate, score, parts)


def _explanation(reference: Figures, candidate: Candidate, measure: Measure | None) -> str:
    if measure is None:
        return (
            f"The titles of the tasks, less what all work has in common, have a cosine of {candidate.text_cosine:.2f}; "
            f"{_TEXT_FLOOR} and less is nothing alike, {_TEXT_CEILING} and more the same."
        )
    ours, theirs = measure.value(reference) or 0.0, measure.value(candidate.figures) or 0.0
    if measure is COMPLETION:
        return f"{theirs:.0%} {measure.words}, against {ours:.0%}."
    return f"{theirs:.1f} {measure.words}, against {ours:.1f}."
