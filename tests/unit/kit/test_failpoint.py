"""Failpoints: what the setting says, and what happens at a point."""

import asyncio
import time
from collections.abc import Iterator

import pytest

from services.cli.registry import assemble
from services.kit import failpoint
from services.kit.failpoint import FailpointsInvalid, Injected, arm, armed, reach
from services.kit.server import Server

KNOWN = {"a.b", "a.c"}


@pytest.fixture(autouse=True)
def _disarmed() -> Iterator[None]:
    yield
    arm("", KNOWN)


async def test_nothing_happens_at_a_point_that_is_not_armed() -> None:
    arm("a.b=error", KNOWN)
    await reach("a.c")
    arm("", KNOWN)
    await reach("a.b")
    assert armed() == []


async def test_an_error_at_each_pass_or_at_one() -> None:
    arm("a.b=error, a.c=error@2", KNOWN)
    for _ in range(2):
        with pytest.raises(Injected):
            await reach("a.b")
    await reach("a.c")
    with pytest.raises(Injected):
        await reach("a.c")
    await reach("a.c")


async def test_a_delay() -> None:
    arm("a.b=sleep:0.2", KNOWN)
    began = time.monotonic()
    await asyncio.gather(*(reach("a.b") for _ in range(10)))
    assert 0.2 <= time.monotonic() - began < 1.8


@pytest.mark.parametrize(
    "text", ["a.b", "a.b=explode", "a.b=sleep", "a.b=sleep:x", "a.b=kill@0", "a.b=kill@", "a.b kill", "no.such=kill"]
)
def test_what_cannot_be_meant_is_refused_and_leaves_all_as_it_was(text: str) -> None:
    arm("a.c=error", KNOWN)
    with pytest.raises(FailpointsInvalid):
        arm(text, KNOWN)
    assert armed() == ["a.c"]


async def test_a_server_knows_the_points_of_its_own_sagas() -> None:
    databases = {f"DSM_{name}_DATABASE_URL": "postgresql://localhost/none" for name in ("SPRINT", "BACKLOG")}
    environ = databases | {
        "DSM_NATS_URL": "nats://localhost",
        "DSM_PROJECT_ADDRESS": "x:1",
        "DSM_BACKLOG_ADDRESS": "x:1",
        "DSM_METRICS_PORT": "-1",
        "DSM_FAILPOINTS": "saga.start-sprint.reserve.done=kill, outbox.after-publish=kill@3",
    }
    sprint = assemble(["sprint"], environ)
    Server(sprint.build(), sprint.process)
    assert armed() == [failpoint.OUTBOX_AFTER_PUBLISH, "saga.start-sprint.reserve.done"]
    backlog = assemble(["backlog"], environ)
    with pytest.raises(FailpointsInvalid):
        Server(backlog.build(), backlog.process)
