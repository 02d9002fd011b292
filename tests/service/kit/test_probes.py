"""/livez and /readyz beside the metrics, in plain HTTP whatever gRPC speaks."""

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from services.kit.server import Server
from services.kit.service import Service
from services.kit.serving import probes
from services.kit.settings import ProcessSettings, ServiceSettings


@pytest_asyncio.fixture
async def serving() -> AsyncIterator[tuple[Server, Service]]:
    service = Service("project", ServiceSettings())
    server = Server([service], ProcessSettings(port=0, metrics_port=0, grace_seconds=1))
    server.bind()
    await server.start()
    yield server, service
    await server.stop()


async def get(port: int, path: str, host: str = "127.0.0.1") -> tuple[int, str]:
    """Status and body."""
    return await asyncio.to_thread(_get, f"http://{host}:{port}{path}")


def _get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


async def test_a_server_that_takes_calls_is_live_and_ready(serving: tuple[Server, Service]) -> None:
    server, _ = serving
    assert await get(server.metrics_port, "/livez") == (200, "ok\n")
    assert await get(server.metrics_port, "/readyz") == (200, "ok\n")
    status, body = await get(server.metrics_port, "/metrics")
    assert status == 200
    assert "dsm_calls_in_flight" in body


async def test_who_takes_no_calls_says_why_and_is_live(serving: tuple[Server, Service]) -> None:
    server, service = serving
    service.not_ready = ["The database sleeps.", "So do\nI."]
    status, body = await get(server.metrics_port, "/readyz")
    assert (status, len(body.splitlines())) == (503, 1)
    assert "The database sleeps." in body
    assert (await get(server.metrics_port, "/livez"))[0] == 200
    service.not_ready = []
    assert (await get(server.metrics_port, "/readyz"))[0] == 200


async def test_a_server_that_drains_is_not_ready(serving: tuple[Server, Service]) -> None:
    server, _ = serving
    await server.stop()
    assert (await get(server.metrics_port, "/readyz"))[0] == 503


async def test_a_loop_that_hangs_is_not_live(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "_HUNG_SECONDS", 0.05)
    loop = asyncio.new_event_loop()
    check = probes.hung(loop)
    assert check()  # It does not run yet.
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    assert not check()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
    assert check()
