"""Protections taken away, each by name, for the negative controls: a fault test that then finds nothing proves nothing.

Each is broken as somebody might have built it who did not think of the fault.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any
from uuid import uuid4

from services.kit import call, failpoint, saga
from services.kit.data import changes
from services.kit.data.database import Database, WriteHandle
from services.kit.events import inbox, outbox


def no_outbox() -> None:
    """Events are told after the commit instead of in the transaction."""
    write, change, flush = Database.write, Database.change, WriteHandle.flush

    async def tell(db: Database, events: Sequence[Any]) -> None:
        await failpoint.reach(failpoint.OUTBOX_BEFORE_PUBLISH)
        if events:
            async with db.connection() as connection:
                await connection.execute(changes.INSERT_EVENTS, changes.event_params(events))
            db._committed()

    async def flush_nothing(self: WriteHandle) -> None:
        held, self.events = self.events, []
        await flush(self)
        self.events = held

    @asynccontextmanager
    async def write_then_tell(self: Database, *args: Any, **kwargs: Any) -> AsyncIterator[WriteHandle]:
        async with write(self, *args, **kwargs) as tx:
            yield tx
        await tell(self, tx.events)

    async def change_then_tell(self: Database, sql: str, params: Mapping[str, Any], **kwargs: Any) -> Any:
        events = kwargs.pop("events", ())
        if found := await change(self, sql, params, **kwargs):
            await tell(self, events)
        return found

    _put(WriteHandle, flush=flush_nothing)
    _put(Database, write=write_then_tell, change=change_then_tell)


def no_inbox() -> None:
    """A consumer takes each delivery for a new event."""
    inbox._TAKE = "SELECT DISTINCT unnest(%(event_ids)s::uuid[])::text AS event_id"


def no_relay_lock() -> None:
    """Every replica's relay publishes."""

    async def yes(connection: Any) -> bool:
        return True

    _put(outbox, _try_lock=yes)


def no_takeover() -> None:
    """What a dead process had under way stays where it is."""

    async def nothing(self: saga.Sagas) -> None:
        return None

    _put(saga.Sagas, _take_over=nothing)


def no_request_record() -> None:
    """Nobody remembers what was answered."""

    async def claim(self: WriteHandle) -> None:
        self._key = None

    async def find(self: Database, key: Any) -> None:
        return None

    change = Database.change

    async def forgetful(self: Database, *args: Any, **kwargs: Any) -> Any:
        at_hand = call.current()
        call.enter(replace(at_hand, request_key=None))
        try:
            return await change(self, *args, **kwargs)
        finally:
            call.enter(at_hand)

    _put(WriteHandle, claim=claim)
    _put(Database, find_answer=find, change=forgetful)


def no_order() -> None:
    """The backlog takes what it hears last from a sprint for what is so."""
    from services.backlog import events
    from services.backlog.domain.course import followed

    def last(reports: Any) -> Any:
        return list({report.task_id: report for report in reports}.values())

    def follow_all(tasks: Any, reports: Any, now: Any) -> Any:
        changes = []
        for report in reports:
            if task := tasks.get(report.task_id):
                course = replace(task.course, sprint_version=report.version - 1)
                [(_, after)] = followed({task.task_id: replace(task, course=course)}, [report], now)
                changes.append((task, after))
        return changes

    _put(events, newest=last, followed=follow_all)


def no_version() -> None:
    """A task is saved over whatever it has become meanwhile."""
    from services.backlog.handlers import tasks as handlers
    from services.backlog.store import tasks as store

    # One parameter is still named, so that the statement takes what it is given.
    blind = store.SAVE_CONTENT.replace("t.version = r.seen_version", "r.seen_version IS NOT NULL")
    _put(store, SAVE_CONTENT=blind)
    _put(handlers, SAVE_CONTENT=blind)


def no_run_id() -> None:
    """A scheduled run that is repeated is another run."""
    from services.orchestrator import keeper

    _put(keeper, run_id=lambda what, run: uuid4())


def _put(where: object, **parts: object) -> None:
    for name, part in parts.items():
        setattr(where, name, part)


BREAKS: dict[str, Callable[[], None]] = {
    "outbox": no_outbox,
    "inbox": no_inbox,
    "relay-lock": no_relay_lock,
    "takeover": no_takeover,
    "request-record": no_request_record,
    "order": no_order,
    "version": no_version,
    "run-id": no_run_id,
}
