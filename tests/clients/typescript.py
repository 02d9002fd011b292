"""The TypeScript client calls DSM from Node: run by `make check-clients`, which compiles it first."""

import asyncio
from pathlib import Path

from services.kit.server import Server

_COMPILED = Path(__file__).parents[2] / "gen" / "typescript" / "build" / "js"


async def _node(script: str, target: str) -> str:
    process = await asyncio.create_subprocess_exec(
        "node", str(_COMPILED / script), target, stdout=asyncio.subprocess.PIPE
    )
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    print(output.decode())
    assert process.returncode == 0
    return output.decode()


async def test_calls(whole: Server) -> None:
    await _node("calls.js", f"127.0.0.1:{whole.port}")


async def test_example(whole: Server) -> None:
    planned = await _node("plan-a-sprint.js", f"127.0.0.1:{whole.port}")
    assert "-S01: 3 tasks" in planned
    assert "FailedPrecondition: SPRINT_ALREADY_OPEN" in planned
