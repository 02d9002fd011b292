"""Advisories, against a small server that speaks Ollama's chat protocol: good, slow, failing, gone, back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as pb
from dsm.orchestrator.v1.orchestrator_service_pb2_grpc import OrchestratorServiceStub

from services.local.process import choose_port
from services.local.stack import Stack
from services.orchestrator.domain.advice import LONGEST_TEXT, BadReview, read_review
from tests.harness import World, eventually, make_world
from tests.service.orchestrator.orchestrations import NEIGHBOURS, Dsm, dsm_of

DISABLED, PENDING, AVAILABLE, UNAVAILABLE = (
    decision_pb2.ADVISORY_STATE_DISABLED,
    decision_pb2.ADVISORY_STATE_PENDING,
    decision_pb2.ADVISORY_STATE_AVAILABLE,
    decision_pb2.ADVISORY_STATE_UNAVAILABLE,
)
REVIEW = {"summary": "Eight tasks are sensible.", "risks": ["Few figures."], "suggestions": ["Watch the load."]}


@dataclass
class FakeOllama:
    """An HTTP server that answers /api/chat, as it is told to."""

    port: int = field(default_factory=lambda: choose_port(0, 0))
    behaviour: str = "answer"
    requests: list[dict[str, Any]] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    _runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/api/chat", self._chat)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()
            self._runner = None

    async def _chat(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.requests.append(asked)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            return await self._answer(asked)
        finally:
            self.in_flight -= 1

    async def _answer(self, asked: dict[str, Any]) -> web.Response:
        if self.behaviour == "slow":
            await asyncio.sleep(30)
        if self.behaviour == "fail":
            return web.json_response({"error": "out of memory"}, status=500)
        if self.behaviour == "garbage":
            return web.Response(text="<html>", content_type="application/json")
        content = {"prose": "I think it is fine.", "other": json.dumps({"verdict": "good"})}
        message = {"role": "assistant", "content": content.get(self.behaviour, json.dumps(REVIEW))}
        await asyncio.sleep(0.05)
        return web.json_response({"model": asked["model"], "message": message, "done": True})


@dataclass
class Advised:
    """An orchestrator with an advisor."""

    dsm: Dsm
    ollama: FakeOllama

    async def advisory(self, project_id: str) -> decision_pb2.Advisory:
        request = pb.ListDecisionAuditRequest(project_id=project_id)
        answer = await self.dsm.orchestrator.ListDecisionAudit(request)
        advisory: decision_pb2.Advisory = answer.decisions[-1].advisory
        return advisory

    async def reached(self, project_id: str, state: int) -> decision_pb2.Advisory:
        async def check() -> Any:
            advisory = await self.advisory(project_id)
            return advisory if advisory.state == state else None

        advisory: decision_pb2.Advisory = await eventually(check)
        return advisory


@asynccontextmanager
async def _advised(world: World, stack: Stack, ollama: FakeOllama, **settings: str) -> AsyncIterator[Advised]:
    """Neighbours are the session's; the orchestrator is of its own, and nobody else's asks for reviews."""
    dsm = await dsm_of(world)
    async with AsyncExitStack() as exits:
        own = await make_world(
            stack,
            exits,
            **{f"DSM_{name.upper()}_ADDRESS": world.address(name) for name in NEIGHBOURS},
            DSM_ORCHESTRATOR_ADVISOR_URL=f"http://127.0.0.1:{ollama.port}",
            DSM_ORCHESTRATOR_ADVISOR_MODEL="tiny",
            **settings,
        )
        orchestrator = OrchestratorServiceStub(await own.channel("orchestrator"))
        yield Advised(Dsm(own, dsm.projects, dsm.backlogs, dsm.sprints, orchestrator), ollama)


@pytest_asyncio.fixture
async def ollama() -> AsyncIterator[FakeOllama]:
    server = FakeOllama()
    await server.start()
    yield server
    await server.stop()


async def test_without_an_advisor_there_is_none(world: World) -> None:
    dsm = await dsm_of(world)
    await dsm.project("ADV-NONE")
    record = await dsm.orchestrate("ADV-NONE")
    assert (record.advisory.state, record.advisory.text) == (DISABLED, "")


async def test_a_decision_is_reviewed_afterwards(world: World, stack: Stack, ollama: FakeOllama) -> None:
    async with _advised(world, stack, ollama) as advised:
        await advised.dsm.project("ADV-GOOD")
        record = await advised.dsm.orchestrate("ADV-GOOD")
        assert (record.advisory.state, record.advisory.model) == (PENDING, "tiny")
        advisory = await advised.reached("ADV-GOOD", AVAILABLE)
        assert "Eight tasks are sensible." in advisory.text
        assert "- Watch the load." in advisory.text
        assert (advisory.model, advisory.HasField("create_time")) == ("tiny", True)
    [asked] = ollama.requests
    assert asked["model"] == "tiny"
    assert asked["stream"] is False
    assert asked["format"]["properties"].keys() == REVIEW.keys()
    system, user = (message["content"] for message in asked["messages"])
    facts = json.loads(user)
    assert facts["decided"]["tasks"] == record.final_decision.tasks_to_assign
    assert facts["seen"]["people_on_the_team"] == 4
    assert {action["state"] for action in facts["actions"]} == {"DONE", "SKIPPED"}
    # Neither people nor what people wrote.
    assert "ADV-GOOD" not in system + user
    assert "Task 1" not in user


async def test_an_advisor_that_fails_delays_and_changes_nothing(world: World, stack: Stack, ollama: FakeOllama) -> None:
    limits = {"DSM_ORCHESTRATOR_ADVISOR_LIMIT_SECONDS": "1.5", "DSM_ORCHESTRATOR_ADVISOR_TIMEOUT_SECONDS": "0.5"}
    async with _advised(world, stack, ollama, **limits) as advised:
        for behaviour in ("slow", "fail", "garbage", "prose", "other", "gone"):
            ollama.behaviour = behaviour
            if behaviour == "gone":
                await ollama.stop()
            project_id = f"ADV-{behaviour.upper()}"
            await advised.dsm.project(project_id, tasks=2)
            began = asyncio.get_running_loop().time()
            record = await advised.dsm.orchestrate(project_id)
            assert asyncio.get_running_loop().time() - began < 10
            assert (record.advisory.state, record.sprint_id) == (PENDING, f"{project_id}-S01")
            advisory = await advised.reached(project_id, UNAVAILABLE)
            assert (advisory.text, advisory.model) == ("", "tiny")
            request = pb.ListDecisionAuditRequest(project_id=project_id)
            [after] = (await advised.dsm.orchestrator.ListDecisionAudit(request)).decisions
            after.ClearField("advisory")
            record.ClearField("advisory")
            assert after == record


async def test_few_are_asked_for_at_a_time(world: World, stack: Stack, ollama: FakeOllama) -> None:
    async with _advised(world, stack, ollama, DSM_ORCHESTRATOR_ADVISOR_AT_ONCE="2") as advised:
        names = [f"ADV-MANY{number}" for number in range(5)]
        for name in names:
            await advised.dsm.project(name, tasks=2)
        await asyncio.gather(*(advised.dsm.orchestrate(name, dry_run=True) for name in names))
        for name in names:
            await advised.reached(name, AVAILABLE)
    assert ollama.most_in_flight <= 2
    assert len(ollama.requests) == len(names)


async def test_what_waits_is_asked_for_after_a_restart(world: World, stack: Stack, ollama: FakeOllama) -> None:
    await ollama.stop()
    async with _advised(world, stack, ollama) as advised:
        await advised.dsm.project("ADV-RESTART")
        await advised.dsm.orchestrate("ADV-RESTART", dry_run=True)
        assert (await advised.advisory("ADV-RESTART")).state == PENDING
    await ollama.start()
    await world.query(
        "orchestrator",
        "UPDATE decision SET advisory_retry_time = now() WHERE project_id = 'ADV-RESTART'",
    )
    async with _advised(world, stack, ollama) as advised:
        await advised.reached("ADV-RESTART", AVAILABLE)


async def test_what_waits_ends_also_when_the_advisor_was_switched_off(world: World) -> None:
    dsm = await dsm_of(world)
    await dsm.project("ADV-OFF")
    await dsm.orchestrate("ADV-OFF", dry_run=True)
    await world.query(
        "orchestrator",
        """UPDATE decision SET advisory = '{"state": "PENDING", "model": "tiny"}', advisory_retry_time = now(),
           decision_time = now() - interval '1 day' WHERE project_id = 'ADV-OFF'""",
    )

    async def over() -> bool:
        answer = await dsm.orchestrator.ListDecisionAudit(pb.ListDecisionAuditRequest(project_id="ADV-OFF"))
        return bool(answer.decisions[0].advisory.state == UNAVAILABLE)

    await eventually(over)


def test_an_answer_is_bounded_and_plain() -> None:
    long = {"summary": "a\x00b\n\x1b[31m" + "x" * 9000, "risks": ["r" * 9000] * 50, "suggestions": []}
    text = read_review(json.dumps(long))
    assert len(text) <= LONGEST_TEXT
    assert text.startswith("a b [31m")
    assert text.count("- r") == 5


@pytest.mark.parametrize(
    "content", ["", "no", "[]", "{}", '{"summary": " "}', '{"summary": 1}', '{"summary": "a", "risks": "b"}']
)
def test_what_is_no_review_is_none(content: str) -> None:
    with pytest.raises(BadReview):
        read_review(content)
