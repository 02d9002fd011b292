"""What recurs in a project."""

from dataclasses import dataclass

from services.chronicle.domain.figures import Figures


@dataclass(frozen=True, slots=True)
class CommonItem:
    """An action item that came up in `count` retrospectives, in `open_count` of which it is open."""

    description: str
    count: int
    open_count: int


@dataclass(frozen=True, slots=True)
class CycleTimes:
    """Of tasks that daily scrums report completed: from the first reported work, in whole days, both counted.

    Counted so (finish - start + 1), a task begun and completed on one day took a day: Vacanti, Actionable Agile Metrics
    for Predictability, 2015. None = no task was reported completed.
    """

    completed: int
    median_days: int | None
    p85_days: int | None


@dataclass(frozen=True, slots=True)
class Closed:
    """Figures of the closed sprints; None = none closed, or none that held tasks."""

    typical_rate: float | None
    average_rate: float | None
    average_days: float | None


@dataclass(frozen=True, slots=True)
class Patterns:
    """Everything together."""

    figures: Figures
    closed: Closed
    cycle: CycleTimes
    items: tuple[CommonItem, ...]


def describe(patterns: Patterns) -> str:
    """The findings in a few sentences; what is not known is not said."""
    found = []
    sprints = patterns.figures.closed_sprints
    if patterns.closed.typical_rate is not None:
        found.append(f"Over {sprints} closed sprints, a typical one completed {patterns.closed.typical_rate:.0%}.")
    else:
        found.append("No sprint that held tasks has closed yet.")
    cycle = patterns.cycle
    if cycle.median_days is not None:
        found.append(
            f"Half of {cycle.completed} completed tasks took at most {cycle.median_days} days, and 85 % at most "
            f"{cycle.p85_days}."
        )
    recurring = [item for item in patterns.items if item.count > 1]
    if recurring:
        first = recurring[0]
        found.append(f"The action item that came up most often, {first.count} times: {first.description[:300]}")
    return " ".join(found)
