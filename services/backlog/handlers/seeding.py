"""SeedSampleData: a small backlog to try things with."""

from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.project.v1.project_service_pb2 import ListTeamMembersRequest, ListTeamMembersResponse

from services.backlog.domain.errors import ProjectArchived
from services.backlog.domain.seed import DEFAULT_TEAM, SEED_PROJECT, seed_stories, seed_tasks
from services.backlog.domain.story import Story, new_story, revised_story
from services.backlog.domain.task import Task
from services.backlog.events import story_changed, story_created
from services.backlog.handlers.room import ARCHIVED
from services.backlog.handlers.tasks import TaskHandlers
from services.backlog.store.projects import count_up, project_status
from services.backlog.store.stories import insert_stories, link_tasks, lock_stories_by_key, save_stories
from services.backlog.store.tasks import holders_of_keys
from services.kit.data.database import WriteHandle
from services.kit.errors import DependencyUnavailable
from services.kit.serving.gate import Context

_MOST_MEMBERS = 250


class SeedHandlers(TaskHandlers):
    """SeedSampleData."""

    async def SeedSampleData(self, request: pb.SeedSampleDataRequest, context: Context) -> pb.SeedSampleDataResponse:
        """What is not there yet of the sample's tasks, stories and links."""
        project_id = request.project_id or SEED_PROJECT
        team, default_team = await self._team(project_id)
        stories, tasks = seed_stories(), seed_tasks(team)
        async with self._db.write() as tx:
            await count_up(tx, project_id)
            kept_tasks = await holders_of_keys(tx, project_id, list(tasks))
            kept_stories = await lock_stories_by_key(tx, project_id, list(stories))
            new = {key: task for key, task in tasks.items() if key not in kept_tasks}
            contents = [task.content for task in new.values()]
            made = await self._create(tx, project_id, contents, [task.assignee_id for task in new.values()])
            made_stories = await self._create_stories(tx, project_id, kept_stories)
            ids = kept_tasks | {key: task.task_id for key, task in zip(new, made, strict=True)}
            links = [
                ((kept_stories | made_stories)[task.story_key], ids[key])
                for key, task in tasks.items()
                if key in new or task.story_key in made_stories
            ]
            await self._link(tx, links)
            return tx.reply(
                pb.SeedSampleDataResponse(
                    tasks_count=len(made),
                    stories_count=len(made_stories),
                    links_count=len(links),
                    assignee_ids=_assignees(made),
                    default_team=default_team,
                )
            )

    async def _team(self, project_id: str) -> tuple[list[str], bool]:
        """Who is on the team or will be, and False; the default list and True if the project service is away."""
        try:
            if await self._ask_for_project(project_id) == ARCHIVED:
                raise ProjectArchived(project_id)
            request = ListTeamMembersRequest(project_id=project_id, page_size=_MOST_MEMBERS)
            answer = await self._project.call(self._projects.ListTeamMembers, request, ListTeamMembersResponse)
        except DependencyUnavailable:
            if await project_status(self._db.read, project_id) == ARCHIVED:
                raise ProjectArchived(project_id) from None
            return list(DEFAULT_TEAM), True
        today = self._clock().date().isoformat()
        places = [member for member in answer.team_members if not member.end_date or member.end_date >= today]
        return sorted({member.employee_id for member in places}), False

    async def _create_stories(self, tx: WriteHandle, project_id: str, kept: dict[str, Story]) -> dict[str, Story]:
        new = {key: content for key, content in seed_stories().items() if key not in kept}
        first = (await count_up(tx, project_id, stories=len(new))).last_story - len(new) + 1
        now = self._clock()
        made = {
            key: new_story(project_id, first + index, content, now) for index, (key, content) in enumerate(new.items())
        }
        await insert_stories(tx, list(made.values()))
        for story in made.values():
            story_created(tx.emit, story)
        return made

    async def _link(self, tx: WriteHandle, links: list[tuple[Story, str]]) -> None:
        """Tasks under stories, told by each story."""
        await link_tasks(tx, [(story.story_id, task_id) for story, task_id in links])
        for before in {story.story_id: story for story, _ in links}.values():
            after = revised_story(before, self._clock())
            await save_stories(tx, [after])
            linked = [task_id for story, task_id in links if story is before]
            story_changed(tx.emit, before, after, linked=linked)


def _assignees(tasks: list[Task]) -> list[str]:
    """Who got something, in turn."""
    return list(dict.fromkeys(task.course.assignee_id for task in tasks if task.course.assignee_id))
