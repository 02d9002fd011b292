"""The backlog service on real sockets: lists, searches, summaries and stories."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.task_pb2 import (
    PRIORITY_HIGH,
    PRIORITY_LOW,
    PRIORITY_URGENT,
    TASK_STATE_ASSIGNED_TO_SPRINT,
    TASK_STATE_CANCELLED,
    TASK_STATE_COMPLETED,
    TASK_STATE_UNASSIGNED,
    Origin,
    Story,
    Task,
)
from google.protobuf.field_mask_pb2 import FieldMask

from tests.harness import World, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids, update_of


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


async def _titles(backlog: Backlog, project_id: str, **filters: Any) -> list[str]:
    answer = await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id, **filters))
    return [task.title for task in answer.tasks]


async def _pages(backlog: Backlog, project_id: str, page_size: int, **filters: Any) -> list[str]:
    titles, token = [], ""
    while True:
        request = pb.ListTasksRequest(project_id=project_id, page_size=page_size, page_token=token, **filters)
        answer = await backlog.stub.ListTasks(request)
        assert len(answer.tasks) <= page_size
        titles += [task.title for task in answer.tasks]
        token = answer.next_page_token
        if not token:
            return titles


async def _rich_project(backlog: Backlog) -> str:
    project_id = await backlog.project()
    a, b, c, *_ = await backlog.create_many(
        project_id,
        Task(title="A", type="Bug", priority=PRIORITY_LOW, tags=["x", "y"], due_date="2026-03-01", assignee_id="E001"),
        Task(title="B", priority=PRIORITY_URGENT, tags=["y"], due_date="2026-01-01"),
        Task(title="C", type="bug", tags=["z"], origin=Origin(key="K-3")),
        Task(title="D", priority=PRIORITY_HIGH, due_date="2026-02-01", description="Invoices are exported"),
        Task(title="E", priority=PRIORITY_HIGH, description="The invoice export, unlike the report"),
    )
    await backlog.stub.UpdateTask(update_of(b, "parent_task_id", parent_task_id=a.task_id))
    await backlog.reserve(f"{project_id}-S01", project_id, task_ids=[c.task_id])
    return project_id


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, "ABCDE"),
        ({"states": [TASK_STATE_ASSIGNED_TO_SPRINT]}, "C"),
        ({"states": [TASK_STATE_UNASSIGNED, TASK_STATE_CANCELLED]}, "ABDE"),
        ({"assignee_id": "E001"}, "A"),
        ({"type": "BUG"}, "AC"),
        ({"priority": PRIORITY_HIGH}, "DE"),
        ({"any_tags": ["x", "z"]}, "AC"),
        ({"all_tags": ["x", "y"]}, "A"),
        ({"due_before": "2026-02-01"}, "B"),
        ({"due_after": "2026-01-01"}, "AD"),
        ({"due_after": "2026-01-01", "due_before": "2026-03-01"}, "D"),
        ({"query": "invoice"}, "DE"),
        ({"query": '"invoices are exported"'}, "D"),
        ({"query": "invoice -report"}, "D"),
        ({"query": "the"}, ""),
        ({"query": "'; & | ! ( <-> :*"}, ""),
        ({"origin_key": "K-3"}, "C"),
        ({"type": "Bug", "any_tags": ["x"]}, "A"),
    ],
)
async def test_every_filter_given_holds(backlog: Backlog, filters: dict[str, Any], expected: str) -> None:
    project_id = await _rich_project(backlog)
    assert "".join(await _titles(backlog, project_id, **filters)) == expected


async def test_filters_that_need_ids(backlog: Backlog) -> None:
    project_id = await _rich_project(backlog)
    assert await _titles(backlog, project_id, sprint_id=f"{project_id}-S01") == ["C"]
    assert await _titles(backlog, project_id, in_sprint=True) == ["C"]
    assert await _titles(backlog, project_id, parent_task_id=f"{project_id}-TASK001") == ["B"]
    story = (await backlog.stub.CreateStory(_story(project_id, "Goal"))).story
    link = pb.LinkTasksRequest(story_id=story.story_id, task_ids=[f"{project_id}-TASK00{n}" for n in (2, 4)])
    await backlog.stub.LinkTasks(link)
    assert await _titles(backlog, project_id, story_id=story.story_id) == ["B", "D"]


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        (pb.TASK_ORDER_UNSPECIFIED, "ABCDE"),
        (pb.TASK_ORDER_RANK, "ABCDE"),
        (pb.TASK_ORDER_PRIORITY, "BDEAC"),
        (pb.TASK_ORDER_DUE_DATE, "BDACE"),
        (pb.TASK_ORDER_CREATE_TIME, "ABCDE"),
        (pb.TASK_ORDER_UPDATE_TIME, "CBADE"),
    ],
)
@pytest.mark.parametrize("page_size", [1, 2, 5])
async def test_every_order_pages_without_gap_or_double(
    backlog: Backlog, order: pb.TaskOrder.ValueType, expected: str, page_size: int
) -> None:
    project_id = await _rich_project(backlog)
    assert "".join(await _pages(backlog, project_id, page_size, order=order)) == expected


async def test_the_best_match_comes_first(backlog: Backlog) -> None:
    project_id = await backlog.project()
    await backlog.create_many(
        project_id,
        Task(title="Other", description="mentions login once"),
        Task(title="Login fails", description="login, login and login"),
        Task(title="Login page"),
    )
    pages = await _pages(backlog, project_id, 1, query="login", order=pb.TASK_ORDER_RELEVANCE)
    assert pages == ["Login fails", "Login page", "Other"]
    request = pb.ListTasksRequest(project_id=project_id, order=pb.TASK_ORDER_RELEVANCE)
    failed = await refused(backlog.stub.ListTasks(request))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "order")


async def test_a_page_token_belongs_to_its_query(backlog: Backlog) -> None:
    project_id = await _rich_project(backlog)
    first = await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id, page_size=1))
    for request in (
        pb.ListTasksRequest(project_id=project_id, page_token=first.next_page_token, type="Bug"),
        pb.ListTasksRequest(project_id=project_id, page_token="nonsense"),
    ):
        failed = await refused(backlog.stub.ListTasks(request))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")
    failed = await refused(backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id, due_before="2026-02-30")))
    assert (failed.reason, failed.metadata["field"]) == ("VALIDATION_FAILED", "due_before")


async def test_a_summary_counts_by_state(backlog: Backlog) -> None:
    project_id = await backlog.project()
    request = pb.GetBacklogSummaryRequest(project_id=project_id)
    empty = (await backlog.stub.GetBacklogSummary(request)).summary
    assert (empty.total_tasks, len(empty.state_counts)) == (0, 6)
    a, b, c, d = await backlog.create_many(project_id, *(Task(title="T", points=n or None) for n in (1, 2.5, 0, 4)))
    await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=a.task_id))
    await backlog.reserve(f"{project_id}-S01", project_id, task_ids=[b.task_id])
    await backlog.stub.UpdateTask(update_of(c, points=8))
    await backlog.stub.UpdateTask(update_of(c, "points"))
    await backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=d.task_id))
    await backlog.stub.CreateStory(_story(project_id, "Goal"))
    summary = (await backlog.stub.GetBacklogSummary(request)).summary
    assert (summary.total_tasks, summary.total_points, summary.unestimated_tasks) == (3, 3.5, 1)
    assert summary.total_stories == 1
    counts = {count.state: (count.tasks, count.points) for count in summary.state_counts}
    assert [count.state for count in summary.state_counts] == [1, 2, 3, 4, 5, 6]
    assert counts[TASK_STATE_COMPLETED] == (1, 1)
    assert counts[TASK_STATE_ASSIGNED_TO_SPRINT] == (1, 2.5)
    assert counts[TASK_STATE_UNASSIGNED] == (1, 0)
    failed = await refused(backlog.stub.GetBacklogSummary(pb.GetBacklogSummaryRequest(project_id="NOSUCH")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")


async def test_summaries_of_all_projects_page_by_id(backlog: Backlog) -> None:
    made = [await backlog.project() for _ in range(3)]
    for project_id in made[:2]:
        await backlog.create(project_id)
    seen, token = [], ""
    while True:
        page = await backlog.stub.ListBacklogSummaries(pb.ListBacklogSummariesRequest(page_size=1, page_token=token))
        seen += [summary.project_id for summary in page.summaries]
        token = page.next_page_token
        if not token:
            break
    assert seen == sorted(set(seen))
    assert set(made) & set(seen) == set(made[:2])


async def test_counts_are_what_a_scan_finds(backlog: Backlog, world: World) -> None:
    """Whatever the other tests did."""
    await _rich_project(backlog)
    scan = """
        SELECT project_id, state, count(*) AS tasks, coalesce(sum(points), 0) AS points,
               count(*) FILTER (WHERE points IS NULL) AS unestimated_tasks
        FROM task WHERE delete_time IS NULL GROUP BY project_id, state
    """
    kept = "SELECT * FROM backlog_count WHERE tasks <> 0 OR points <> 0 OR unestimated_tasks <> 0"
    assert not await world.query("backlog", f"({scan} EXCEPT {kept}) UNION ALL ({kept} EXCEPT {scan})")


def _story(project_id: str, title: str, **fields: Any) -> pb.CreateStoryRequest:
    return pb.CreateStoryRequest(story=Story(project_id=project_id, title=title, **fields))


async def test_a_story_sums_up_its_tasks(backlog: Backlog) -> None:
    project_id = await backlog.project()
    story = (await backlog.stub.CreateStory(_story(project_id, "Goal", description="Why"))).story
    assert story.story_id == f"{project_id}-STORY001"
    tasks = await backlog.create_many(project_id, *(Task(title="T", points=n) for n in (1, 2, 4, 8)))
    link = pb.LinkTasksRequest(story_id=story.story_id, task_ids=ids(tasks), request_id=str(uuid4()))
    linked = (await backlog.stub.LinkTasks(link)).story
    assert (await backlog.stub.LinkTasks(link)).story == linked
    assert list((await backlog.get(tasks[0].task_id)).story_ids) == [story.story_id]
    await backlog.stub.CompleteTask(pb.CompleteTaskRequest(task_id=tasks[0].task_id))
    await backlog.stub.CancelTask(pb.CancelTaskRequest(task_id=tasks[1].task_id))
    await backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=tasks[2].task_id))
    seen = (await backlog.stub.GetStory(pb.GetStoryRequest(story_id=story.story_id))).story
    progress = seen.progress
    assert (progress.total_tasks, progress.completed_tasks, progress.percent) == (2, 1, 50)
    assert (progress.total_points, progress.completed_points) == (9, 1)
    unlink = pb.UnlinkTasksRequest(story_id=story.story_id, task_ids=[tasks[0].task_id, "NO-TASK001"])
    assert (await backlog.stub.UnlinkTasks(unlink)).story.progress.total_tasks == 1
    told = [subject for subject, _ in await backlog.events(story.story_id)]
    assert told == ["story.created", "story.updated", "story.updated"]
    await backlog.stub.UnlinkTasks(unlink)
    assert len(await backlog.events(story.story_id)) == 3


async def test_a_story_is_updated_and_deleted(backlog: Backlog) -> None:
    project_id = await backlog.project()
    story = (await backlog.stub.CreateStory(_story(project_id, "Goal", description="Stays"))).story
    task = await backlog.create(project_id)
    await backlog.stub.LinkTasks(pb.LinkTasksRequest(story_id=story.story_id, task_ids=[task.task_id]))
    changed = Story(story_id=story.story_id, title="New", description="Not named")
    request = pb.UpdateStoryRequest(story=changed, update_mask=FieldMask(paths=["title"]))
    updated = (await backlog.stub.UpdateStory(request)).story
    assert (updated.title, updated.description, updated.progress.total_tasks) == ("New", "Stays", 1)
    request.story.etag = story.etag
    assert (await refused(backlog.stub.UpdateStory(request))).reason == "ETAG_MISMATCH"
    failed = await refused(backlog.stub.DeleteStory(pb.DeleteStoryRequest(story_id=story.story_id, etag="v1")))
    assert failed.reason == "ETAG_MISMATCH"
    await backlog.stub.DeleteStory(pb.DeleteStoryRequest(story_id=story.story_id, etag=updated.etag))
    assert not (await backlog.get(task.task_id)).story_ids
    for call in (
        backlog.stub.GetStory(pb.GetStoryRequest(story_id=story.story_id)),
        backlog.stub.UpdateStory(request),
        backlog.stub.DeleteStory(pb.DeleteStoryRequest(story_id=story.story_id)),
        backlog.stub.LinkTasks(pb.LinkTasksRequest(story_id=story.story_id, task_ids=[task.task_id])),
        backlog.stub.UnlinkTasks(pb.UnlinkTasksRequest(story_id=story.story_id, task_ids=[task.task_id])),
    ):
        failed = await refused(call)
        assert (failed.code, failed.reason) == ("NOT_FOUND", "STORY_NOT_FOUND")
    assert (await backlog.stub.CreateStory(_story(project_id, "Next"))).story.story_id == f"{project_id}-STORY002"


async def test_bad_stories_and_links_are_refused(backlog: Backlog) -> None:
    project_id, other_id = await backlog.project(), await backlog.project()
    story = (await backlog.stub.CreateStory(_story(project_id, "Goal", origin=Origin(key="E-1")))).story
    stranger = await backlog.create(other_id)
    for task_id, reason in ((stranger.task_id, "PROJECT_MISMATCH"), ("NO-TASK001", "TASK_NOT_FOUND")):
        failed = await refused(backlog.stub.LinkTasks(pb.LinkTasksRequest(story_id=story.story_id, task_ids=[task_id])))
        assert (failed.reason, failed.metadata["task_id"]) == (reason, task_id)
    failed = await refused(backlog.stub.CreateStory(_story(project_id, "Again", origin=Origin(key="E-1"))))
    assert (failed.code, failed.reason) == ("ALREADY_EXISTS", "ORIGIN_KEY_ALREADY_EXISTS")
    assert (await refused(backlog.stub.CreateStory(_story("NOSUCH", "X")))).reason == "PROJECT_NOT_FOUND"
    assert (await refused(backlog.stub.CreateStory(_story(project_id, " ")))).metadata["field"] == "story.title"
    await backlog.archive(project_id)
    for call in (
        backlog.stub.CreateStory(_story(project_id, "X")),
        backlog.stub.DeleteStory(pb.DeleteStoryRequest(story_id=story.story_id)),
    ):
        assert (await refused(call)).reason == "PROJECT_ARCHIVED"


async def test_stories_page_by_id(backlog: Backlog) -> None:
    project_id = await backlog.project()
    made = [(await backlog.stub.CreateStory(_story(project_id, f"S{n}"))).story for n in range(5)]
    seen, token = [], ""
    while True:
        request = pb.ListStoriesRequest(project_id=project_id, page_size=2, page_token=token)
        page = await backlog.stub.ListStories(request)
        seen += list(page.stories)
        token = page.next_page_token
        if not token:
            break
    assert seen == made
    bad = pb.ListStoriesRequest(project_id=project_id, page_token="nonsense")
    assert (await refused(backlog.stub.ListStories(bad))).reason == "PAGE_TOKEN_INVALID"
