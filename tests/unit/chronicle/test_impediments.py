"""Impediments that mean the same are one group."""

from datetime import timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.chronicle.domain.impediments import Wording, alike, analyse, link, normalised, words
from tests.unit.chronicle.figures import NOW


def _wording(text: str, vector: list[float] | None = None, *, frequency: int = 1, model: str = "m") -> Wording:
    packed = b"" if vector is None else b"\0\0\0\0" + np.array(vector, dtype=">f2").tobytes()
    ids = [f"{text}-{n}" for n in range(frequency)]
    times = [NOW - timedelta(days=n) for n in range(frequency)]
    return Wording(
        text,
        frequency,
        1,
        times[-1],
        NOW,
        2 * frequency,
        frequency,
        ids,
        times,
        ["P-S01"],
        model if packed else "",
        packed,
    )


def test_what_means_the_same_is_one_group() -> None:
    found = analyse(
        [
            _wording("Staging is down", [1, 0, 0], frequency=3),
            _wording("Test environment unreachable", [0.8, 0.6, 0]),
            _wording("Nobody reviews", [0, 0, 1]),
            _wording("staging is down!", [1, 0, 0]),
        ]
    )
    assert [group.frequency for group in found.groups] == [5, 1]
    first = found.groups[0]
    assert (first.label, first.open_count) == ("Staging is down", 3)
    assert first.wordings == ("Staging is down", "staging is down!", "Test environment unreachable")
    assert len(first.impediment_ids) == 5
    assert first.mean_resolve_time == timedelta(days=2)
    assert (found.total, found.open, found.not_embedded, found.model) == (6, 4, 0, "m")


def test_the_same_words_about_something_else_are_another_group() -> None:
    """A cosine that shared words explain is not enough; without shared words it is."""
    vectors = [[1.0, 0.0], [0.6, 0.8]]
    shared = [_wording("Missing test data", vectors[0]), _wording("Missing test approval", vectors[1])]
    apart = [_wording("Missing test data", vectors[0]), _wording("No sample records", vectors[1])]
    assert [len(analyse(texts).groups) for texts in (shared, apart)] == [2, 1]


def test_without_vectors_equal_text_is_all_there_is() -> None:
    found = analyse(
        [_wording("VPN is down."), _wording("vpn is  down"), _wording("No VPN"), _wording("!?"), _wording("?")]
    )
    assert (found.model, found.not_embedded, len(found.groups)) == ("", 5, 4)


def test_vectors_of_two_models_are_never_compared() -> None:
    found = analyse(
        [
            _wording("Alpha", [1, 0], frequency=2),
            _wording("Beta", [1, 0], model="other"),
            _wording("Gamma", [1, 0]),
        ]
    )
    assert (found.model, found.not_embedded) == ("m", 1)
    assert [group.wordings for group in found.groups] == [("Alpha", "Gamma"), ("Beta",)]


def test_one_doubtful_pair_chains_no_groups() -> None:
    """a-b and c-d are near, b-c just so: single linkage would make one group of them."""
    near, far = 0.4, -0.5
    margins = np.full((4, 4), far)
    for one, two, value in ((0, 1, near), (2, 3, near), (1, 2, 0.1)):
        margins[one, two] = margins[two, one] = value
    assert link(margins) == [[0, 1], [2, 3]]


@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), max_size=14))
def test_chains_give_the_groups_of_merging_the_nearest_first(rows: list[list[int]]) -> None:
    rng = np.random.default_rng(len(rows))
    points = np.array(rows, dtype=float).reshape(len(rows), 3) + rng.normal(scale=1e-3, size=(len(rows), 3))
    margins = 5 - np.linalg.norm(points[:, None] - points[None, :], axis=2)
    assert link(margins) == _nearest_first(margins)


def _nearest_first(margins: np.ndarray) -> list[list[int]]:
    groups = [[index] for index in range(len(margins))]
    while len(groups) > 1:
        value, one, two = max(
            (float(margins[np.ix_(a, b)].mean()), i, j)
            for i, a in enumerate(groups)
            for j, b in enumerate(groups)
            if i < j
        )
        if value < 0:
            break
        groups[one] += groups.pop(two)
    return sorted(sorted(group) for group in groups)


def test_words_are_compared_without_endings_and_fillers() -> None:
    assert words("Waiting for the reviews of my tests") == words("wait: REVIEW, tested")
    assert normalised("  The API-key, is  missing! ") == "the api key is missing"
    assert normalised("…") == "…"
    assert alike([], np.empty((0, 0))).shape == (0, 0)
