"""Impediments, and which of them mean the same."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]

# The cosine from which two wordings with no word in common mean the same, how much more it must be per share of words
# in common, and what is always enough. See `alike`.
LEAST_COSINE = 0.35
PER_OVERLAP = 1.0
ENOUGH = 0.85
# Wordings compared with each other; of more, the rarest are grouped by equal text.
MOST_COMPARED = 1_000
MOST_GROUPS = 100
MOST_WORDINGS = 20
MOST_IDS = 250

_WORD = re.compile(r"[^\W_]+")
_ENDING = re.compile(r"(ing|ed|es|s)$")
_STOP_WORDS = frozenset(
    """a an and are as at be because been but by can cannot could do does for from has have i in is it its me my no not
    nobody of on or our still that the their there they this to us was we were will with yet you your""".split()  # noqa: SIM905  # words, not a list of strings
)


@dataclass(frozen=True, slots=True)
class Impediment:
    """Something that blocked a task; resolve_time None = it still does. Days are the project's; None = not known."""

    impediment_id: str
    project_id: str
    sprint_id: str
    task_id: str
    raised_by: str
    owner_id: str
    text: str
    state: str
    raise_date: date | None
    raise_time: datetime
    resolve_time: datetime | None
    resolve_date: date | None
    resolution: str


@dataclass(frozen=True, slots=True)
class Wording:
    """The impediments of one text: how many, when, and the newest of them.

    `resolve_days` is the sum over the `dated` ones, which are resolved and whose days are both known. `vector` is the
    text's embedding by `model` as 16-bit floats in network order behind four bytes, as pgvector sends it; empty = it
    has none yet.
    """

    text: str
    frequency: int
    open_count: int
    first_raise_time: datetime
    last_raise_time: datetime
    resolve_days: int
    dated: int
    impediment_ids: Sequence[str]
    raise_times: Sequence[datetime]
    sprint_ids: Sequence[str]
    model: str
    vector: bytes


@dataclass(frozen=True, slots=True)
class Group:
    """Impediments that mean the same."""

    label: str
    frequency: int
    open_count: int
    wordings: tuple[str, ...]
    impediment_ids: tuple[str, ...]
    sprint_ids: tuple[str, ...]
    first_raise_time: datetime
    last_raise_time: datetime
    mean_resolve_time: timedelta | None


@dataclass(frozen=True, slots=True)
class Analysis:
    """What blocks a project; `model` empty = grouped by equal text. not_embedded counts impediments."""

    groups: tuple[Group, ...]
    total: int
    open: int
    not_embedded: int
    model: str


def analyse(wordings: Sequence[Wording]) -> Analysis:
    """Group the wordings of a project's impediments, most frequent first.

    Vectors of one model alone are compared, that of most impediments. What has no such vector joins its equal text
    (but for case, punctuation and blanks), or stays alone.
    """
    model = _prevailing_model(wordings)
    by_text = _by_equal_text(wordings)
    embedded = [same for same in by_text if _vector_of(same, model)]
    compared = embedded[:MOST_COMPARED]
    alone = [same for same in by_text if not _vector_of(same, model)] + embedded[MOST_COMPARED:]
    vectors = np.stack([_unpack(_vector_of(same, model)) for same in compared]) if compared else np.empty((0, 0))
    margins = alike([same[0].text for same in compared], vectors)
    groups = [
        *(_group([compared[i] for i in members], margins[np.ix_(members, members)]) for members in link(margins)),
        *(_group([same], np.zeros((1, 1))) for same in alone),
    ]
    groups.sort(key=lambda group: (-group.frequency, -group.last_raise_time.timestamp(), group.label))
    return Analysis(
        groups=tuple(groups[:MOST_GROUPS]),
        total=sum(wording.frequency for wording in wordings),
        open=sum(wording.open_count for wording in wordings),
        not_embedded=sum(w.frequency for w in wordings if not (model and w.vector and w.model == model)),
        model=model,
    )


def alike(texts: Sequence[str], vectors: Matrix) -> Matrix:
    """By how much each two texts pass what makes them mean the same; negative = they do not.

    margin = cosine - min(ENOUGH, LEAST_COSINE + PER_OVERLAP x overlap), where the overlap is the Jaccard index of the
    texts' words without endings and stop words. The same words raise the cosine whatever is said with them, so the more
    of it they explain, the more it must be; what is nearly the same text needs no more than ENOUGH.

    Calibrated with all-MiniLM-L6-v2 on pairs of impediments written for it: 20 that say the same in other words (75 %
    found), 12 that say it in nearly the same words (83 %), 20 that say something else with the same words (10 % taken
    for the same; with the cosine alone, at the same 75 % found, it would be 95 %), and the 760 other pairs of the first
    20 (0.4 %). On 20 pairs written afterwards: 9 of 10 found, 1 of 10 taken for the same. Another model has other
    cosines: its figures are to be measured anew.
    """
    count = len(texts)
    if not count:
        return np.empty((0, 0))
    bags = [words(text) for text in texts]
    index = {word: column for column, word in enumerate(sorted(frozenset().union(*bags)))}
    uses = np.zeros((count, len(index)), dtype=np.float32)
    for row, bag in enumerate(bags):
        uses[row, [index[word] for word in bag]] = 1
    common = uses @ uses.T
    sizes = uses.sum(axis=1)
    overlap = common / np.maximum(sizes[:, None] + sizes[None, :] - common, 1)
    cosines = vectors @ vectors.T
    return np.asarray(cosines - np.minimum(ENOUGH, LEAST_COSINE + PER_OVERLAP * overlap), dtype=np.float64)


def link(margins: Matrix) -> list[list[int]]:
    """Groups by average linkage: two groups are one while the mean margin between their members is not negative.

    Average and not single linkage, so that one doubtful pair does not chain two groups. By nearest-neighbour chains,
    which give the same merges as always merging the nearest two, in a time that grows with the square of the count
    (Murtagh, A survey of recent advances in hierarchical clustering algorithms, The Computer Journal 26(4), 1983).
    """
    near = margins.copy()
    np.fill_diagonal(near, -np.inf)
    members = {index: [index] for index in range(len(near))}
    chain: list[int] = []
    done: list[list[int]] = []
    while members:
        if not chain:
            chain.append(next(iter(members)))
        last = chain[-1]
        nearest = int(near[last].argmax())
        if len(chain) > 1 and near[last, chain[-2]] >= near[last, nearest]:
            nearest = chain[-2]
        if near[last, nearest] < 0:
            # Nothing is near enough, and merging others brings nothing nearer than it is.
            done.append(members.pop(last))
            near[last, :] = near[:, last] = -np.inf
            chain.pop()
        elif len(chain) > 1 and nearest == chain[-2]:
            _merge(near, members, nearest, last)
            del chain[-2:]
        else:
            chain.append(nearest)
    return sorted(sorted(group) for group in done)


def words(text: str) -> frozenset[str]:
    """The words of a text in lower case, without stop words and, if longer than four letters, without endings."""
    found = (word for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)
    return frozenset(_ENDING.sub("", word) if len(word) > 4 else word for word in found)


def normalised(text: str) -> str:
    """A text without case, punctuation and superfluous blanks; what has no words at all is itself."""
    return " ".join(_WORD.findall(text.lower())) or text


def describe(analysis: Analysis) -> str:
    """The findings in a sentence or two."""
    if not analysis.groups:
        return "No impediment was raised."
    first = analysis.groups[0]
    found = (
        f"{analysis.total} impediment{'s' if analysis.total > 1 else ''} raised, {analysis.open} of them open, in "
        f"{len(analysis.groups)} group{'s' if len(analysis.groups) > 1 else ''}. "
    )
    found += f"Most frequent, {first.frequency} times: {first.label[:200]}" if first.frequency > 1 else "None recurs"
    times = [(g.mean_resolve_time, g.label) for g in analysis.groups if g.mean_resolve_time is not None]
    if times:
        span, label = max(times)
        days = span / timedelta(days=1)
        found += f"; slowest to be resolved, {days:.1f} days on average: {label[:200]}"
    return f"{found}."


def _merge(near: Matrix, members: dict[int, list[int]], kept: int, gone: int) -> None:
    """Make two groups one; its margin to a third is the mean over the members."""
    ours, theirs = len(members[kept]), len(members[gone])
    row = (ours * near[kept] + theirs * near[gone]) / (ours + theirs)
    row[[kept, gone]] = -np.inf
    near[kept, :] = near[:, kept] = row
    near[gone, :] = near[:, gone] = -np.inf
    members[kept] += members.pop(gone)


def _prevailing_model(wordings: Iterable[Wording]) -> str:
    counts: dict[str, int] = {}
    for wording in wordings:
        if wording.vector:
            counts[wording.model] = counts.get(wording.model, 0) + wording.frequency
    return max(counts, key=lambda model: (counts[model], model), default="")


def _by_equal_text(wordings: Sequence[Wording]) -> list[list[Wording]]:
    """Wordings with the same text but for case, punctuation and blanks; the most frequent of each first."""
    same: dict[str, list[Wording]] = {}
    for wording in wordings:
        same.setdefault(normalised(wording.text), []).append(wording)
    return list(same.values())


def _vector_of(same: Sequence[Wording], model: str) -> bytes:
    return next((w.vector for w in same if w.vector and w.model == model), b"")


def _unpack(sent: bytes) -> Matrix:
    """pgvector's halfvec as it is sent: two 16-bit integers (the dimensions, and one not used), then the numbers."""
    return np.frombuffer(sent, dtype=">f2", offset=4).astype(np.float64)


def _group(parts: Sequence[Sequence[Wording]], margins: Matrix) -> Group:
    """One group; its label is what is nearest to all the others, weighted by how often they came."""
    weights = np.array([sum(wording.frequency for wording in part) for part in parts], dtype=np.float64)
    nearness = margins.copy()
    np.fill_diagonal(nearness, 1.0)
    label = parts[int((nearness @ weights).argmax())][0].text
    own = sorted((w for part in parts for w in part), key=lambda w: (-w.frequency, -w.last_raise_time.timestamp()))
    newest = sorted(((t, i) for w in own for t, i in zip(w.raise_times, w.impediment_ids, strict=True)), reverse=True)
    dated = sum(wording.dated for wording in own)
    return Group(
        label=label,
        frequency=sum(wording.frequency for wording in own),
        open_count=sum(wording.open_count for wording in own),
        wordings=tuple(wording.text for wording in own[:MOST_WORDINGS]),
        impediment_ids=tuple(impediment_id for _, impediment_id in newest[:MOST_IDS]),
        sprint_ids=tuple(sorted({sprint_id for wording in own for sprint_id in wording.sprint_ids})),
        first_raise_time=min(wording.first_raise_time for wording in own),
        last_raise_time=max(wording.last_raise_time for wording in own),
        mean_resolve_time=timedelta(days=sum(w.resolve_days for w in own) / dated) if dated else None,
    )
