"""The chronicle's formulas over history: health, groups of impediments, similarity, impact."""

import math
import statistics
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chronicle.domain.figures import Figures, figures_of_sprint, total
from services.chronicle.domain.impact import (
    MINIMUM_GROUP_SIZE,
    Impact,
    Outcomes,
    Sample,
    describe,
    difference_interval,
    improvement_percent,
    mean_interval,
    share_interval,
    student_t,
)
from services.chronicle.domain.impediments import Wording, alike, analyse, link, normalised, words
from services.chronicle.domain.notes import Statistics
from services.chronicle.domain.similarity import MEASURES, VELOCITY, Candidate, compare, deviation, text_score
from services.chronicle.domain.summary import Health, summarize
from services.chronicle.domain.topics import background, sample_key

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
GOOD = Figures(
    sprints=10,
    reported_sprints=9,
    reports=50,
    retrospectives=10,
    action_items=20,
    open_action_items=4,
    closed_sprints=10,
    completed_tasks=80,
    held_tasks=90,
    impediments=20,
    rated_sprints=10,
    completion_rates=9.0,
    staffed_sprints=10,
    people=50,
)
samples = st.lists(st.floats(min_value=0, max_value=1), min_size=2, max_size=30)


# --- figures and health -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("figures", "health"),
    [
        (Figures(), Health.UNKNOWN),
        (replace(GOOD, closed_sprints=0), Health.UNKNOWN),
        (GOOD, Health.GOOD),
        (replace(GOOD, completion_rates=8.0), Health.GOOD),
        (replace(GOOD, completion_rates=7.9), Health.FAIR),
        (replace(GOOD, reported_sprints=7), Health.FAIR),
        (replace(GOOD, open_action_items=11), Health.FAIR),
        (replace(GOOD, action_items=0, open_action_items=0), Health.GOOD),
        (replace(GOOD, completion_rates=7.9, reported_sprints=7), Health.POOR),
        (replace(GOOD, rated_sprints=0, completion_rates=0.0), Health.FAIR),
    ],
)
def test_health_counts_what_needs_care(figures: Figures, health: Health) -> None:
    found = summarize(figures, projects=1)
    assert found.health is health
    assert found.reasons


def test_a_sprint_without_rate_or_team_is_left_out_of_their_means() -> None:
    told = Statistics(None, None, 3, 5.0, 1, 2.0, completion_rate=0.75, impediments_raised=2, team_size=4)
    silent = Statistics(None, None, 0, 0.0, 0, 0.0)
    found = total([figures_of_sprint(told), figures_of_sprint(silent), Figures(last_note_time=NOW)])
    assert (found.closed_sprints, found.rated_sprints, found.staffed_sprints) == (2, 1, 1)
    assert (found.completion_rate, found.held_tasks, found.people) == (0.75, 4, 4)
    assert found.last_note_time == NOW


# --- impediments --------------------------------------------------------------------------------


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


# --- similar projects ---------------------------------------------------------------------------


def test_a_project_resembles_its_twin_most() -> None:
    twin = Candidate("TWIN", GOOD, text_cosine=0.95)
    other = Candidate("OTHER", replace(GOOD, completed_tasks=8, held_tasks=90, completion_rates=1.0), text_cosine=0.0)
    found, compared = compare(GOOD, [other, twin], 0.0, 10)
    assert compared == 2
    assert [each.candidate.project_id for each in found] == ["TWIN", "OTHER"]
    assert found[0].score == pytest.approx(1)
    for each in found:
        assert each.score == pytest.approx(sum(part.weight * part.score for part in each.parts))
        assert sum(part.weight for part in each.parts) == pytest.approx(1)
        assert {part.name for part in each.parts} == {
            "velocity",
            "size",
            "completion_rate",
            "impediments",
            "backlog_text",
        }
    assert compare(GOOD, [other, twin], 0.7, 10)[0][0].candidate is twin
    assert len(compare(GOOD, [other, twin], 0.0, 1)[0]) == 1


def test_what_is_not_known_of_both_gives_its_weight_to_the_rest() -> None:
    [found], _ = compare(Figures(), [Candidate("P", GOOD, 0.9)], 0, 10)
    assert [(part.name, part.weight, part.score) for part in found.parts] == [("backlog_text", 1, 1)]
    [found], _ = compare(GOOD, [Candidate("P", replace(GOOD, staffed_sprints=0, people=0))], 0, 10)
    size = next(part for part in found.parts if part.name == "size")
    assert "held" in size.explanation
    assert compare(Figures(), [Candidate("P", GOOD), Candidate("Q", Figures())], 0, 10) == ([], 0)


def test_a_few_projects_that_are_alike_make_no_small_difference_large() -> None:
    assert deviation(VELOCITY, []) == VELOCITY.assumed
    assert deviation(VELOCITY, [1.0, 1.0, 1.0]) == pytest.approx(VELOCITY.assumed * 10 / 13)
    assert deviation(VELOCITY, [float(n) for n in range(1000)]) == pytest.approx(499.5 / 1.349, rel=0.02)


@given(st.floats(-1, 1), st.floats(-1, 1))
def test_the_text_score_grows_with_the_cosine(one: float, two: float) -> None:
    assert 0 <= text_score(one) <= 1
    assert (one <= two) <= (text_score(one) <= text_score(two))


numbers = st.integers(0, 500)


@given(st.lists(st.tuples(numbers, numbers, numbers, numbers), min_size=2, max_size=8))
def test_every_score_is_the_sum_of_its_parts_and_within_0_and_1(rows: list[tuple[int, int, int, int]]) -> None:
    projects = [
        Candidate(
            f"P{index}",
            Figures(
                closed_sprints=closed,
                completed_tasks=done,
                held_tasks=done,
                impediments=impediments,
                staffed_sprints=closed,
                people=people,
            ),
        )
        for index, (closed, done, impediments, people) in enumerate(rows)
    ]
    found, _ = compare(projects[0].figures, projects[1:], 0, 50)
    for each in found:
        assert 0 <= each.score <= 1
        assert each.score == pytest.approx(sum(part.weight * part.score for part in each.parts))
    assert len(MEASURES) == 5


def test_the_sample_of_titles_is_the_same_everywhere() -> None:
    assert sample_key("TEST-001-TASK001") == sample_key("TEST-001-TASK001") != sample_key("TEST-001-TASK002")
    assert -(2**63) <= sample_key("") < 2**63
    assert len({title.task_id for title in background()}) == len(background()) >= 30


# --- impact -------------------------------------------------------------------------------------


def _sample(values: list[float]) -> Sample:
    return Sample(len(values), statistics.fmean(values), statistics.variance(values) if len(values) > 1 else None)


def test_the_intervals_are_those_of_the_books() -> None:
    # NIST/SEMATECH e-Handbook 1.3.5.2, flow meters: N = 195, mean 9.261460, s = 0.022789 gives 9.258242 to 9.264679.
    found = mean_interval(Sample(195, 9.261460, 0.022789**2))
    assert found is not None
    assert [found.low, found.high] == pytest.approx([9.258242, 9.264679], abs=3e-5)
    # Wilson at 0 of 10 and 5 of 10 with z = 1.96.
    nothing = share_interval(0, 10)
    assert nothing is not None
    assert [nothing.low, nothing.high] == pytest.approx([0, 0.2775], abs=1e-4)
    half = share_interval(5, 10)
    assert half is not None
    assert [half.low, half.high] == pytest.approx([0.2366, 0.7634], abs=1e-4)
    # Welch with equal variances and sizes has the degrees of Student's: 2n - 2.
    values = [1.0, 2.0, 3.0, 4.0]
    difference = difference_interval(_sample(values), _sample([v + 1 for v in values]))
    reach = student_t(6) * math.sqrt(2 * statistics.variance(values) / 4)
    assert difference is not None
    assert [difference.low, difference.high] == pytest.approx([-1 - reach, -1 + reach])


def test_too_few_measurements_have_no_interval() -> None:
    one, two = _sample([0.5]), _sample([0.5, 0.7])
    assert mean_interval(Sample()) is mean_interval(one) is None
    assert difference_interval(one, two) is difference_interval(two, Sample()) is None
    assert share_interval(0, 0) is None
    assert improvement_percent(two, Sample()) is improvement_percent(Sample(), two) is None
    assert improvement_percent(two, _sample([0.0, 0.0])) is None
    assert improvement_percent(_sample([0.9, 0.95]), _sample([0.75, 0.8])) == pytest.approx(19.35, abs=0.01)


@given(samples, samples)
def test_intervals_hold_their_estimate(one: list[float], two: list[float]) -> None:
    first, second = _sample(one), _sample(two)
    mean, difference = mean_interval(first, 0, 1), difference_interval(first, second)
    assert mean is not None
    assert difference is not None
    assert 0 <= mean.low <= (first.mean or 0) + 1e-9
    assert (first.mean or 0) - 1e-9 <= mean.high <= 1
    assert difference.low - 1e-9 <= (first.mean or 0) - (second.mean or 0) <= difference.high + 1e-9


@given(st.integers(1, 500), st.data())
def test_a_share_lies_in_its_interval(count: int, data: st.DataObject) -> None:
    successes = data.draw(st.integers(0, count))
    found = share_interval(successes, count)
    assert found is not None
    assert 0 <= found.low <= successes / count <= found.high <= 1


def test_t_falls_toward_the_normal_distribution() -> None:
    values = [student_t(degrees) for degrees in range(1, 2000)]
    assert values == sorted(values, reverse=True)
    assert (values[0], values[-1]) == (12.706, 1.96)


def _impact(enhanced: list[float], rule_based: list[float]) -> Impact:
    groups = [Outcomes(len(v), 0, _sample(v) if v else Sample()) for v in (enhanced, rule_based)]
    return Impact(date(2026, 1, 1), date(2026, 1, 31), groups[0], groups[1], 0, ())


def test_a_difference_is_claimed_only_beyond_the_scatter() -> None:
    few = MINIMUM_GROUP_SIZE - 1
    assert describe(_impact([0.9] * few, [0.5] * 20)).startswith("Not enough data")
    assert not _impact([0.9] * few, [0.5] * 20).enough
    assert "no difference" in describe(_impact([0.2, 0.9, 0.4, 0.8, 0.6], [0.3, 0.8, 0.5, 0.7, 0.6]))
    assert "a difference beyond" in describe(_impact([0.9, 0.95, 0.92, 0.97, 0.9], [0.5, 0.45, 0.52, 0.47, 0.5]))
