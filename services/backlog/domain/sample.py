"""A plausible sample backlog; the same seed gives the same tasks."""

from datetime import timedelta
from decimal import Decimal
from random import Random

from services.backlog.domain.task import Content, Priority

_KINDS = {
    "Story": ("Let customers {act} {thing}", "As a customer I {act} {thing}, so that I need nobody's help for it."),
    "Bug": (
        "{Thing} fails when two people {act} at once",
        "Expected: the second one is told. Seen: one is lost.",
    ),
    "Improvement": ("Make it faster to {act} {thing}", "Goal: half of today's time at the 95th percentile."),
    "Task": ("Document how to {act} {thing}", "One page with an example that is run by the tests."),
}
_ACTS = ("create", "change", "share", "find", "export", "archive", "approve", "compare")
_THINGS = ("an invoice", "a report", "the calendar", "a team", "an order", "the price list", "a contract", "a profile")
_TAGS = ("api", "web", "mobile", "billing", "search", "security")
_POINTS = (1, 2, 3, 5, 8)
_HOURS_PER_POINT = 4
_PRIORITIES = (Priority.LOW, Priority.MEDIUM, Priority.MEDIUM, Priority.HIGH, Priority.URGENT)


def sample_contents(count: int, random: Random) -> list[Content]:
    """`count` tasks of mixed kind, size and priority."""
    return [_sample_content(random) for _ in range(count)]


def _sample_content(random: Random) -> Content:
    kind = random.choice(list(_KINDS))
    act, thing = random.choice(_ACTS), random.choice(_THINGS)
    title, description = (
        text.format(act=act, thing=thing, Thing=thing[0].upper() + thing[1:]) for text in _KINDS[kind]
    )
    points = random.choice(_POINTS)
    estimate = timedelta(hours=points * _HOURS_PER_POINT)
    return Content(
        title=title,
        description=description,
        type=kind,
        points=Decimal(points),
        estimate=estimate,
        remaining=estimate,
        priority=random.choice(_PRIORITIES),
        tags=tuple(sorted(random.sample(_TAGS, random.randint(0, 2)))),
    )
