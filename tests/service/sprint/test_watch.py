"""WatchSprint on real sockets: every change once, in order, until the sprint is over."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import grpc
import pytest
from dsm.sprint.v1 import sprint_pb2
from dsm.sprint.v1 import sprint_service_pb2 as pb
from dsm.sprint.v1.sprint_service_pb2_grpc import SprintServiceStub

from services.local.stack import Stack
from tests.harness import World, make_world, refused
from tests.service.sprint.sprints import FRIDAY, Fixture, make

CLOSED = sprint_pb2.SPRINT_STATE_CLOSED_WITH_PENDING_TASKS
HEADER = "dsm-resume-token"


@pytest.fixture
async def at(world: World) -> Fixture:
    """A sprint under way with two of four tasks."""
    fixture = await make(world, points=(5, 3, 2, 1))
    await fixture.start(max_tasks=2)
    return fixture


class Watching:
    """One client's watch, begun."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[pb.WatchSprintRequest, pb.WatchSprintResponse], token: str):
        self.call = call
        self.token = token

    async def take(self, number: int) -> list[pb.WatchSprintResponse]:
        """The next changes; fails if they do not come."""
        found: list[pb.WatchSprintResponse] = []
        async with asyncio.timeout(10):
            for _ in range(number):
                answer = await self.call.read()
                assert isinstance(answer, pb.WatchSprintResponse), f"the stream ended after {found}"
                found.append(answer)
        return found

    async def rest(self) -> list[pb.WatchSprintResponse]:
        """Everything up to the end of the stream."""
        async with asyncio.timeout(10):
            return [answer async for answer in self.call]


async def _watch(at: Fixture, token: str = "") -> Watching:
    call = at.sprints.WatchSprint(pb.WatchSprintRequest(sprint_id=f"{at.project_id}-S01", resume_token=token))
    metadata = dict(await call.initial_metadata())
    return Watching(call, str(metadata[HEADER]))


def _kinds(answers: list[pb.WatchSprintResponse]) -> list[str]:
    return [answer.WhichOneof("change") or "" for answer in answers]


async def test_every_change_of_a_sprint_comes_until_it_closes(at: Fixture) -> None:
    watching = await _watch(at)
    task_id = at.task_ids[0]
    begun = await at.report(task_id, 30)
    raised = (await at.sprints.RaiseImpediment(pb.RaiseImpedimentRequest(task_id=task_id, text="Stuck"))).impediment
    await at.sprints.ResolveImpediment(pb.ResolveImpedimentRequest(impediment_id=raised.impediment_id))
    request = pb.RunDailyScrumRequest(sprint_id=begun.sprint_id, report_date=FRIDAY)
    report = (await at.sprints.RunDailyScrum(request)).report
    add = pb.AddTaskToSprintRequest(sprint_id=begun.sprint_id, task_id=at.task_ids[2])
    added = (await at.sprints.AddTaskToSprint(add)).task
    closed = (await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=begun.sprint_id))).sprint
    answers = await watching.rest()
    assert _kinds(answers) == ["task", "impediment", "task", "impediment", "task", "report", "task", "sprint"]
    assert answers[0].task == begun
    assert answers[1].impediment == raised
    assert (answers[5].report, answers[6].task) == (report, added)
    assert answers[-1].sprint == closed
    assert closed.state == CLOSED
    assert [answer.task.version for answer in answers if answer.task.task_id == task_id] == [2, 3, 4]
    assert all(answer.HasField("change_time") for answer in answers)


async def test_a_client_goes_on_where_it_was_cut_off(at: Fixture) -> None:
    watching = await _watch(at)
    for percent in (10, 20, 30):
        await at.report(at.task_ids[0], percent)
    first, second = await watching.take(2)
    watching.call.cancel()
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{at.project_id}-S01"))
    # From the beginning, from in between, and from the end: the sprint being over, each of these ends by itself.
    answers = await (await _watch(at, watching.token)).rest()
    assert answers[:2] == [first, second]
    assert _kinds(answers) == ["task"] * 3 + ["sprint"]
    assert await (await _watch(at, first.resume_token)).rest() == answers[1:]
    assert await (await _watch(at, answers[-1].resume_token)).rest() == []
    assert await (await _watch(at)).rest() == []


async def test_a_watcher_sees_its_own_sprint_alone(world: World, at: Fixture) -> None:
    watching = await _watch(at)
    other = await make(world)
    await other.start()
    await other.report(other.task_ids[0], 50)
    await at.report(at.task_ids[0], 10)
    [answer] = await watching.take(1)
    assert answer.task.task_id == at.task_ids[0]
    watching.call.cancel()


async def test_what_stands_against_watching_is_said(at: Fixture) -> None:
    async def first(request: pb.WatchSprintRequest) -> object:
        return await at.sprints.WatchSprint(request).read()

    sprint_id = f"{at.project_id}-S01"
    failed = await refused(first(pb.WatchSprintRequest(sprint_id="NO-S01")))
    assert (failed.code, failed.reason) == ("NOT_FOUND", "SPRINT_NOT_FOUND")
    watching = await _watch(at)
    watching.call.cancel()
    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=sprint_id))
    await at.start(start_date="2025-03-17", max_tasks=1)
    for token, asked in (("nonsense", sprint_id), (watching.token, f"{at.project_id}-S02")):
        failed = await refused(first(pb.WatchSprintRequest(sprint_id=asked, resume_token=token)))
        assert (failed.code, failed.reason) == ("INVALID_ARGUMENT", "PAGE_TOKEN_INVALID")


@pytest.mark.parametrize("seed", range(2))
async def test_clients_that_come_and_go_see_every_change_once(at: Fixture, seed: int) -> None:
    rng = random.Random(seed)
    watching = await _watch(at)
    count = 60

    async def work(task_id: str) -> None:
        for percent in range(1, count + 1):
            await at.report(task_id, percent)

    working = [asyncio.create_task(work(task_id)) for task_id in at.task_ids[:2]]
    closing = asyncio.gather(*working)
    seen: list[tuple[str, int]] = []
    token, over = watching.token, False
    watching.call.cancel()
    while not over:
        watching = await _watch(at, token)
        for _ in range(rng.randrange(1, 20)):
            answer = await watching.call.read()
            if not isinstance(answer, pb.WatchSprintResponse):
                over = True
                break
            token = answer.resume_token
            if answer.HasField("task"):
                seen.append((answer.task.task_id, answer.task.version))
                if len(seen) == 2 * count:
                    await closing
                    await at.sprints.CloseSprint(pb.CloseSprintRequest(sprint_id=f"{at.project_id}-S01"))
        watching.call.cancel()
    for task_id in at.task_ids[:2]:
        assert [version for one, version in seen if one == task_id] == list(range(2, 2 + count))


class TestReplicas:
    """Two replicas, in a world of their own, so that one can stop."""

    @pytest.fixture
    async def other(self, stack: Stack, world: World) -> AsyncIterator[World]:
        await world.start("project", "backlog", "sprint")
        async with AsyncExitStack() as exits:
            yield await make_world(stack, exits)

    async def test_a_server_that_stops_sends_its_watchers_to_another(self, world: World, other: World) -> None:
        at = await make(world, points=(5, 3))
        await at.start(max_tasks=2)
        second = SprintServiceStub(await other.channel("sprint"))
        call = second.WatchSprint(pb.WatchSprintRequest(sprint_id=f"{at.project_id}-S01"))
        await call.initial_metadata()
        # Committed by the one, streamed by the other.
        await at.report(at.task_ids[0], 10)
        answer = await call.read()
        assert isinstance(answer, pb.WatchSprintResponse)
        stopping = asyncio.create_task(other.stop("sprint"))
        failed = await refused(call.read())
        assert (failed.code, failed.reason) == ("UNAVAILABLE", "DRAINING")
        await stopping
        await at.report(at.task_ids[0], 20)
        watching = await _watch(at, answer.resume_token)
        [answer] = await watching.take(1)
        assert answer.task.progress_percent == 20
        watching.call.cancel()
