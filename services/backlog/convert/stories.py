"""Stories and summaries between the contract and the domain."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal

from dsm.backlog.v1 import backlog_service_pb2
from dsm.backlog.v1 import task_pb2 as pb

from services.backlog.convert.tasks import STATES, from_origin, to_origin
from services.backlog.domain.story import Story, StoryContent
from services.backlog.domain.task import TaskState
from services.kit.convert import etag_of, from_time, masked_paths

_PATHS = ("title", "description", "origin")


def to_story_content(story: pb.Story) -> StoryContent:
    """The content of a new story."""
    return StoryContent(story.title, story.description, to_origin(story.origin))


def masked_story_content(content: StoryContent, update: backlog_service_pb2.UpdateStoryRequest) -> StoryContent:
    """The content after an update: what the mask names comes from the request, the rest stays."""
    given = to_story_content(update.story)
    return replace(
        content, **{path: getattr(given, path) for path in masked_paths(update.update_mask, _PATHS, "story")}
    )


def from_story(story: Story) -> pb.Story:
    """A story as sent."""
    progress = story.progress
    return pb.Story(
        story_id=story.story_id,
        project_id=story.project_id,
        title=story.content.title,
        description=story.content.description,
        origin=from_origin(story.content.origin),
        progress=pb.StoryProgress(
            total_tasks=progress.total_tasks,
            completed_tasks=progress.completed_tasks,
            total_points=float(progress.total_points),
            completed_points=float(progress.completed_points),
            percent=progress.percent,
        ),
        create_time=from_time(story.create_time),
        update_time=from_time(story.update_time),
        etag=etag_of(story.version),
    )


def from_counts(
    project_id: str, counts: Mapping[str, tuple[int, Decimal]], unestimated_tasks: int = 0, stories: int = 0
) -> pb.BacklogSummary:
    """A summary as sent, from (tasks, points) by state."""
    by_state = {state: counts.get(state, (0, Decimal(0))) for state in TaskState}
    return pb.BacklogSummary(
        project_id=project_id,
        total_tasks=sum(tasks for tasks, _ in by_state.values()),
        total_points=float(sum(points for _, points in by_state.values())),
        state_counts=[
            pb.StateCount(state=STATES[state], tasks=tasks, points=float(points))
            for state, (tasks, points) in by_state.items()
        ],
        unestimated_tasks=unestimated_tasks,
        total_stories=stories,
    )
