"""Projects that are alike, by figures and by their titles."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.chronicle.domain.figures import Figures
from services.chronicle.domain.similarity import MEASURES, VELOCITY, Candidate, compare, deviation, text_score
from services.chronicle.domain.topics import background, sample_key
from tests.unit.chronicle.figures import GOOD


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
