"""The backlog service on real sockets: sample data."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from uuid import uuid4

import pytest
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceStub
from dsm.project.v1 import project_service_pb2
from dsm.project.v1.employee_pb2 import Employee
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.local.stack import Stack
from tests.harness import World, make_world, refused
from tests.service.backlog.backlogs import Backlog, backlog_of, ids


@pytest.fixture
async def backlog(world: World) -> Backlog:
    return await backlog_of(world)


async def _team(backlog: Backlog, project_id: str, count: int) -> list[str]:
    stub = ProjectServiceStub(await backlog.world.channel("project"))
    people = [f"{project_id}-E{number}" for number in range(count)]
    for employee_id in people:
        employee = Employee(employee_id=employee_id, name="Somebody")
        await stub.CreateEmployee(project_service_pb2.CreateEmployeeRequest(employee=employee))
    places = [project_service_pb2.TeamAssignment(employee_id=employee_id) for employee_id in people]
    request = project_service_pb2.AssignTeamMembersRequest(project_id=project_id, assignments=places)
    await stub.AssignTeamMembers(request)
    return people


def _figures(answer: pb.SeedSampleDataResponse) -> tuple[int, int, int]:
    return answer.tasks_count, answer.stories_count, answer.links_count


async def test_the_sample_is_made_once(backlog: Backlog) -> None:
    project_id = await backlog.project()
    team = await _team(backlog, project_id, 3)
    request = pb.SeedSampleDataRequest(project_id=project_id, request_id=str(uuid4()))
    answer = await backlog.stub.SeedSampleData(request)
    assert _figures(answer) == (8, 4, 8)
    assert (list(answer.assignee_ids), answer.default_team) == (team, False)
    assert await backlog.stub.SeedSampleData(request) == answer
    tasks = (await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id))).tasks
    assert [task.assignee_id for task in tasks] == [team[index % 3] for index in range(8)]
    assert {task.origin.system for task in tasks} == {"dsm-seed"}
    assert all(len(task.story_ids) == 1 for task in tasks)
    stories = (await backlog.stub.ListStories(pb.ListStoriesRequest(project_id=project_id))).stories
    assert [story.progress.total_tasks for story in stories] == [2, 2, 2, 2]
    told = [event for thing in (*ids(tasks), *(s.story_id for s in stories)) for event in await backlog.events(thing)]
    again = await backlog.stub.SeedSampleData(pb.SeedSampleDataRequest(project_id=project_id))
    assert _figures(again) == (0, 0, 0)
    assert (await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id))).tasks == tasks
    assert len(told) == 8 + 4 * 2


async def test_what_is_missing_is_made_again(backlog: Backlog) -> None:
    project_id = await backlog.project()
    await backlog.stub.SeedSampleData(pb.SeedSampleDataRequest(project_id=project_id))
    await backlog.stub.DeleteTask(pb.DeleteTaskRequest(task_id=f"{project_id}-TASK003"))
    await backlog.stub.DeleteStory(pb.DeleteStoryRequest(story_id=f"{project_id}-STORY004"))
    again = await backlog.stub.SeedSampleData(pb.SeedSampleDataRequest(project_id=project_id))
    assert _figures(again) == (1, 1, 3)


async def test_many_calls_at_once_make_one_sample(backlog: Backlog) -> None:
    project_id = await backlog.project()
    request = pb.SeedSampleDataRequest(project_id=project_id)
    answers = await asyncio.gather(*(backlog.stub.SeedSampleData(request) for _ in range(6)))
    assert sorted(map(_figures, answers)) == [(0, 0, 0)] * 5 + [(8, 4, 8)]
    assert not answers[0].assignee_ids


async def test_what_cannot_be_seeded(backlog: Backlog) -> None:
    failed = await refused(backlog.stub.SeedSampleData(pb.SeedSampleDataRequest(project_id="NOSUCH")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "PROJECT_NOT_FOUND")
    project_id = await backlog.project()
    await backlog.archive(project_id)
    failed = await refused(backlog.stub.SeedSampleData(pb.SeedSampleDataRequest(project_id=project_id)))
    assert (failed.code, failed.reason) == ("FAILED_PRECONDITION", "PROJECT_ARCHIVED")
    assert not (await backlog.stub.ListTasks(pb.ListTasksRequest(project_id=project_id))).tasks


async def test_without_the_project_service_a_default_team_is_used(world: World, stack: Stack) -> None:
    async with AsyncExitStack() as exits:
        alone = await make_world(stack, exits, DSM_CALL_TIMEOUT_SECONDS="0.5")
        stub = BacklogServiceStub(await alone.channel("backlog"))
        request = pb.SeedSampleDataRequest(project_id="SEED-ALONE")
        answer = await stub.SeedSampleData(request)
        assert _figures(answer) == (8, 4, 8)
        assert answer.default_team
        assert len(answer.assignee_ids) == 4
        assert _figures(await stub.SeedSampleData(request)) == (0, 0, 0)
        start = pb.StartTaskRequest(task_id="SEED-ALONE-TASK001")
        assert (await stub.StartTask(start)).task.assignee_id == answer.assignee_ids[0]
