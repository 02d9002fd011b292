"""A story: a user-facing goal that groups tasks of its project."""

from dataclasses import dataclass, fields, replace
from datetime import datetime
from decimal import Decimal

from services.backlog.domain.task import Origin
from services.kit.errors import InvalidArgument


@dataclass(frozen=True, slots=True)
class StoryContent:
    """What people write."""

    title: str
    description: str = ""
    origin: Origin | None = None


@dataclass(frozen=True, slots=True)
class StoryProgress:
    """A story's tasks summed up; cancelled ones do not count."""

    total_tasks: int = 0
    completed_tasks: int = 0
    total_points: Decimal = Decimal(0)
    completed_points: Decimal = Decimal(0)

    @property
    def percent(self) -> float:
        """Completed tasks of all, 0 to 100."""
        return 100 * self.completed_tasks / self.total_tasks if self.total_tasks else 0.0


@dataclass(frozen=True, slots=True)
class Story:
    """A goal of one project."""

    story_id: str
    project_id: str
    number: int
    version: int
    create_time: datetime
    update_time: datetime
    content: StoryContent
    progress: StoryProgress = StoryProgress()


def story_id_of(project_id: str, number: int) -> str:
    """The id of a project's story, with at least three digits."""
    return f"{project_id}-STORY{number:03d}"


def new_story(project_id: str, number: int, content: StoryContent, now: datetime) -> Story:
    """A story as created."""
    return Story(story_id_of(project_id, number), project_id, number, 1, now, now, content)


def revised_story(story: Story, now: datetime, content: StoryContent | None = None) -> Story:
    """The story after a change of itself or of the tasks under it."""
    return replace(story, content=content or story.content, version=story.version + 1, update_time=now)


def changed_story_fields(before: Story, after: Story) -> list[str]:
    """Names of the fields that differ."""
    return [f.name for f in fields(StoryContent) if getattr(before.content, f.name) != getattr(after.content, f.name)]


def check_story(content: StoryContent) -> None:
    """InvalidArgument if there is no title."""
    if not content.title.strip():
        raise InvalidArgument("story.title", "must be set", content.title)
