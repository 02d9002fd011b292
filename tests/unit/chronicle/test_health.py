"""Health of a system by its figures."""

from dataclasses import replace

import pytest

from services.chronicle.domain.figures import Figures, figures_of_sprint, total
from services.chronicle.domain.notes import Statistics
from services.chronicle.domain.summary import Health, summarize
from tests.unit.chronicle.figures import GOOD, NOW


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
