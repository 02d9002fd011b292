"""`dsm token`, and commands that say who calls."""

from __future__ import annotations

import shlex
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import jwt
import pytest
import pytest_asyncio
from typer.testing import Result

from services.cli.main import app
from services.kit.server import Server
from services.local.stack import Stack
from tests.harness import make_world
from tests.service.cli.commands import command, invoke
from tests.tokens import SECRET, signed

_SECURING = Path(__file__).parents[3] / "docs" / "securing.md"


@pytest.fixture(autouse=True)
def _no_token_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DSM_TOKEN", "DSM_TOKEN_FILE", "DSM_JWT_SECRET", "DSM_JWT_SECRET_FILE", "DSM_JWT_ISSUER"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    """The secret of the DSM of these tests, as people write such files: with a line's end."""
    file = tmp_path / "secret"
    file.write_text(SECRET + "\n")
    return file


@pytest_asyncio.fixture(scope="module")
async def guarded(stack: Stack) -> AsyncIterator[Server]:
    """Every service behind one port, with identity on."""
    async with AsyncExitStack() as exits:
        world = await make_world(stack, exits, DSM_JWT_SECRET=SECRET)
        server = await world.start_whole()
        exits.push_async_callback(server.stop)
        yield server


async def _minted(secret_file: Path, *words: str) -> str:
    made = await invoke(app, "token", "--secret-file", str(secret_file), *words)
    assert made.exit_code == 0, made.exception
    return made.stdout.strip()


def _sentence(result: Result) -> str:
    assert result.exit_code != 0
    return str(result.exception)


async def test_a_token_says_what_was_asked(secret_file: Path) -> None:
    words = ["--subject", "anna", "--role", "viewer", "--role", "member", "--project", "XD=scrum_master"]
    token = await _minted(secret_file, *words, "--expires", "30m", "--issuer", "us", "--audience", "them")
    claims = jwt.decode(token, SECRET, ["HS256"], audience="them", issuer="us")
    assert (claims["sub"], claims["roles"], claims["project_roles"]) == (
        "anna",
        ["viewer", "member"],
        {"XD": "scrum_master"},
    )
    assert claims["exp"] - claims["iat"] == 1800


async def test_the_documented_command(secret_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(secret_file.parent)
    [line] = [each for each in _SECURING.read_text().splitlines() if each.startswith("dsm token")]
    made = await invoke(app, *shlex.split(line.partition(" > ")[0])[1:])
    assert jwt.decode(made.stdout.strip(), SECRET, ["HS256"], audience="dsm")["sub"] == "anna"


@pytest.mark.parametrize(
    "words",
    [
        ["--subject", "anna"],
        ["--subject", "", "--role", "viewer"],
        ["--subject", "Änne", "--role", "viewer"],
        ["--subject", "service:sprint", "--role", "admin"],
        ["--subject", "anna", "--role", "boss"],
        ["--subject", "anna", "--project", "XD"],
        ["--subject", "anna", "--project", "xd=member"],
        ["--subject", "anna", "--project", "XD=service"],
        ["--subject", "anna", "--role", "viewer", "--expires", "soon"],
        ["--subject", "anna", "--role", "viewer", "--expires", "0h"],
        ["--subject", "anna", "--role", "viewer", "--expires", "367d"],
        ["--subject", "anna", "--role", "viewer", "--secret-file", "/nowhere"],
    ],
)
async def test_what_no_token_is_made_of(secret_file: Path, words: list[str]) -> None:
    said = _sentence(await invoke(app, "token", "--secret-file", str(secret_file), *words))
    assert said.endswith(".")
    assert SECRET not in said


async def test_without_a_secret_there_is_no_token(tmp_path: Path) -> None:
    assert "--secret-file" in _sentence(await invoke(app, "token", "--subject", "anna", "--role", "viewer"))
    short = tmp_path / "short"
    short.write_text("much-too-short")
    said = _sentence(await invoke(app, "token", "--subject", "a", "--role", "viewer", "--secret-file", str(short)))
    assert "much-too-short" not in said


async def test_a_command_sends_its_token(
    guarded: Server, secret_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = await _minted(secret_file, "--subject", "anna", "--role", "admin")
    assert (await command(guarded, "dlq", "list", "--token", token)).exit_code == 0
    monkeypatch.setenv("DSM_TOKEN", token)
    assert (await command(guarded, "dlq", "list")).exit_code == 0
    monkeypatch.delenv("DSM_TOKEN")
    file = tmp_path / "token"
    file.write_text(token + "\n")
    monkeypatch.setenv("DSM_TOKEN_FILE", str(file))
    assert (await command(guarded, "dlq", "list")).exit_code == 0
    monkeypatch.setenv("DSM_TOKEN_FILE", str(tmp_path / "nothing"))
    assert "DSM_TOKEN_FILE" in _sentence(await command(guarded, "status"))


async def test_streams_are_sent_with_the_token_too(guarded: Server, tmp_path: Path) -> None:
    """An import streams up; it gets as far as asking for the project."""
    file = tmp_path / "tasks.csv"
    file.write_text("title\nA task\n")
    said = _sentence(await command(guarded, "import", str(file), "--project", "NONE", "--token", signed()))
    assert "PROJECT_NOT_FOUND" in said
    said = _sentence(await command(guarded, "export", "NONE", "--token", signed()))
    assert "PROJECT_NOT_FOUND" in said


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("", "TOKEN_MISSING"),
        ("garbage", "TOKEN_INVALID"),
        (signed(exp=1), "TOKEN_EXPIRED"),
        (signed(roles=["viewer"]), "ROLE_REQUIRED"),
    ],
)
async def test_a_command_that_is_refused_says_what_to_do(guarded: Server, token: str, reason: str) -> None:
    said = _sentence(await command(guarded, "dlq", "list", "--token", token))
    assert said.endswith(f"({reason})")
    assert not token or token not in said
    assert "--token" in said or reason == "ROLE_REQUIRED"


async def test_what_is_no_token_is_not_sent(guarded: Server) -> None:
    for token in ("two words", "é"):
        assert "one word" in _sentence(await command(guarded, "status", "--token", token))
