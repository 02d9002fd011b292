"""Commands against a DSM that speaks TLS, and what they say when the two do not understand each other."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import typer

from services.cli import status
from services.cli.errors import CliError
from services.cli.tls import give_options
from services.kit.security.tls import TlsError
from services.kit.server import Server
from services.kit.service import Service
from services.kit.settings import ProcessSettings, ServiceSettings
from tests.certificates import Authority
from tests.service.cli.commands import invoke

Dsm = Callable[..., Awaitable[Any]]


class Place:
    """Files for `dsm`, and servers in several ways of TLS."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.other = Authority(folder), Authority(folder, "other")
        self.pair = self.ca.sign()
        self._app = typer.Typer()
        status.register(self._app)
        # With one command alone, typer would leave the command's name out.
        self._app.callback()(lambda: None)
        give_options(self._app)
        self._servers: list[Server] = []

    async def serve(self, **settings: str) -> str:
        """A process with a service in it; its address."""
        server = Server([Service("project", ServiceSettings())], ProcessSettings(port=0, metrics_port=-1, **settings))  # type: ignore[arg-type]
        server.bind()
        await server.start()
        self._servers.append(server)
        return f"127.0.0.1:{server.port}"

    async def serve_over_tls(self, *hosts: str, days: float = 30, mutual: bool = False) -> str:
        """The same over TLS."""
        pair = self.ca.sign(*hosts, days=days)
        demanded = {"tls_client_ca_file": str(self.ca.file)} if mutual else {}
        return await self.serve(tls_cert_file=str(pair.cert), tls_key_file=str(pair.key), **demanded)

    async def dsm(self, address: str, **options: Path) -> str:
        """`dsm status` at an address; what it shows. Raises what it fails with."""
        words = [word for name, file in options.items() for word in (f"--tls-{name}", str(file))]
        result = await invoke(self._app, "status", "--target", address, *words)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.stdout

    async def refused(self, address: str, **options: Path) -> str:
        """The sentence with which it fails."""
        with pytest.raises(CliError) as failed:
            await self.dsm(address, **options)
        return str(failed.value)

    async def close(self) -> None:
        """Stop everything."""
        for server in self._servers:
            await server.stop()


@pytest_asyncio.fixture
async def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    for name in ("DSM_TLS_CA", "DSM_TLS_CERT", "DSM_TLS_KEY"):
        monkeypatch.delenv(name, raising=False)
    made = Place(tmp_path)
    yield made
    await made.close()


async def test_a_command_calls_over_tls(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await place.serve_over_tls()
    assert "project" in await place.dsm(address, ca=place.ca.file)
    monkeypatch.setenv("DSM_TLS_CA", str(place.ca.file))
    assert "project" in await place.dsm(address)


async def test_a_command_shows_its_certificate(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    address = await place.serve_over_tls(mutual=True)
    pair = place.ca.sign("somebody.example")
    assert "project" in await place.dsm(address, ca=place.ca.file, cert=pair.cert, key=pair.key)
    # What the services of a container call each other with, its commands call them with.
    for name, file in (("CA", place.ca.file), ("CERT", pair.cert), ("KEY", pair.key)):
        monkeypatch.setenv(f"DSM_CLIENT_{name}_FILE", str(file))
    assert "project" in await place.dsm(address)


async def test_each_misunderstanding_has_its_sentence(place: Place) -> None:
    secure, plain, mutual = await place.serve_over_tls(), await place.serve(), await place.serve_over_tls(mutual=True)
    expired, elsewhere = await place.serve_over_tls(days=-1), await place.serve_over_tls("elsewhere.example")
    ca, stranger = place.ca.file, place.other.sign()
    said = {
        await place.refused(secure),
        await place.refused(plain, ca=ca),
        await place.refused(secure, ca=place.other.file),
        await place.refused(expired, ca=ca),
        await place.refused(elsewhere, ca=ca),
        await place.refused(mutual, ca=ca),
        await place.refused(mutual, ca=ca, cert=stranger.cert, key=stranger.key),
        await place.refused("127.0.0.1:1", ca=ca),
    }
    assert len(said) == 8
    assert not any("PRIVATE" in sentence for sentence in said)


async def test_files_that_do_not_belong_together_are_named(place: Place) -> None:
    address = await place.serve_over_tls()
    assert "--tls-ca" in await place.refused(address, cert=place.pair.cert, key=place.pair.key)
    with pytest.raises(TlsError) as failed:
        await place.dsm(address, ca=place.ca.file, cert=place.pair.cert)
    assert "--tls-key" in str(failed.value)
    with pytest.raises(TlsError) as failed:
        await place.dsm(address, ca=Path("/gone"))
    assert "--tls-ca" in str(failed.value)
