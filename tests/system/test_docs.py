"""The examples of the documentation run."""

import asyncio
import os
import sys
from pathlib import Path

from services.kit.server import Server
from tests.harness import World

_EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"


async def _run(name: str, *arguments: str) -> str:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DSM_")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(_EXAMPLES / name), *arguments, stdout=asyncio.subprocess.PIPE, env=environ
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    return output.decode()


async def test_plan_a_sprint_and_consume_its_events(world: World, whole: Server) -> None:
    planned = await _run("plan_a_sprint.py", f"127.0.0.1:{whole.port}")
    assert "-S01: 3 tasks" in planned
    assert "SPRINT_ALREADY_OPEN" in planned
    events = await _run("consume_events.py", world.stack.nats.url, "1")
    assert "dsm.sprint.v1." in events
