"""The sample data of SeedSampleData: four stories with two tasks each. Its keys keep a second call from doubling it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

from services.backlog.domain.story import StoryContent
from services.backlog.domain.task import Content, Origin, Priority

SEED_PROJECT = "TEST-001"
SEED_SYSTEM = "dsm-seed"
# Who gets the tasks if the project service cannot be asked for the team.
DEFAULT_TEAM = ("E001", "E002", "E003", "E004")

_HOURS_PER_POINT = 4
_STORIES = (
    ("Sign in", "As a customer I sign in once and stay signed in on my own device."),
    ("Find a product", "As a customer I find what I look for by a few words, also misspelt ones."),
    ("Pay", "As a customer I pay in my own currency and get a receipt."),
    ("Watch the shop", "As an operator I see within a minute that something is wrong, and what."),
)
# Place of the story, title, type, points, priority.
_TASKS = (
    (0, "Sign-in form with field errors", "Task", 3, Priority.HIGH),
    (0, "Sessions that outlive a restart", "Task", 5, Priority.HIGH),
    (1, "Index products by name and description", "Task", 5, Priority.MEDIUM),
    (1, "Misspelt words find nothing", "Bug", 3, Priority.MEDIUM),
    (2, "Card payments through the provider's sandbox", "Task", 8, Priority.URGENT),
    (2, "Receipts as PDF", "Improvement", 2, Priority.LOW),
    (3, "Health page of every service", "Task", 2, Priority.MEDIUM),
    (3, "Alert when orders stop coming in", "Task", 3, Priority.HIGH),
)


@dataclass(frozen=True, slots=True)
class SeedTask:
    """A task of the sample, the key of its story, and who gets it (empty = nobody)."""

    content: Content
    story_key: str
    assignee_id: str


def seed_stories() -> dict[str, StoryContent]:
    """The stories by key."""
    contents = [
        StoryContent(title, description, Origin(SEED_SYSTEM, _story_key(index)))
        for index, (title, description) in enumerate(_STORIES)
    ]
    return {_story_key(index): content for index, content in enumerate(contents)}


def seed_tasks(team: Sequence[str]) -> dict[str, SeedTask]:
    """The tasks by key, given to the team in turn."""
    tasks = {}
    for index, (story, title, kind, points, priority) in enumerate(_TASKS):
        key = f"{SEED_SYSTEM}-task-{index + 1}"
        effort = timedelta(hours=points * _HOURS_PER_POINT)
        content = Content(
            title=title,
            type=kind,
            points=Decimal(points),
            estimate=effort,
            remaining=effort,
            priority=priority,
            tags=("sample",),
            origin=Origin(SEED_SYSTEM, key),
        )
        tasks[key] = SeedTask(content, _story_key(story), team[index % len(team)] if team else "")
    return tasks


def _story_key(index: int) -> str:
    return f"{SEED_SYSTEM}-story-{index + 1}"
