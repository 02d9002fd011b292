"""Calls on stories and the tasks under them."""

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import task_pb2

from services.backlog.convert.stories import from_story, masked_story_content, to_story_content
from services.backlog.domain.errors import ProjectArchived, ProjectMismatch, StoryNotFound, TaskNotFound
from services.backlog.domain.story import Story, check_story, new_story, revised_story
from services.backlog.events import story_changed, story_created, story_deleted
from services.backlog.handlers.room import ARCHIVED, Room
from services.backlog.store.projects import count_up, project_status
from services.backlog.store.stories import (
    delete_story,
    find_story,
    insert_stories,
    link_tasks,
    linked_tasks,
    lock_story,
    page_of_stories,
    save_stories,
    unlink_tasks,
)
from services.backlog.store.tasks import projects_of_tasks
from services.kit.convert import check_etag
from services.kit.data.database import WriteHandle
from services.kit.data.paging import page_of
from services.kit.serving.gate import Context


class StoryHandlers(Room):
    """The RPCs on stories."""

    async def CreateStory(self, request: pb.CreateStoryRequest, context: Context) -> pb.CreateStoryResponse:
        """One story."""
        content = to_story_content(request.story)
        check_story(content)
        project_id = request.story.project_id
        await self._check_project(project_id)
        async with self._db.write() as tx:
            number = (await count_up(tx, project_id, stories=1)).last_story
            story = new_story(project_id, number, content, self._clock())
            await insert_stories(tx, [story])
            story_created(tx.emit, story)
            return tx.reply(pb.CreateStoryResponse(story=from_story(story)))

    async def GetStory(self, request: pb.GetStoryRequest, context: Context) -> pb.GetStoryResponse:
        """One story with its progress."""
        story = await find_story(self._db.read, request.story_id)
        if story is None:
            raise StoryNotFound(request.story_id)
        return pb.GetStoryResponse(story=from_story(story))

    async def ListStories(self, request: pb.ListStoriesRequest, context: Context) -> pb.ListStoriesResponse:
        """A page of stories by id."""
        page = page_of(request)
        after = page.after[0] if page.after else 0
        rows = await page_of_stories(self._db.read, request.project_id, after, page.limit)
        kept, token = page.cut(rows, lambda story: (story.number,))
        return pb.ListStoriesResponse(stories=map(from_story, kept), next_page_token=token)

    async def UpdateStory(self, request: pb.UpdateStoryRequest, context: Context) -> pb.UpdateStoryResponse:
        """What the mask names."""
        async with self._db.write() as tx:
            before = await self._open_story(tx, request.story.story_id, request.story.etag)
            content = masked_story_content(before.content, request)
            check_story(content)
            after = revised_story(before, self._clock(), content)
            await save_stories(tx, [after])
            story_changed(tx.emit, before, after)
            return tx.reply(pb.UpdateStoryResponse(story=from_story(after)))

    async def DeleteStory(self, request: pb.DeleteStoryRequest, context: Context) -> pb.DeleteStoryResponse:
        """The story, not its tasks."""
        async with self._db.write() as tx:
            story = await self._open_story(tx, request.story_id, request.etag)
            await delete_story(tx, story.story_id)
            story_deleted(tx.emit, story)
            return tx.reply(pb.DeleteStoryResponse())

    async def LinkTasks(self, request: pb.LinkTasksRequest, context: Context) -> pb.LinkTasksResponse:
        """Tasks under a story, all or none."""
        async with self._db.write() as tx:
            before = await self._open_story(tx, request.story_id)
            projects = await projects_of_tasks(tx, request.task_ids)
            for task_id in request.task_ids:
                if task_id not in projects:
                    raise TaskNotFound(task_id)
                if projects[task_id] != before.project_id:
                    raise ProjectMismatch(task_id, before.project_id)
            linked = set(request.task_ids) - await linked_tasks(tx, before.story_id, request.task_ids)
            await link_tasks(tx, [(before.story_id, task_id) for task_id in sorted(linked)])
            story = await self._relinked(tx, before, linked=sorted(linked))
            return tx.reply(pb.LinkTasksResponse(story=story))

    async def UnlinkTasks(self, request: pb.UnlinkTasksRequest, context: Context) -> pb.UnlinkTasksResponse:
        """Tasks from under a story."""
        async with self._db.write() as tx:
            before = await self._open_story(tx, request.story_id)
            unlinked = await unlink_tasks(tx, before.story_id, request.task_ids)
            story = await self._relinked(tx, before, unlinked=unlinked)
            return tx.reply(pb.UnlinkTasksResponse(story=story))

    async def _relinked(
        self, tx: WriteHandle, before: Story, linked: list[str] | None = None, unlinked: list[str] | None = None
    ) -> task_pb2.Story:
        """The story with other tasks under it; nothing is told if they are the same."""
        if not linked and not unlinked:
            return from_story(before)
        await save_stories(tx, [revised_story(before, self._clock())])
        after = await find_story(tx, before.story_id) or before
        story_changed(tx.emit, before, after, linked=linked or (), unlinked=unlinked or ())
        return from_story(after)

    async def _open_story(self, tx: WriteHandle, story_id: str, etag: str = "") -> Story:
        """A story that may be changed, locked: StoryNotFound, ProjectArchived, EtagMismatch."""
        story = await lock_story(tx, story_id)
        if story is None:
            raise StoryNotFound(story_id)
        if await project_status(tx, story.project_id) == ARCHIVED:
            raise ProjectArchived(story.project_id)
        check_etag(etag, story.version)
        return story
