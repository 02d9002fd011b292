"""`dsm schedule` and `dsm scrum --scheduled` on real sockets."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio
import typer
from dsm.sprint.v1 import sprint_service_pb2

from services.cli import schedule, scrum
from services.cli.errors import CliError
from tests.harness import World
from tests.service.cli.commands import invoke
from tests.service.orchestrator.orchestrations import TODAY, Dsm, dsm_of


@pytest_asyncio.fixture(scope="module")
async def dsm(world: World) -> Dsm:
    return await dsm_of(world)


async def run(world: World, service: str, *words: str) -> tuple[int, str]:
    app = typer.Typer()
    for module in (schedule, scrum):
        module.register(app)
    result = await invoke(app, *words, "--target", world.address(service))
    if isinstance(result.exception, CliError):
        raise result.exception
    return result.exit_code, result.output


async def listed(world: World, project_id: str) -> list[dict[str, Any]]:
    code, output = await run(world, "orchestrator", "schedule", "list", project_id, "--json")
    assert code == 0
    found: list[dict[str, Any]] = json.loads(output)
    return found


async def test_cron_jobs_are_listed_and_deleted(dsm: Dsm) -> None:
    await dsm.project("CLI-CRON", tasks=2)
    await dsm.orchestrate("CLI-CRON", schedule="0 10 * * *")
    [job, orchestration] = await listed(dsm.world, "CLI-CRON")
    assert (job["sprint_id"], job["schedule"]) == ("CLI-CRON-S01", "0 10 * * *")
    assert orchestration["enabled"] is False
    code, output = await run(dsm.world, "orchestrator", "schedule", "list", "CLI-CRON")
    assert code == 0
    assert "10:00" in output
    code, _ = await run(dsm.world, "orchestrator", "schedule", "delete", "CLI-CRON")
    assert code == 0
    assert len(await listed(dsm.world, "CLI-CRON")) == 1
    with pytest.raises(CliError):
        await run(dsm.world, "orchestrator", "schedule", "delete", "CLI-CRON")


async def test_orchestrations_are_switched_on_and_off(dsm: Dsm) -> None:
    await dsm.project("CLI-ORC", tasks=2)
    with pytest.raises(CliError):
        await run(dsm.world, "orchestrator", "schedule", "orchestrate", "CLI-ORC")
    await run(dsm.world, "orchestrator", "schedule", "orchestrate", "CLI-ORC", "0 6 * * 1", "--max-tasks", "7")
    [found] = await listed(dsm.world, "CLI-ORC")
    assert (found["enabled"], found["schedule"], found["options"]["max_tasks_per_sprint"]) == (True, "0 6 * * 1", 7)
    await run(dsm.world, "orchestrator", "schedule", "orchestrate", "CLI-ORC", "--off")
    [found] = await listed(dsm.world, "CLI-ORC")
    assert (found["enabled"], found["schedule"], found["options"]["max_tasks_per_sprint"]) == (False, "0 6 * * 1", 7)


async def test_a_scheduled_scrum_takes_no_scrum_for_no_failure(dsm: Dsm) -> None:
    await dsm.project("CLI-SCRUM", tasks=2)
    start = (TODAY - timedelta(days=40)).isoformat()
    request = sprint_service_pb2.StartSprintRequest(project_id="CLI-SCRUM", start_date=start)
    await dsm.sprints.StartSprint(request)
    words = ("scrum", "CLI-SCRUM-S01", "--json")
    with pytest.raises(CliError):
        await run(dsm.world, "sprint", *words)
    code, _ = await run(dsm.world, "sprint", *words, "--scheduled")
    assert code == 0
    with pytest.raises(CliError):
        await run(dsm.world, "sprint", "scrum", "CLI-NONE-S01", "--json", "--scheduled")
