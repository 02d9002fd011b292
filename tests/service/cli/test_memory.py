"""`dsm memory` and `dsm strategies` against real services."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio

from services.cli import output
from services.cli.errors import CliError
from services.kit.server import Server
from tests.harness import World
from tests.service.cli.commands import command
from tests.service.orchestrator.orchestrations import Dsm, dsm_of
from tests.service.orchestrator.pasts import past, project


@pytest_asyncio.fixture(scope="module")
async def dsm(world: World) -> Dsm:
    return await dsm_of(world)


async def test_memory_is_searched(whole: Server, dsm: Dsm) -> None:
    await dsm.project("CLI-MEM")
    record = await dsm.orchestrate("CLI-MEM")
    (episode,) = await dsm.embedded("CLI-MEM")
    shown = (await command(whole, "memory", "search", "a small team", "--project", "CLI-MEM")).stdout
    assert "8 tasks in 2 weeks" in shown
    assert "not known yet" in shown
    # Lines are broken to the width of the terminal.
    assert episode.context_text in " ".join(shown.split())
    printed = await command(whole, "memory", "search", episode.context_text, "--project", "CLI-MEM", "--json")
    (match,) = json.loads(printed.stdout)["matches"]
    assert match["episode"]["decision_id"] == record.decision_id
    assert match["similarity"] > 0.99
    nothing = await command(whole, "memory", "search", "a small team", "--project", "CLI-MEM", "--with-outcome")
    assert nothing.stdout.startswith("Nothing like it is remembered")


async def test_episodes_that_wait_are_embedded(whole: Server, dsm: Dsm, world: World) -> None:
    await dsm.project("CLI-EMB")
    await dsm.orchestrate("CLI-EMB")
    (before,) = await dsm.embedded("CLI-EMB")
    await world.query("orchestrator", "UPDATE episode SET requires_embedding = true RETURNING 1")
    done = await command(whole, "memory", "backfill", "--json")
    assert done.exit_code == 0
    assert json.loads(done.stdout)["embedding_model"] == before.embedding_model
    # Done means done: nothing has to be waited for.
    assert [episode.embedding_state for episode in await dsm.episodes("CLI-EMB")] == [before.embedding_state]
    again = await command(whole, "memory", "backfill")
    assert again.stdout.startswith("0 episodes embedded by ")
    assert " of " in again.stderr


async def test_strategies_are_learned_and_listed(whole: Server, dsm: Dsm, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (await command(whole, "strategies", "--project", "CLI-STR", "--state", "retired")).stdout.startswith(
        "Nothing"
    )
    record = await project(dsm, "CLI-STR")
    await past(dsm, record.decision_id, count=20, completed=6)
    would = (await command(whole, "strategies", "evolve", "--project", "CLI-STR", "--dry-run")).stdout
    assert would.startswith("From 20 episodes with an outcome: 2 would be learned, 0 changed, 0 retired.")
    made = json.loads((await command(whole, "strategies", "evolve", "--project", "CLI-STR", "--json")).stdout)
    assert len(made["created"]) == 2
    listed = (await command(whole, "strategies", "--project", "CLI-STR", "--state", "active")).stdout
    assert "Take 0.7 times the tasks of the rules." in listed
    assert "CLI-STR" in listed
    assert "0.84" in listed
    monkeypatch.setattr(output.out, "width", 80)
    narrow = (await command(whole, "strategies", "--project", "CLI-STR", "--state", "active")).stdout
    assert max(map(len, narrow.splitlines())) <= 80
    assert "CLI-STR: 20 outcomes for it, 0 against." in narrow
    printed = json.loads((await command(whole, "strategies", "--project", "CLI-STR", "--json")).stdout)
    assert {strategy["state"] for strategy in printed if "project_id" in strategy} == {"STRATEGY_STATE_ACTIVE"}
    again = (await command(whole, "strategies", "evolve", "--project", "CLI-STR")).stdout
    assert again.strip() == "From 20 episodes with an outcome: 0 learned, 0 changed, 0 retired."


async def test_a_state_that_there_is_not_is_told(whole: Server) -> None:
    failed = await command(whole, "strategies", "--state", "asleep")
    assert isinstance(failed.exception, CliError)
