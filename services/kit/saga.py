"""Sagas: flows over several services whose steps are stored, so that a crash ends in all or nothing.

A saga is a row: what it is about, the step it is at, and a state in JSON that steps read and extend. A `Remote` step
talks to other services and may be repeated at any time; a `Local` step is one transaction, in which the saga moves on
too. The process that runs a saga holds a lease and renews it; when the process dies, another takes the saga over from
its stored step. A process that lost its lease cannot store anything any more (its writes name the owner).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, NoReturn
from uuid import UUID, uuid4

import structlog
from google.protobuf.message import Message
from psycopg.rows import dict_row

from services.kit import call, failpoint
from services.kit.call import Call, RequestKey
from services.kit.data.database import CONFLICTS, AlreadyAnswered, Database, ReadHandle, Row, WriteHandle, jsonb
from services.kit.errors import Aborted, Code, DsmError, RemoteError, Unavailable
from services.kit.telemetry import metrics, trace

log = structlog.get_logger()

State = dict[str, Any]
POLL_SECONDS = 2.0
_ATTEMPTS = 4

_INSERT = """
    INSERT INTO saga (saga_id, kind, key, status, state, owner, lease_time, caller)
    VALUES (%(saga_id)s, %(kind)s, %(key)s, 'RUNNING', %(state)s, %(owner)s,
            now() + make_interval(secs => %(lease)s), %(caller)s)
"""
_ADVANCE = """
    UPDATE saga SET step = %(step)s, state = %(state)s, status = %(status)s, error = %(error)s, update_time = now(),
                    lease_time = now() + make_interval(secs => %(lease)s)
    WHERE saga_id = %(saga_id)s AND owner = %(owner)s AND status IN ('RUNNING', 'UNDOING')
"""
_RENEW = """
    UPDATE saga SET lease_time = now() + make_interval(secs => %(lease)s)
    WHERE owner = %(owner)s AND saga_id = ANY(%(saga_ids)s)
"""
_TAKE_OVER = """
    UPDATE saga SET owner = %(owner)s, lease_time = now() + make_interval(secs => %(lease)s)
    WHERE saga_id IN (SELECT saga_id FROM saga WHERE status IN ('RUNNING', 'UNDOING') AND lease_time < now()
                      ORDER BY lease_time LIMIT 8 FOR UPDATE SKIP LOCKED)
    RETURNING *
"""
_LET_GO = "UPDATE saga SET lease_time = now() WHERE owner = %(owner)s AND status IN ('RUNNING', 'UNDOING')"
_OPEN = "SELECT * FROM saga WHERE kind = %(kind)s AND key = %(key)s AND status IN ('RUNNING', 'UNDOING')"
_BY_ID = "SELECT * FROM saga WHERE saga_id = %(saga_id)s"
_ANY_OPEN = """
    SELECT 1 FROM saga WHERE kind = ANY(%(kinds)s) AND starts_with(key, %(prefix)s) AND status IN ('RUNNING', 'UNDOING')
"""
_RUNNING = "SELECT count(*) FROM saga WHERE status IN ('RUNNING', 'UNDOING')"


class LeaseLost(Exception):
    """Another process has taken the saga over; this one must leave it alone."""


@dataclass(frozen=True)
class Remote:
    """A step outside any transaction: calls to other services, each safe to repeat."""

    name: str
    run: Callable[[State], Awaitable[State]]
    undo: Callable[[State], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Local:
    """A step that is one transaction on the service's own database."""

    name: str
    run: Callable[[WriteHandle, State], Awaitable[State]]
    undo: Callable[[WriteHandle, State], Awaitable[None]] | None = None


@dataclass(frozen=True)
class Definition:
    """A kind of saga. One that can be undone is, at the first failure; another is tried until it succeeds."""

    kind: str
    steps: Sequence[Remote | Local]
    undoable: bool


@dataclass(frozen=True)
class Saga:
    """One saga as stored."""

    saga_id: UUID
    kind: str
    key: str
    status: str
    step: int
    state: State
    caller: dict[str, str]
    error: dict[str, Any] | None = None

    @property
    def request_key(self) -> RequestKey | None:
        """The request_id of the call that began it."""
        if not self.caller.get("request_id"):
            return None
        fingerprint = bytes.fromhex(self.caller["fingerprint"])
        return RequestKey(UUID(self.caller["request_id"]), self.caller["method"], fingerprint)


class Sagas:
    """Runs the sagas of one service, and takes over those of dead processes."""

    def __init__(self, database: Database, *, lease_seconds: float = 5) -> None:
        self._database = database
        self._lease = lease_seconds
        self._owner = uuid4()
        self._definitions: dict[str, Definition] = {}
        self._running: dict[UUID, asyncio.Task[Message | None]] = {}

    @property
    def used(self) -> bool:
        """True if the service has any kind of saga."""
        return bool(self._definitions)

    @property
    def failpoints(self) -> set[str]:
        """The failpoints at the steps of every kind."""
        steps = [(it.kind, step) for it in self._definitions.values() for step in it.steps]
        points = (failpoint.saga_points(kind, step.name, remote=isinstance(step, Remote)) for kind, step in steps)
        return set().union(*points)

    @property
    def kinds(self) -> list[str]:
        """The kinds of sagas that the service has."""
        return list(self._definitions)

    def define(self, definition: Definition) -> None:
        """Make a kind of saga known."""
        self._definitions[definition.kind] = definition
        # There from the start, so that the first one is seen as an increase.
        for outcome in ("done", "undone"):
            metrics.SAGAS.labels(self._database.service, definition.kind, outcome)

    async def begin(self, tx: WriteHandle, kind: str, key: str, state: State) -> Saga:
        """Store a new saga with the caller's own first changes; run it with `finish` after the commit.

        At most one saga of a kind and key is open: check `open_saga` first, or be told by a UniqueViolation.
        """
        at_hand = call.current()
        caller = {"actor": at_hand.actor, "correlation_id": at_hand.correlation_id, "method": at_hand.method}
        caller["traceparent"] = trace.current().traceparent
        if at_hand.request_key:
            caller |= {
                "request_id": str(at_hand.request_key.request_id),
                "fingerprint": at_hand.request_key.fingerprint.hex(),
            }
        saga = Saga(uuid4(), kind, key, "RUNNING", 0, state, caller)
        await tx.execute(_INSERT, self._params(saga) | {"kind": kind, "key": key, "caller": jsonb(caller)})
        return saga

    async def finish(self, saga: Saga) -> Message:
        """Run a saga to its end and give its answer; raise what made it fail.

        The saga goes on if the caller leaves: it is a task of its own.
        """
        try:
            answer = await asyncio.shield(self._launch(saga))
        except LeaseLost:
            # This process was silent for too long: another one ends the saga, and keeps the answer.
            await self.join(saga)
        if answer is None:
            raise AlreadyAnswered
        return answer

    async def open_saga(self, kind: str, key: str) -> Saga | None:
        """The saga of a kind and key that has not ended."""
        row = await self._database.read.maybe(_OPEN, {"kind": kind, "key": key}, row=dict_row)
        return _saga(row) if row else None

    async def any_open(self, db: ReadHandle, kinds: Sequence[str], prefix: str) -> bool:
        """True if a saga of some kinds, whose key begins with `prefix`, has not ended."""
        return await db.value(_ANY_OPEN, {"kinds": list(kinds), "prefix": prefix}) is not None

    async def join(self, saga: Saga) -> NoReturn:
        """Wait for the end of a saga that another call or process runs, then have its answer looked up.

        Raises what made it fail, and Aborted if it was done for a call without request_id, whose answer nobody keeps.
        """
        while True:
            row = await self._database.read.one(_BY_ID, {"saga_id": saga.saga_id}, row=dict_row)
            if row["status"] == "DONE" and saga.request_key is None:
                raise Aborted("Another process has done this call, and its answer was not kept: read what it did.")
            if row["status"] == "DONE":
                raise AlreadyAnswered
            if row["status"] == "UNDONE":
                raise _error_of(row["error"])
            await asyncio.sleep(0.05)

    async def running(self) -> int:
        """Sagas that have not ended, in all processes."""
        return int(await self._database.read.value(_RUNNING))

    async def run(self) -> None:
        """Renew leases and take over what dead processes left, for ever."""
        while True:
            with suppress(DsmError):
                await self._renew()
                await self._take_over()
            await asyncio.sleep(min(POLL_SECONDS, self._lease / 3))

    async def stop(self) -> None:
        """Give the running ones a moment, then let go of them so that another process takes them at once."""
        if self._running:
            await asyncio.wait(list(self._running.values()), timeout=5)
        for task in list(self._running.values()):
            task.cancel()
        with suppress(DsmError):
            async with self._database.write(keyed=False) as tx:
                await tx.execute(_LET_GO, {"owner": self._owner})

    async def _renew(self) -> None:
        if self._running:
            params = {"lease": self._lease, "owner": self._owner, "saga_ids": list(self._running)}
            async with self._database.write(keyed=False) as tx:
                await tx.execute(_RENEW, params)

    async def _take_over(self) -> None:
        async with self._database.write(keyed=False) as tx:
            rows = await tx.rows(_TAKE_OVER, {"owner": self._owner, "lease": self._lease})
        for saga in map(_saga, rows):
            if saga.saga_id not in self._running and saga.kind in self._definitions:
                log.info("saga.taken_over", kind=saga.kind, key=saga.key, step=saga.step, status=saga.status)
                self._launch(saga).add_done_callback(_forget_failure)

    def _launch(self, saga: Saga) -> "asyncio.Task[Message | None]":
        task = asyncio.create_task(self._drive(saga))
        self._running[saga.saga_id] = task
        task.add_done_callback(lambda _: self._running.pop(saga.saga_id, None))
        return task

    async def _drive(self, saga: Saga) -> Message | None:
        service, parent = self._database.service, saga.caller.get("traceparent", "")
        call.enter(Call(f"saga/{saga.kind}", saga.caller["correlation_id"], saga.caller["actor"], service=service))
        with trace.follow(service, f"saga {saga.kind}", trace.Kind.INTERNAL, parent):
            return await self._walk(saga)

    async def _walk(self, saga: Saga) -> Message | None:
        definition = self._definitions[saga.kind]
        answer: Message | None = None
        if saga.status == "UNDOING":
            await self._undo(definition, saga)
            return None
        for index in range(saga.step, len(definition.steps)):
            try:
                with trace.span(self._database.service, f"{saga.kind}/{definition.steps[index].name}"):
                    saga, answer = await self._step(definition, saga, index)
            except DsmError as error:
                if not definition.undoable:
                    raise
                saga = replace(saga, status="UNDOING", step=index, error=_stored(error))
                await self._store(saga)
                await self._undo(definition, saga)
                raise
        metrics.SAGAS.labels(self._database.service, saga.kind, "done").inc()
        return answer

    async def _step(self, definition: Definition, saga: Saga, index: int) -> tuple[Saga, Message | None]:
        step = definition.steps[index]
        last = index + 1 == len(definition.steps)
        status = "DONE" if last else "RUNNING"
        await failpoint.reach(failpoint.saga_point(saga.kind, step.name, "before"))
        if isinstance(step, Remote):
            state = await step.run(saga.state)
            await failpoint.reach(failpoint.saga_point(saga.kind, step.name, "done"))
            saga = replace(saga, state=state, step=index + 1, status=status)
            await self._store(saga)
            await failpoint.reach(failpoint.saga_point(saga.kind, step.name, "after"))
            return saga, None
        for attempt in range(_ATTEMPTS):
            try:
                # The last step holds the effect, so the answer to the caller's request_id is kept with it.
                async with self._database.write(saga.request_key if last else None, keyed=last) as tx:
                    state = await step.run(tx, saga.state)
                    moved = replace(saga, state=state, step=index + 1, status=status)
                    await self._advance(tx, moved)
                await failpoint.reach(failpoint.saga_point(saga.kind, step.name, "after"))
                return moved, tx.response
            except CONFLICTS:
                await asyncio.sleep(0.01 * 2**attempt)
        raise Aborted("Other calls kept changing the same things: try again.")

    async def _undo(self, definition: Definition, saga: Saga) -> None:
        for index in range(saga.step, -1, -1):
            step = definition.steps[index]
            await failpoint.reach(failpoint.saga_point(saga.kind, step.name, "undo"))
            status = "UNDOING" if index else "UNDONE"
            saga = replace(saga, step=max(0, index - 1), status=status)
            if isinstance(step, Local):
                async with self._database.write(keyed=False) as tx:
                    if step.undo:
                        await step.undo(tx, saga.state)
                    await self._advance(tx, saga)
            else:
                if step.undo:
                    await step.undo(saga.state)
                await self._store(saga)
        metrics.SAGAS.labels(self._database.service, saga.kind, "undone").inc()
        log.info("saga.undone", kind=saga.kind, key=saga.key, error=saga.error)

    async def _store(self, saga: Saga) -> None:
        async with self._database.write(keyed=False) as tx:
            await self._advance(tx, saga)

    async def _advance(self, tx: WriteHandle, saga: Saga) -> None:
        if not await tx.execute(_ADVANCE, self._params(saga)):
            raise LeaseLost(saga.kind, saga.key)

    def _params(self, saga: Saga) -> Row:
        return {
            "saga_id": saga.saga_id,
            "step": saga.step,
            "state": jsonb(saga.state),
            "status": saga.status,
            "error": jsonb(saga.error) if saga.error else None,
            "owner": self._owner,
            "lease": self._lease,
        }


def _saga(row: Row) -> Saga:
    names = ("saga_id", "kind", "key", "status", "step", "state", "caller", "error")
    return Saga(**{name: row[name] for name in names})


def _stored(error: DsmError) -> dict[str, Any]:
    return {"code": error.code.name, "reason": error.reason, "message": error.message, "metadata": error.metadata}


def _error_of(stored: dict[str, Any] | None) -> DsmError:
    if not stored:
        return Unavailable("The flow was undone; try again.")
    return RemoteError(Code[stored["code"]], stored["reason"], stored["message"], stored["metadata"])


def _forget_failure(task: "asyncio.Task[Message | None]") -> None:
    """A saga that was taken over has nobody to tell; it stays in the table and is taken over again."""
    if not task.cancelled() and (error := task.exception()):
        log.info("saga.failed", error=str(error))
