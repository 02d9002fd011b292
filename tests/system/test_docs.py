"""The examples of the documentation run."""

import asyncio
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.kit.calling.callee import Callee
from services.kit.security.tls import client_files
from services.kit.server import Server
from services.kit.service import Service
from services.kit.settings import ProcessSettings, ServiceSettings
from tests.harness import World
from tests.processes import clean_environ

_DOCS = Path(__file__).parents[2] / "docs"
_EXAMPLES = _DOCS / "examples"
_BUF = str(Path(sys.executable).parent / "buf")
# Used if there is one; no package brings a grpcurl whose origin could be told.
_GRPCURL = shutil.which("grpcurl")
_DOCUMENTED_TARGET = "localhost:7600"


async def _run(*command: str, folder: Path | None = None) -> str:
    environ = clean_environ()
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, env=environ, cwd=folder)
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


@pytest.mark.skipif(not shutil.which("openssl"), reason="there is no openssl")
async def test_certificates_to_try_tls_out(tmp_path: Path) -> None:
    for line in (_DOCS / "securing.md").read_text(encoding="utf-8").splitlines():
        if line.startswith("openssl req"):
            await _run(*shlex.split(line), folder=tmp_path)
    cert, key, ca = (str(tmp_path / name) for name in ("dsm.crt", "dsm.key", "ca.crt"))
    settings = ProcessSettings(
        port=0, metrics_port=-1, tls_cert_file=cert, tls_key_file=key, tls_client_ca_file=ca, grace_seconds=0
    )
    files = client_files(ServiceSettings(client_ca_file=ca, client_cert_file=cert, client_key_file=key))
    server = Server([Service("project", ServiceSettings())], settings)
    server.bind()
    await server.start()
    for host in ("localhost", "127.0.0.1"):
        callee = Callee("test", "project", f"{host}:{server.port}", ServiceSettings(), files)
        assert await callee.check() is not None
        await callee.close()
    await server.stop()
