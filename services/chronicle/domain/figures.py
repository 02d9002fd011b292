"""Counts and sums per project: what analytics over all projects rest on."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime

from services.chronicle.domain.notes import ActionItem, ActionItemState, Retrospective, Statistics

_OPEN = (ActionItemState.OPEN, ActionItemState.IN_PROGRESS)


@dataclass(frozen=True, slots=True)
class Figures:
    """Counts and sums of one project, of all, or what a change adds to them.

    The completion rate is known of `rated_sprints` of the closed ones, the size of the team of `staffed_sprints`;
    `held_tasks` are those that closed sprints completed or released.
    """

    sprints: int = 0
    reported_sprints: int = 0
    reports: int = 0
    retrospectives: int = 0
    action_items: int = 0
    open_action_items: int = 0
    decisions: int = 0
    closed_sprints: int = 0
    completed_tasks: int = 0
    held_tasks: int = 0
    impediments: int = 0
    rated_sprints: int = 0
    completion_rates: float = 0.0
    staffed_sprints: int = 0
    people: int = 0
    last_note_time: datetime | None = None

    @property
    def completion_rate(self) -> float | None:
        """Mean completion rate of the closed sprints, 0 to 1; None if it is known of none."""
        return self.completion_rates / self.rated_sprints if self.rated_sprints else None


SUMMED = tuple(field.name for field in fields(Figures) if field.name != "last_note_time")


def is_open(item: ActionItem) -> bool:
    """True if the item is neither done nor dropped."""
    return item.state in _OPEN


def figures_of(note: Retrospective) -> Figures:
    """What a retrospective adds, apart from what its sprint came to."""
    return Figures(
        retrospectives=1,
        action_items=len(note.action_items),
        open_action_items=sum(map(is_open, note.action_items)),
        last_note_time=note.create_time,
    )


def figures_of_sprint(statistics: Statistics) -> Figures:
    """What a closed sprint adds."""
    return Figures(
        closed_sprints=1,
        completed_tasks=statistics.completed_tasks,
        held_tasks=statistics.completed_tasks + statistics.released_tasks,
        impediments=statistics.impediments_raised,
        rated_sprints=statistics.completion_rate is not None,
        completion_rates=statistics.completion_rate or 0.0,
        staffed_sprints=statistics.team_size > 0,
        people=statistics.team_size,
    )


def total(parts: Iterable[Figures]) -> Figures:
    """The sum of some figures, with the latest of their times."""
    parts = tuple(parts)
    sums = {name: sum(getattr(part, name) for part in parts) for name in SUMMED}
    return Figures(**sums, last_note_time=max((p.last_note_time for p in parts if p.last_note_time), default=None))
