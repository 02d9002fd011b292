"""`dsm reconcile`, `dsm dlq` and `dsm outbox`, with a process for each service as with one for all."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio
import typer
from dsm.events.v1 import project_events_pb2
from dsm.project.v1 import project_pb2

from services.cli import dlq, outbox, reconcile
from services.cli.errors import CliError
from services.kit.clock import utc_now
from services.kit.envelope import new_event
from services.local.folder import write_state
from tests.harness import SERVICES, STATEFUL, World, eventually
from tests.service.cli.commands import invoke
from tests.service.sprint.sprints import Fixture, make

Dsm = Callable[..., Awaitable[tuple[int, str]]]


@pytest_asyncio.fixture(params=["processes", "whole"])
async def dsm(request: pytest.FixtureRequest, world: World, tmp_path: Path) -> AsyncIterator[Dsm]:
    """The command, on a data folder that tells where each service listens, or on one port behind which all are."""
    await world.start(*SERVICES)
    if request.param == "processes":
        write_state(tmp_path, {}, {name: world.address(name) for name in SERVICES})
        yield _command("--data", str(tmp_path))
    else:
        server = await world.start_whole()
        yield _command("--target", f"127.0.0.1:{server.port}")
        await server.stop()


def _command(*where: str) -> Dsm:
    app = typer.Typer()
    for module in (reconcile, dlq, outbox):
        module.register(app)

    async def run(*words: str) -> tuple[int, str]:
        result = await invoke(app, *words, *where)
        if isinstance(result.exception, CliError):
            raise result.exception
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exc_info
        return result.exit_code, result.stdout

    return run


async def _json(dsm: Dsm, *words: str) -> tuple[int, Any]:
    code, text = await dsm(*words, "--json")
    return code, json.loads(text)


async def _started(world: World) -> Fixture:
    scene = await make(world, points=(1, 1))
    await scene.start()
    return scene


async def test_reconcile_says_whether_they_agree(world: World, dsm: Dsm) -> None:
    scene = await _started(world)
    code, text = await dsm("reconcile", "--project", scene.project_id)
    assert (code, text.split(":")[0]) == (0, "Backlog and sprints agree")
    code, answer = await _json(dsm, "reconcile", "--project", scene.project_id)
    assert (code, answer["tasks_compared"], answer["disagreements"]) == (0, "2", [])
    sql = "UPDATE task SET progress_percent = {} WHERE task_id = %(task)s"
    await world.query("backlog", sql.format(50), {"task": scene.task_ids[0]})
    code, text = await dsm("reconcile", "--grace", "0")
    assert code == 1
    assert all(part in text for part in ("progress", "50", "disagreement"))
    code, answer = await _json(dsm, "reconcile", "-p", scene.project_id, "--grace", "1")
    assert code == 1
    assert [(d["field"], d["backlog_value"], d["sprint_value"]) for d in answer["disagreements"]] == [
        ("progress", "50", "0")
    ]
    await world.query("backlog", sql.format(0), {"task": scene.task_ids[0]})
    with pytest.raises(CliError, match="PROJECT_NOT_FOUND"):
        await dsm("reconcile", "--project", "NO-SUCH")


_BURY = """
    INSERT INTO dead_letter (dead_letter_id, consumer, subject, event_id, payload, error, attempts)
    VALUES (%(id)s, %(consumer)s, 'dsm.project.v1.project.created', '', %(payload)s, 'It broke.', 5)
"""


async def _bury(world: World, service: str, payload: bytes) -> str:
    dead_letter_id = str(uuid4())
    params = {"id": dead_letter_id, "consumer": f"{service}-dsm_project", "payload": payload}
    await world.query(service, _BURY, params)
    return dead_letter_id


def _good() -> bytes:
    """An event that the backlog can apply."""
    project = project_pb2.Project(project_id="OLD", status=project_pb2.PROJECT_STATUS_ACTIVE)
    payload = project_events_pb2.ProjectCreated(project=project)
    event = new_event(payload, source="project", aggregate=("project", "OLD"), version=1, now=utc_now())
    return event.SerializeToString()


async def test_dead_letters_are_listed_shown_and_replayed(world: World, dsm: Dsm) -> None:
    assert await dsm("dlq", "list") == (0, "There are no dead letters.\n")
    good, bad = await _bury(world, "backlog", _good()), await _bury(world, "backlog", b"\xff")
    other = await _bury(world, "orchestrator", b"\xfe")
    code, letters = await _json(dsm, "dlq", "list")
    assert (code, [it["dead_letter_id"] for it in letters]) == (0, [good, bad, other])
    assert [it["service"] for it in letters] == ["backlog", "backlog", "orchestrator"]
    code, letters = await _json(dsm, "dlq", "list", "--service", "orchestrator")
    assert [it["dead_letter_id"] for it in letters] == [other]
    code, text = await dsm("dlq", "list", "--count", "1")
    assert good[:8] in text
    assert bad[:8] not in text
    assert "--count" in text

    code, text = await dsm("dlq", "show", good[:8])
    shown = json.loads(text)
    assert (code, shown["dead_letter_id"], shown["event"]["aggregate_id"]) == (0, good, "OLD")
    code, text = await dsm("dlq", "show", bad)
    assert (code, json.loads(text)["event"]) == (0, None)
    for nobody in ("00000000-", "zz"):
        with pytest.raises(CliError):
            await dsm("dlq", "show", nobody)

    for words in ((), ("--all", good)):
        with pytest.raises(CliError):
            await dsm("dlq", "replay", *words)
    assert await _json(dsm, "dlq", "replay", good) == (0, {"applied_count": 1, "failed_count": 0})
    assert await world.query("backlog", "SELECT 1 FROM project_state WHERE project_id = 'OLD'")
    assert await _json(dsm, "dlq", "replay", "--all") == (1, {"applied_count": 0, "failed_count": 2})
    code, text = await dsm("dlq", "replay", "--all", "--service", "backlog")
    assert (code, text.split(":")[0]) == (1, "1 of 1 dead letter failed again")
    for service in ("backlog", "orchestrator"):
        await world.query(service, "DELETE FROM dead_letter")
    assert await dsm("dlq", "replay", "--all") == (0, "Applied 0 dead letters.\n")
    await world.query("backlog", "DELETE FROM project_state WHERE project_id = 'OLD'")


async def test_the_outbox_of_each_service_is_replayed(world: World, dsm: Dsm) -> None:
    await _started(world)
    for name in STATEFUL:
        assert await eventually(partial(world.published, name))
    code, answer = await _json(dsm, "outbox", "replay", "--since", "1d")
    assert (code, set(answer["services"])) == (0, set(STATEFUL))
    [counted] = await world.query("sprint", "SELECT count(*) AS events FROM outbox")
    assert answer["services"]["sprint"] == counted["events"]
    assert answer["event_count"] == sum(answer["services"].values())
    code, text = await dsm("outbox", "replay", "--since", "2000-01-01", "--service", "chronicle")
    assert code == 0
    assert "sprint" not in text
    for words in (("--since", "yesterday"), ("--since", "2h", "--service", "embedding")):
        with pytest.raises(CliError):
            await dsm("outbox", "replay", *words)
