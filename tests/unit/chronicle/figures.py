"""The figures of a project that does well."""

from datetime import UTC, datetime

from services.chronicle.domain.figures import Figures

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
