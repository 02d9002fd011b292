"""Memory's thinking: how situations are described and compared, and what an outcome says of a record's quality."""

from dataclasses import replace
from uuid import uuid4

from services.orchestrator.domain.decision import decide_rule_based
from services.orchestrator.domain.episode import describe, reassess, remember
from services.orchestrator.domain.likeness import Traits, traits_of
from services.orchestrator.domain.outcome import Outcome
from services.orchestrator.domain.situation import Analysis, Options
from services.orchestrator.memory import Cache
from services.orchestrator.store.episodes import Vector
from tests.unit.orchestrator.situations import FINISHED, HISTORY, NOW, analysis, record


def in_words(seen: Analysis) -> str:
    return describe(seen, decide_rule_based(seen, Options()))


def test_a_situation_in_words() -> None:
    assert in_words(analysis(patterns=HISTORY, capacity_person_days=41.37)) == (
        "A middle-sized team of 5 people with 41 person-days."
        " A 2-week sprint of 8 of 8 waiting tasks: a heavy plan, 1.3 times the usual pace."
        " No sprint is open."
        " 4 closed sprints completed 3 tasks a week, 75 % of what was planned, velocity falling."
    )
    assert in_words(analysis(unassigned=0, team=0)) == (
        "A project with nobody on the team. No sprint is to be planned; 0 tasks wait. No sprint is open."
        " The first sprint: none has been closed yet."
    )


def test_like_situations_read_alike_whatever_the_project() -> None:
    assert in_words(analysis(capacity_person_days=40.1)) == in_words(analysis(capacity_person_days=39.9))
    assert in_words(analysis()) != in_words(analysis(unassigned=9))
    assert "P-S01" not in in_words(FINISHED)


def test_traits_of_a_situation() -> None:
    seen = analysis(patterns=HISTORY)
    assert traits_of(seen, decide_rule_based(seen, Options())) == Traits(
        team_size=5, load=0.2, velocity=3, duration_weeks=2, relative_load=4 / 3
    )
    idle = analysis(unassigned=0, team=0, capacity_person_days=0.0, patterns=replace(HISTORY, completed_tasks=0.0))
    assert traits_of(idle, decide_rule_based(idle, Options())) == Traits()


def test_an_outcome_settles_the_quality_of_its_episode() -> None:
    nothing_done = record(analysis())
    doubtful = replace(remember(uuid4(), nothing_done), quality_score=0.5)
    outcome = Outcome("P-S01", 0.75, 8, 6, 0, 0, 40, 0, NOW)
    assert reassess(replace(doubtful, outcome=outcome)).quality_score == 1
    empty = reassess(replace(doubtful, outcome=replace(outcome, completion_rate=None)))
    assert not empty.retrievable
    assert empty.quality_findings == ("The sprint held no task when it closed.",)


def test_a_vector_is_kept_without_its_padding() -> None:
    padded = [0.5] * 384 + [0.0] * 640
    assert Vector.of("small", padded, 384).values == (0.5,) * 384
    # Lengths for which there is no index are those of the longest.
    assert len(Vector.of("middle", [0.5] * 768 + [0.0] * 256, 768).values) == 1024
    assert len(Vector.of("large", [0.5] * 1024, 1024).values) == 1024
    assert Vector("m", (0.25, -1e-9)).text == "[0.25,-1e-09]"


def test_the_cache_tells_apart_who_waits_for_a_vector() -> None:
    cache, vector = Cache(), Vector("m", (1.0,))
    assert cache.peek("text") is None
    cache.put("text", vector)
    assert cache.peek("text") is vector
    assert cache.hit_rate is None
    assert cache.get("text") is vector
    assert cache.get("other") is None
    assert cache.hit_rate == 0.5
