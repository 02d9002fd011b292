"""Failpoints: places where a test may have the process killed, an error raised or a delay made.

The setting `failpoints` (DSM_FAILPOINTS) arms them for the life of a process; without it, passing one is a look into an
empty dict. Why they are in the product at all is told in docs/decisions.

    DSM_FAILPOINTS="outbox.after-publish=kill@3, inbox.before-ack=sleep:2, gate.before-answer=error"

`kill` is SIGKILL: nothing is flushed, closed or said. `error` is an exception that nobody foresaw. `sleep:2` is a delay
of two seconds. `@3` acts at the third pass only; without it, at each.
"""

import asyncio
import os
import re
import signal
from collections.abc import Collection
from dataclasses import dataclass

import structlog

log = structlog.get_logger()

# Between the commit of events and their publishing; between JetStream's acknowledgement and marking them published.
OUTBOX_BEFORE_PUBLISH = "outbox.before-publish"
OUTBOX_AFTER_PUBLISH = "outbox.after-publish"
# In the consumer's transaction before its effect; between its commit and the acknowledgement.
INBOX_BEFORE_EFFECT = "inbox.before-effect"
INBOX_BEFORE_ACK = "inbox.before-ack"
# Between what a call did and what its caller is told.
GATE_BEFORE_ANSWER = "gate.before-answer"
SERVER_BEFORE_START = "server.before-start"
HOUSEKEEPING_BEFORE_DELETE = "housekeeping.before-delete"
# What every process has; a service with sagas has those of saga_points() too.
POINTS = frozenset(
    {
        OUTBOX_BEFORE_PUBLISH,
        OUTBOX_AFTER_PUBLISH,
        INBOX_BEFORE_EFFECT,
        INBOX_BEFORE_ACK,
        GATE_BEFORE_ANSWER,
        SERVER_BEFORE_START,
        HOUSEKEEPING_BEFORE_DELETE,
    }
)

_ITEM = re.compile(
    r"(?P<name>[a-z0-9.-]+)=(?:(?P<action>kill|error)|sleep:(?P<seconds>\d+(?:\.\d+)?))(?:@(?P<turn>[1-9]\d*))?"
)


class FailpointsInvalid(Exception):
    """The setting cannot be understood; one sentence that says what to change."""


class Injected(Exception):
    """The error that an armed failpoint raises; no code of DSM knows it."""


@dataclass
class _Armed:
    """What happens at a point. `turn` = 0: at every pass; `seconds` is of a sleep."""

    action: str
    seconds: float
    turn: int
    passes: int = 0


_armed: dict[str, _Armed] = {}


def saga_point(kind: str, step: str, moment: str) -> str:
    """The name of a point at a saga's step.

    `moment`: "before" it runs; "done" when a remote step has had its effect and this is not stored yet (a local step
    has its effect and stores it at once); "after" it is stored; "undo" before it is undone.
    """
    return f"saga.{kind}.{step}.{moment}"


def saga_points(kind: str, step: str, *, remote: bool) -> set[str]:
    """Every point at a saga's step."""
    moments = {"before", "after", "undo"} | ({"done"} if remote else set())
    return {saga_point(kind, step, moment) for moment in moments}


def arm(text: str, known: Collection[str]) -> None:
    """Arm what a setting says, and nothing else; FailpointsInvalid if it is malformed or names none of `known`."""
    wanted = dict(_parse(item.strip(), known) for item in text.split(",") if item.strip())
    _armed.clear()
    _armed.update(wanted)
    if wanted:
        log.warning("failpoints.armed", failpoints=text)


def armed() -> list[str]:
    """The names of the points at which something is to happen."""
    return sorted(_armed)


async def reach(name: str) -> None:
    """Do what is armed here: as a rule nothing."""
    if _armed and (point := _armed.get(name)):
        point.passes += 1
        if point.turn in (0, point.passes):
            await _act(name, point)


def _parse(item: str, known: Collection[str]) -> tuple[str, _Armed]:
    found = _ITEM.fullmatch(item)
    if not found:
        raise FailpointsInvalid(
            f"DSM_FAILPOINTS is not valid: write {item!r} as <point>=kill, error or sleep:<seconds>, each with @<pass>."
        )
    if found["name"] not in known:
        raise FailpointsInvalid(
            f"DSM_FAILPOINTS names no failpoint of this process: {found['name']} is none of {', '.join(sorted(known))}."
        )
    return found["name"], _Armed(found["action"] or "sleep", float(found["seconds"] or 0), int(found["turn"] or 0))


async def _act(name: str, point: _Armed) -> None:
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if point.action == "error":
        raise Injected(name)
    await asyncio.sleep(point.seconds)
