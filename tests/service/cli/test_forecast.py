"""`dsm forecast` against real services."""

from __future__ import annotations

import json

from services.cli.errors import CliError
from services.cli.main import app
from services.kit.server import Server
from tests.harness import World
from tests.service.cli.commands import command, invoke
from tests.service.orchestrator.pasts import NEXT_MONDAY, with_history
from tests.service.sprint.sprints import make


async def test_a_project_is_forecast_with_its_open_sprint(whole: Server, world: World) -> None:
    team, sprint = await with_history(world)
    words = ["forecast", team.project_id, "--as-of", NEXT_MONDAY, "--by", "2025-05-30", "--seed", "7"]
    shown = (await command(whole, *words)).stdout
    assert f"{sprint.sprint_id} ends on 2025-03-30: 4 tasks left, 10 working days." in shown
    assert "Chance that all get done by then" in shown
    assert "Done by 2025-05-30" in shown
    assert "9 tasks done by" in shown
    assert "From 1 closed sprint of 10 working days, 0.30 tasks a day; 10,000 simulations, seed 7." in shown
    assert "None whose end is known yet" in shown
    printed = json.loads((await command(whole, *words, "--json")).stdout)
    assert printed["sprint"]["sprint_id"] == sprint.sprint_id
    assert printed["backlog"]["target_date"] == "2025-05-30"
    assert [entry["confidence_percent"] for entry in printed["backlog"]["completion_dates"]] == [50, 85, 95]


async def test_a_sprint_alone_is_forecast(whole: Server, world: World) -> None:
    _, sprint = await with_history(world)
    result = await command(whole, "forecast", sprint.sprint_id, "--as-of", NEXT_MONDAY)
    assert "All done by, │ = the sprint's end" in result.stdout
    assert "open tasks" not in result.stdout


async def test_a_team_without_history_is_told_what_to_do(whole: Server, world: World) -> None:
    team = await make(world)
    result = await command(whole, "forecast", team.project_id)
    assert isinstance(result.exception, CliError)
    assert "close one first" in str(result.exception)


async def test_help_teaches() -> None:
    result = await invoke(app, "forecast", "--help")
    assert "A forecast is a chance, not a promise" in result.stdout
