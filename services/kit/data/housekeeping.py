"""Deletes what has served its time: published events, inbox entries, answers to request_ids, ended sagas."""

import asyncio

import structlog

from services.kit import failpoint
from services.kit.data.database import Database
from services.kit.errors import DsmError

log = structlog.get_logger()

EVERY_SECONDS = 600
REQUEST_HOURS = 24
_RULES = {
    "outbox": "publish_time IS NOT NULL AND create_time < now() - make_interval(secs => %(retention)s)",
    # Twice as long as events can be replayed: an entry must outlive every copy of its event.
    "inbox": "apply_time < now() - make_interval(secs => 2 * %(retention)s)",
    "request_record": f"create_time < now() - interval '{REQUEST_HOURS} hours'",
    "saga": "status IN ('DONE', 'UNDONE') AND update_time < now() - make_interval(secs => %(retention)s)",
}
_PRESENT = "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"


async def run(database: Database, retention_hours: float) -> None:
    """Clean up for ever."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        try:
            await clean(database, retention_hours)
        except DsmError as error:
            log.info("housekeeping.postponed", service=database.service, error=error.message)


async def clean(database: Database, retention_hours: float) -> None:
    """Clean up once; not every service has every table."""
    present = {row["tablename"] for row in await database.read.rows(_PRESENT)}
    for table in _RULES.keys() & present:
        await failpoint.reach(failpoint.HOUSEKEEPING_BEFORE_DELETE)
        async with database.write(keyed=False) as tx:
            await tx.execute(f"DELETE FROM {table} WHERE {_RULES[table]}", {"retention": retention_hours * 3600})
