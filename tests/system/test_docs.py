"""The examples of the documentation run."""

import asyncio
import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from services.kit.server import Server
from tests.harness import World

_DOCS = Path(__file__).parents[2] / "docs"
_EXAMPLES = _DOCS / "examples"
_BUF = str(Path(sys.executable).parent / "buf")
# Used if there is one; no package brings a grpcurl whose origin could be told.
_GRPCURL = shutil.which("grpcurl")
_DOCUMENTED_TARGET = "localhost:7600"


async def _run(*command: str) -> str:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("DSM_")}
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environ)
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, shlex.join(command)
    return output.decode()


def _commands(document: str, target: str) -> Iterator[list[str]]:
    """The words of every command in a document's blocks of code, for a server that listens elsewhere."""
    text = (_DOCS / document).read_text(encoding="utf-8").replace(_DOCUMENTED_TARGET, target)
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line:
                yield shlex.split(line)


def _by_buf(command: list[str]) -> list[str]:
    """A grpcurl call as buf makes it, where there is no grpcurl; every word that is not known here fails."""
    _, plaintext, *body, target, what = command
    assert plaintext == "-plaintext"
    assert body[:1] in ([], ["-d"])
    call = [_BUF, "curl", "--http2-prior-knowledge", "--protocol", "grpc", *body]
    return [*call, f"http://{target}", "--list-services"] if what == "list" else [*call, f"http://{target}/{what}"]


async def test_plan_a_sprint_and_consume_its_events(world: World, whole: Server) -> None:
    planned = await _run(sys.executable, str(_EXAMPLES / "plan_a_sprint.py"), f"127.0.0.1:{whole.port}")
    assert "-S01: 3 tasks" in planned
    assert "SPRINT_ALREADY_OPEN" in planned
    events = await _run(sys.executable, str(_EXAMPLES / "consume_events.py"), world.stack.nats.url, "1")
    assert "dsm.sprint.v1." in events


async def test_calls_by_buf_and_grpcurl(whole: Server) -> None:
    commands = list(_commands("calling-the-api.md", f"localhost:{whole.port}"))
    by_buf = [await _run(_BUF, *command[1:]) for command in commands if command[0] == "buf"]
    assert "dsm.backlog.v1.BacklogService/CreateTask" in by_buf[0]
    assert '"projectId":"SHOP"' in re.sub(r"\s", "", by_buf[1])
    told = [command for command in commands if command[0] == "grpcurl"]
    print("grpcurl is", _GRPCURL or "not on the PATH: buf makes its calls")
    by_grpcurl = [await _run(*(command if _GRPCURL else _by_buf(command))) for command in told]
    assert "dsm.sprint.v1.SprintService" in by_grpcurl[0]
    assert "SHOP" in by_grpcurl[1]
    assert "SERVING" in by_grpcurl[2]
    assert len(by_buf) + len(by_grpcurl) == 5
