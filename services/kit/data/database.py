"""PostgreSQL: a handle that reads, and one that writes and emits events.

Reads run in autocommit, one round trip each. `async with db.write() as tx` is one transaction; on its way out it stores
the events that were emitted (outbox) and the answer (request record), then commits: state, events and answer are there
together or not at all. `change` does all of that in one statement, for hot paths. SQL is plain text with %(named)s
parameters; why no query builder stands between is told in docs/decisions.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import structlog
from dsm.events.v1 import event_pb2
from google.protobuf.message import Message
from psycopg import AsyncConnection, AsyncCursor, InterfaceError, OperationalError, errors
from psycopg.rows import BaseRowFactory, dict_row, scalar_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout, TooManyRequests

from services.kit import call
from services.kit.call import RequestKey
from services.kit.clock import Clock, utc_now
from services.kit.data.changes import INSERT_EVENTS, Change, Statement, changing, changing_all, event_params, key_params
from services.kit.envelope import new_event
from services.kit.errors import DatabaseUnavailable, Overloaded

log = structlog.get_logger()

T = TypeVar("T")
R = TypeVar("R", bound=Message)
Params = Mapping[str, Any]
Row = dict[str, Any]

_AWAY_SECONDS = 0.5
_ROLLBACK_SECONDS = 3.0
_BROKEN = (OperationalError, InterfaceError)
# Told by PostgreSQL to try again: nothing of the transaction has happened.
CONFLICTS = (errors.SerializationFailure, errors.DeadlockDetected)

_CLAIM_REQUEST = """
    INSERT INTO request_record (request_id, method, fingerprint) VALUES (%(request_id)s, %(method)s, %(fingerprint)s)
    ON CONFLICT (request_id) DO NOTHING
"""
_ANSWER_REQUEST = "UPDATE request_record SET response = %(response)s WHERE request_id = %(request_id)s"
_FIND_ANSWER = "SELECT method, fingerprint, response FROM request_record WHERE request_id = %(request_id)s"


class AlreadyAnswered(Exception):
    """The request_id was answered meanwhile: look the answer up. Never leaves the kit."""


class ReadHandle:
    """Reads, each in autocommit on a connection of its own. Functions that only read take this type."""

    def __init__(self, database: "Database", *, any_schema: bool = False) -> None:
        self._database = database
        self._any_schema = any_schema

    async def all(self, sql: str, params: Params | None = None, *, row: BaseRowFactory[T]) -> list[T]:
        """Every row."""
        found: list[T] = await self._run(sql, params, row, lambda cursor: cursor.fetchall())
        return found

    async def maybe(self, sql: str, params: Params | None = None, *, row: BaseRowFactory[T]) -> T | None:
        """The first row, or None."""
        found: T | None = await self._run(sql, params, row, lambda cursor: cursor.fetchone())
        return found

    async def one(self, sql: str, params: Params | None = None, *, row: BaseRowFactory[T]) -> T:
        """The row of a statement that always has one."""
        found = await self.maybe(sql, params, row=row)
        if found is None:
            raise LookupError("The statement gave no row.")
        return found

    async def value(self, sql: str, params: Params | None = None) -> Any:
        """The first column of the first row, or None."""
        return await self._run(sql, params, scalar_row, lambda cursor: cursor.fetchone())

    async def rows(self, sql: str, params: Params | None = None) -> list[Row]:
        """Every row as a dict."""
        return await self.all(sql, params, row=dict_row)

    async def _run(
        self, sql: str, params: Params | None, row: BaseRowFactory[T], fetch: Callable[[AsyncCursor[T]], Any]
    ) -> Any:
        # A read may be repeated: a connection that died while it lay in the pool costs no error.
        for attempt in (1, 2):
            try:
                async with self._database.connection(any_schema=self._any_schema) as connection:
                    cursor = connection.cursor(row_factory=row)
                    await cursor.execute(sql, params)
                    return await fetch(cursor)
            except DatabaseUnavailable:
                if attempt == 2:
                    raise
        raise AssertionError("unreachable")


class WriteHandle(ReadHandle):
    """One transaction: reads see its own writes. Functions that write take this type."""

    def __init__(self, database: "Database", connection: AsyncConnection[Any], key: RequestKey | None) -> None:
        super().__init__(database)
        self._connection = connection
        self._key = key
        self.events: list[event_pb2.Event] = []
        self.response: Message | None = None

    async def execute(self, sql: str, params: Params | None = None) -> int:
        """Run a statement; the number of rows it touched."""
        cursor = await self._connection.execute(sql, params)
        return cursor.rowcount

    async def execute_many(self, sql: str, params: Sequence[Params]) -> None:
        """Run a statement for each of many parameters, in one go."""
        if params:
            async with self._connection.cursor() as cursor:
                await cursor.executemany(sql, params)

    def emit(
        self, payload: Message, *, aggregate: tuple[str, str], version: int, project_id: str = ""
    ) -> event_pb2.Event:
        """Publish a payload once the transaction is committed, and only then."""
        event = self._database.event(payload, aggregate=aggregate, version=version, project_id=project_id)
        self.events.append(event)
        return event

    def reply(self, response: R) -> R:
        """Keep the answer with the effect, so that the same request_id gets it again; hands it back."""
        self.response = response
        return response

    async def _run(
        self, sql: str, params: Params | None, row: BaseRowFactory[T], fetch: Callable[[AsyncCursor[T]], Any]
    ) -> Any:
        cursor = self._connection.cursor(row_factory=row)
        await cursor.execute(sql, params)
        return await fetch(cursor)

    async def claim(self) -> None:
        """Take the request_id for this transaction; AlreadyAnswered if another one has it."""
        if self._key and not await self.execute(_CLAIM_REQUEST, key_params(self._key)):
            raise AlreadyAnswered

    async def flush(self) -> None:
        """Store events and answer; the last statements before the commit."""
        if self.events:
            await self.execute(INSERT_EVENTS, event_params(self.events))
        if self._key:
            if self.response is None:
                raise RuntimeError(f"{self._key.method} committed without tx.reply(): its request_id protects nothing.")
            answer = {"response": self.response.SerializeToString(), "request_id": self._key.request_id}
            await self.execute(_ANSWER_REQUEST, answer)


class Database:
    """A service's database. `read` is at hand always; `write` and `change` change it."""

    def __init__(
        self, service: str, url: str, *, pool_size: int = 8, pool_timeout: float = 3, clock: Clock = utc_now
    ) -> None:
        self.service = service
        self.url = url
        self.read = ReadHandle(self)
        # Reads also while the schema is not the code's: to see how far it is.
        self.read_any_schema = ReadHandle(self, any_schema=True)
        # Why the code cannot work on the database's schema; while there is a reason, nothing is read or written.
        self.misfit = ""
        self._clock = clock
        self._away = False
        # Callers that wait for a connection. The pool's own count has those too that gave up meanwhile.
        self._waiting = 0
        self._most_waiting = pool_size * 16
        # Each is called after a commit that left events in the outbox.
        self.on_commit: list[Callable[[], None]] = []
        self.pool = AsyncConnectionPool(
            url,
            min_size=1,
            max_size=pool_size,
            timeout=pool_timeout,
            max_waiting=pool_size * 64,
            reconnect_timeout=5,
            kwargs={"autocommit": True, "prepare_threshold": 2, "application_name": f"dsm-{service}"},
            open=False,
            name=service,
        )

    async def open(self) -> None:
        """Begin to connect; does not wait, because a database that is away must not stop the start."""
        await self.pool.open(wait=False)

    async def close(self) -> None:
        """Close every connection."""
        await self.pool.close()

    def refuse_misfit(self) -> None:
        """Raise DatabaseUnavailable while the code cannot work on the database's schema."""
        if self.misfit:
            raise DatabaseUnavailable(self.service, self.misfit)

    @asynccontextmanager
    async def connection(self, *, any_schema: bool = False) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in autocommit; what the driver says of an absent server becomes DatabaseUnavailable.

        Overloaded if too many wait for one already.
        """
        if not any_schema:
            self.refuse_misfit()
        if self._waiting >= self._most_waiting and not self._away:
            raise Overloaded("too many calls wait for the database", self._most_waiting)
        self._waiting += 1
        try:
            # Once it was seen to be away, nobody waits for long until it is seen again.
            connection = await self.pool.getconn(_AWAY_SECONDS if self._away else None)
        except (PoolTimeout, TooManyRequests, *_BROKEN) as error:
            self._away = True
            raise DatabaseUnavailable(self.service) from error
        finally:
            self._waiting -= 1
        self._away = False
        try:
            yield connection
        except CONFLICTS:
            raise
        except _BROKEN as error:
            self._away = True
            await self._forget_broken()
            raise DatabaseUnavailable(self.service) from error
        finally:
            await _undisturbed(self.pool.putconn(connection))

    @asynccontextmanager
    async def write(self, key: RequestKey | None = None, *, keyed: bool = True) -> AsyncIterator[WriteHandle]:
        """One transaction. The request_id of the call at hand, or `key`, is kept with it unless `keyed` is False."""
        async with self._transaction() as connection:
            tx = WriteHandle(self, connection, (key or call.current().request_key) if keyed else None)
            await tx.claim()
            yield tx
            await tx.flush()
        if tx.events:
            self._committed()

    async def change(
        self,
        sql: str,
        params: Params,
        *,
        row: BaseRowFactory[T],
        also: Mapping[str, str] | None = None,
        events: Sequence[event_pb2.Event] = (),
        reply: Message | None = None,
        keyed: bool = True,
    ) -> list[T]:
        """A hot write: one statement that changes rows and, if it changed any, stores events and answer with them.

        `sql` is an INSERT, UPDATE or DELETE … RETURNING. No row back means that nothing was changed, for example
        because the version in its WHERE was old: read again and repeat. `also` names further statements of the kind
        that belong to the same write and select from `change`, since PostgreSQL allows none inside `sql`. The
        request_id of the call at hand is kept with it unless `keyed` is False.
        """
        key = call.current().request_key if keyed else None
        statement = changing(sql, params, also=also, events=events, key=key, reply=reply)
        found = await self._change(statement, row)
        if found and events:
            self._committed()
        return found

    async def change_all(
        self, sql: str, changes: Sequence[Change], *, also: Mapping[str, str] | None = None
    ) -> set[str]:
        """Hot writes of many calls at once; the keys of those that changed something.

        As `change`, but `sql` reads jsonb_to_recordset(%(records)s) and returns the `key` of each change that it made;
        no two changes have the same key. AlreadyAnswered if any request_id has been answered: then nothing is changed,
        and who has several asks for each alone.
        """
        changed: list[str] = await self._change(changing_all(sql, changes, also=also), scalar_row)
        if changed:
            self._committed()
        return set(changed)

    def event(
        self, payload: Message, *, aggregate: tuple[str, str], version: int, project_id: str = ""
    ) -> event_pb2.Event:
        """An event of this service, for `change`."""
        return new_event(
            payload,
            source=self.service,
            aggregate=aggregate,
            version=version,
            now=self._clock(),
            project_id=project_id,
        )

    def pool_load(self) -> tuple[int, int]:
        """Connections in use, and calls that wait for one."""
        stats = self.pool.get_stats()
        in_use = stats.get("pool_size", 0) - stats.get("pool_available", 0)
        return in_use, stats.get("requests_waiting", 0)

    async def find_answer(self, key: RequestKey) -> tuple[str, bytes, bytes | None] | None:
        """What is kept of a request_id: method, fingerprint and response."""
        row = await self.read.maybe(_FIND_ANSWER, {"request_id": key.request_id}, row=dict_row)
        return (row["method"], bytes(row["fingerprint"]), row["response"]) if row else None

    async def _change(self, statement: Statement, row: BaseRowFactory[T]) -> list[T]:
        async with self.connection() as connection:
            cursor = connection.cursor(row_factory=row)
            try:
                await cursor.execute(statement.sql, statement.params)
            except errors.UniqueViolation as error:
                if error.diag.constraint_name == "request_record_pkey":
                    raise AlreadyAnswered from None
                raise
            return await cursor.fetchall()

    def _committed(self) -> None:
        for told in self.on_commit:
            told()

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        async with self._begun() as connection:
            try:
                yield connection
                await connection.execute("COMMIT")
            except BaseException:
                # A call that is cancelled here must not leave its transaction open in the pool.
                await _undisturbed(_rollback(connection))
                raise

    @asynccontextmanager
    async def _begun(self) -> AsyncIterator[AsyncConnection[Any]]:
        """A connection in a transaction; one that had died in the pool is noticed at BEGIN, and the next is taken."""
        for attempt in (1, 2):
            try:
                async with self.connection() as connection:
                    await connection.execute("BEGIN")
                    attempt = 3
                    yield connection
                    return
            except DatabaseUnavailable:
                if attempt >= 2:
                    raise

    async def _forget_broken(self) -> None:
        """Drop the pool's other dead connections too, so that one restart of the server costs one error."""
        await self.pool.check()


def jsonb(value: object) -> Jsonb:
    """A value for a jsonb column."""
    return Jsonb(value)


async def _rollback(connection: AsyncConnection[Any]) -> None:
    if not connection.closed:
        try:
            async with asyncio.timeout(_ROLLBACK_SECONDS):
                await connection.execute("ROLLBACK")
        except (TimeoutError, *_BROKEN):
            await connection.close()


async def _undisturbed(work: Coroutine[Any, Any, None]) -> None:
    """Await a cleanup to its end, however often the caller is cancelled meanwhile, and only then pass that on.

    A call is often cancelled twice: by its own deadline and by gRPC. With a mere shield the second one would leave the
    cleanup running while the pool closes the connection under it, and libpq works on freed memory: the process dies.
    """
    task = asyncio.ensure_future(work)
    disturbed = False
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError:
            disturbed = True
    task.result()
    if disturbed:
        raise asyncio.CancelledError
