"""Episodes: the quality of a record, and what is remembered of it."""

from dataclasses import replace
from uuid import uuid4

import pytest

from services.orchestrator.domain.action import ActionState, settle
from services.orchestrator.domain.episode import Record, assess, remember, revise
from services.orchestrator.domain.situation import Options
from tests.unit.orchestrator.situations import RULES, analysis, record


@pytest.mark.parametrize(
    ("found", "quality"),
    [
        (record(analysis()), 1.0),
        (record(analysis(capacity_person_days=None)), 0.9),
        (record(analysis(), Options(dry_run=True)), 0.65),
        (record(analysis(unassigned=0)), 0.5),
        (record(analysis(), final=replace(RULES, tasks_to_assign=9)), 0.8),
    ],
)
def test_quality_is_the_sum_of_what_holds(found: Record, quality: float) -> None:
    score, findings = assess(found)
    assert score == quality
    assert bool(findings) == (quality < 1)


def test_an_episode_of_a_failed_decision_is_kept_and_not_retrieved() -> None:
    found = record(analysis())
    episode = remember(uuid4(), found)
    assert episode.retrievable
    assert found.pending
    start = replace(found.actions[1], state=ActionState.FAILED)
    revised = revise(episode, found.with_actions(settle(found.actions, start)))
    assert not revised.retrievable
    assert revised.version == episode.version + 1
    assert not revised.record.pending
