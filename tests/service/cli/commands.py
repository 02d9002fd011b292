"""The `dsm` command against running services, in this process."""

import asyncio
from typing import Any

from typer.testing import CliRunner, Result

from services.cli import output
from services.cli.main import app, load
from services.kit.server import Server

load(())
output.out.width = 200  # Tables as on a wide terminal, whatever the one is that the tests run in.


async def command(whole: Server, *words: str) -> Result:
    """A command, in a thread of its own beside the services; its CliError is the result's `exception`."""
    return await invoke(app, *words, "--target", f"127.0.0.1:{whole.port}")


async def invoke(commands: Any, *words: str) -> Result:
    """The same with commands of the test's choice and no target."""
    return await asyncio.to_thread(CliRunner().invoke, commands, list(words))
