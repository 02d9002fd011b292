"""Watching: what a service commits, streamed in order, with a place to go on from.

One reader per process reads the outbox for all watchers; each watcher takes what concerns its project from the lately
read, or, if it is slow or comes back with an old token, pages of the outbox itself. So a slow watcher keeps nothing in
memory and nobody waiting.

Positions are given when a row is inserted and rows become visible when their transaction commits, so that a cursor
'after the last position' would lose the rows of transactions that commit late. The reader therefore goes no further
than a mark up to which all is settled: it notes the last position given, then which transactions hold the lock that
writing to the outbox takes, and reads up to the mark once all of these have ended. A position is given while the rows
that the event is about are locked, so the order of positions is the order of each aggregate's versions; the order of
transaction ids would not be, since a transaction may have its id before it waits for a row.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import structlog
from dsm.events.v1 import event_pb2
from psycopg.rows import scalar_row

from services.kit.clock import Clock, utc_now
from services.kit.data.database import Database, Row
from services.kit.data.paging import decode_token, encode_token, query_of
from services.kit.errors import DatabaseUnavailable, DsmError, PageTokenInvalid
from services.kit.serving.admission import Draining

log = structlog.get_logger()

# How soon commits of other replicas are seen; those of this process are seen at once.
POLL_SECONDS = 0.25
# Changes kept of each watched project; who is further behind reads the outbox.
RECENT = 256
PAGE = 200
# Sent as soon as a watch has begun: whatever is committed from then on will come.
TOKEN_HEADER = "dsm-resume-token"

_BATCH = 1000
_OPEN_SECONDS = 5.0
# Housekeeping goes by when a row's transaction began, a token by its row: near the end of the retention they differ.
_SAFE_PART = 0.98
_LAST = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM outbox_position_seq"
_WRITERS = """
    SELECT virtualtransaction FROM pg_locks
    WHERE locktype = 'relation' AND relation = 'outbox'::regclass AND mode = 'RowExclusiveLock' AND granted
      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""
_READ = """
    SELECT position, project_id, payload, extract(epoch FROM create_time)::bigint AS second FROM outbox
    WHERE position > %(after)s AND position <= %(until)s AND project_id = ANY(%(project_ids)s)
    ORDER BY position LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True)
class Change:
    """A committed event, where it stands and when (seconds since 1970) its row was made."""

    position: int
    second: int
    event: event_pb2.Event


class _Channel:
    """One watched project: all its changes after `floor`, as far as the reader has come; None = not begun yet."""

    def __init__(self) -> None:
        self.watchers = 0
        self.floor: int | None = None
        self.recent: deque[Change] = deque()
        self.news = asyncio.Event()

    def add(self, changes: list[Change]) -> None:
        self.recent.extend(changes)
        while len(self.recent) > RECENT:
            self.floor = self.recent.popleft().position
        self.tell()

    def tell(self) -> None:
        """Wake all who wait; who looks from now on waits for the next news."""
        self.news.set()
        self.news = asyncio.Event()


class Watch:
    """The reader of one service's outbox, and those who watch it."""

    def __init__(self, database: Database, retention_hours: float, clock: Clock = utc_now) -> None:
        self._database = database
        self._retention = retention_hours * 3600
        self._clock = clock
        self._channels: dict[str, _Channel] = {}
        self._wake = asyncio.Event()
        # Up to where the outbox is read; None = nobody watches.
        self._frontier: int | None = None
        self._begun = self._done = 0
        self._progress = asyncio.Condition()
        self._ending = False
        database.on_commit.append(self._wake.set)

    @asynccontextmanager
    async def open(self, request: Any, project_id: str, *, follow: bool = True) -> AsyncIterator["Watcher"]:
        """Watch a project's events from the request's `resume_token` on, or from now on.

        Not to follow is to end with what is committed now. PageTokenInvalid for a token that is damaged, another
        request's or older than what is kept. Once this has begun, everything that is committed comes.
        """
        query = query_of(request, "resume_token")
        after = self._place(request.resume_token, query)
        channel = self._channels.setdefault(project_id, _Channel())
        channel.watchers += 1
        try:
            frontier = await self._fresh()
            if after is not None and after > frontier:
                raise PageTokenInvalid(request.resume_token)
            position = frontier if after is None else after
            second = int(self._clock().timestamp())
            yield Watcher(self, channel, project_id, query, (position, second), follow=follow)
        finally:
            channel.watchers -= 1
            if not channel.watchers:
                del self._channels[project_id]
                # The reader may rest.
                self._wake.set()

    async def run(self) -> None:
        """Read for ever, as long as anybody watches."""
        while True:
            # Without a poll while nobody watches.
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_SECONDS if self._channels else None):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self._round()
            except DsmError as error:
                log.info("watch.postponed", service=self._database.service, error=error.message)
                await asyncio.sleep(POLL_SECONDS)

    def end(self) -> None:
        """Send every watcher away: the server is about to stop, and another replica goes on from their tokens."""
        self._ending = True
        for channel in self._channels.values():
            channel.tell()

    def check(self) -> None:
        """Draining once the server is about to stop."""
        if self._ending:
            raise Draining

    async def page(self, project_id: str, after: int, until: int, limit: int = PAGE) -> list[Change]:
        """Changes of a project from the outbox; `until` must be settled."""
        return [change for _, change in await self._read([project_id], after, until, limit)]

    def _place(self, token: str, query: str) -> int | None:
        if not token:
            return None
        key = decode_token(token, query)
        if len(key) != 2 or self._clock().timestamp() - key[1] > self._retention * _SAFE_PART:
            raise PageTokenInvalid(token)
        return int(key[0])

    async def _fresh(self) -> int:
        """How far is read by a round that begins after now."""
        self.check()
        number = self._begun + 1
        self._wake.set()
        try:
            async with asyncio.timeout(_OPEN_SECONDS), self._progress:
                await self._progress.wait_for(lambda: self._done >= number)
        except TimeoutError:
            raise DatabaseUnavailable(self._database.service) from None
        return self._frontier or 0

    async def _round(self) -> None:
        """Read what was committed since the last round, for whoever watches now."""
        if not self._channels:
            self._frontier = None
            return
        self._begun += 1
        number = self._begun
        mark = await self._settled()
        if self._frontier is None:
            self._frontier = mark
        channels = dict(self._channels)
        for channel in channels.values():
            channel.floor = self._frontier if channel.floor is None else channel.floor
        while self._frontier < mark:
            found = await self._read(list(channels), self._frontier, mark, _BATCH)
            changes: dict[str, list[Change]] = {}
            for project_id, change in found:
                changes.setdefault(project_id, []).append(change)
            for project_id, news in changes.items():
                channels[project_id].add(news)
            self._frontier = found[-1][1].position if len(found) == _BATCH else mark
        async with self._progress:
            self._done = number
            self._progress.notify_all()

    async def _settled(self) -> int:
        """The last position given, once every transaction has ended that may have been given one up to it."""
        mark = int(await self._database.read.value(_LAST))
        if mark == self._frontier:
            return mark
        writers, pause = await self._writers(), 0.002
        while writers:
            await asyncio.sleep(pause)
            pause = min(2 * pause, 0.05)
            writers &= await self._writers()
        return mark

    async def _writers(self) -> set[str]:
        """The transactions that have written to the outbox and not ended."""
        return set(await self._database.read.all(_WRITERS, row=scalar_row))

    async def _read(self, project_ids: list[str], after: int, until: int, limit: int) -> list[tuple[str, Change]]:
        params = {"project_ids": project_ids, "after": after, "until": until, "limit": limit}
        return [(row["project_id"], _change(row)) for row in await self._database.read.rows(_READ, params)]


class Watcher:
    """One client's place in a project's changes. Iterate over it once."""

    def __init__(
        self, watch: Watch, channel: _Channel, project_id: str, query: str, start: tuple[int, int], *, follow: bool
    ) -> None:
        self._watch = watch
        self._channel = channel
        self._project_id = project_id
        self._query = query
        self._position = start[0]
        self._follow = follow
        # To be sent at once, so that also a client that is cut off before the first change can go on from here.
        self.metadata = ((TOKEN_HEADER, encode_token(query, start)),)

    def token(self, change: Change) -> str:
        """Where to go on from after a change."""
        return encode_token(self._query, (change.position, change.second))

    async def __aiter__(self) -> AsyncIterator[Change]:
        """Every change after the place, in order, as it is committed."""
        while True:
            self._watch.check()
            # Taken before looking, so that what comes in between is not slept through.
            news = self._channel.news
            floor = self._channel.floor or 0
            if self._position < floor:
                changes = await self._watch.page(self._project_id, self._position, floor)
                passed = changes[-1].position if len(changes) == PAGE else floor
            else:
                changes = [change for change in self._channel.recent if change.position > self._position]
                passed = changes[-1].position if changes else self._position
            for change in changes:
                yield change
            waiting = self._position >= floor
            self._position = passed
            if waiting and not self._follow:
                return
            if waiting:
                await news.wait()


def _change(row: Row) -> Change:
    return Change(row["position"], row["second"], event_pb2.Event.FromString(row["payload"]))
