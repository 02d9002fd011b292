"""How the projects do on the whole."""

from dataclasses import dataclass
from enum import StrEnum

from services.chronicle.domain.decisions import SUCCESS_RATE
from services.chronicle.domain.figures import Figures

# What is good enough: the share of known sprints with at least one daily scrum report, and of action items still open.
LEAST_REPORTED = 0.8
MOST_OPEN_ITEMS = 0.5


class Health(StrEnum):
    """How many things need care: none, one, or several; UNKNOWN = no sprint has closed."""

    UNKNOWN = "UNSPECIFIED"
    GOOD = "GOOD"
    FAIR = "FAIR"
    POOR = "POOR"


@dataclass(frozen=True, slots=True)
class Summary:
    """What history holds over all projects, and how they do; one reason per thing looked at, with its figure."""

    projects: int
    figures: Figures
    health: Health
    reasons: tuple[str, ...]


def summarize(figures: Figures, projects: int) -> Summary:
    """Judge three things: what sprints complete, whether daily scrums are kept, and whether action items get done."""
    if not figures.closed_sprints:
        return Summary(projects, figures, Health.UNKNOWN, ("No sprint has closed yet.",))
    rate = figures.completion_rate
    reported = figures.reported_sprints / figures.sprints if figures.sprints else 0.0
    still_open = figures.open_action_items / figures.action_items if figures.action_items else 0.0
    looked_at = [
        (
            rate is not None and rate >= SUCCESS_RATE,
            f"Closed sprints completed {rate or 0:.0%} of their tasks on average; {SUCCESS_RATE:.0%} is good.",
        ),
        (
            reported >= LEAST_REPORTED,
            f"{reported:.0%} of the sprints have daily scrum reports; {LEAST_REPORTED:.0%} is good.",
        ),
        (
            still_open <= MOST_OPEN_ITEMS,
            f"{figures.open_action_items} of {figures.action_items} action items are open; at most "
            f"{MOST_OPEN_ITEMS:.0%} is good.",
        ),
    ]
    failed = sum(not good for good, _ in looked_at)
    health = Health.GOOD if not failed else Health.FAIR if failed == 1 else Health.POOR
    return Summary(projects, figures, health, tuple(reason for _, reason in looked_at))


def describe(summary: Summary) -> str:
    """The summary in a sentence or two."""
    figures = summary.figures
    if not summary.projects:
        return "Nothing has been recorded yet."
    told = (
        f"{summary.projects} projects with {figures.sprints} sprints, {figures.reports} daily scrum reports and "
        f"{figures.retrospectives} retrospectives."
    )
    if figures.completion_rate is None:
        return told
    return f"{told} The {figures.closed_sprints} closed sprints completed {figures.completion_rate:.0%} on average."
