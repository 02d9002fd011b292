"""Cleaning up: what has served its time goes, and nothing that has not (I7)."""

from __future__ import annotations

from uuid import uuid4

import pytest

from services.kit.data import housekeeping
from services.kit.data.database import Database

RETENTION_HOURS = 10
# What is a minute short of its time, or open, stays; a minute over, it goes.
KEPT, GONE = "0:01", "-0:01"


@pytest.mark.parametrize(
    ("insert", "hours"),
    [
        (
            "INSERT INTO outbox (event_id, subject, aggregate_id, aggregate_version, project_id, payload, create_time,"
            " publish_time) VALUES (%(id)s, 's', 'a', 1, '', '', %(time)s, %(time)s)",
            RETENTION_HOURS,
        ),
        (
            "INSERT INTO inbox (event_id, consumer, apply_time) VALUES (%(id)s, 'c', %(time)s)",
            # Longer than any copy of its event.
            2 * RETENTION_HOURS,
        ),
        (
            "INSERT INTO request_record (request_id, method, fingerprint, response, create_time)"
            " VALUES (%(id)s, 'm', '', '', %(time)s)",
            24,
        ),
        (
            "INSERT INTO saga (saga_id, kind, key, status, state, owner, lease_time, caller, create_time, update_time)"
            " VALUES (%(id)s, 'k', %(id)s, 'DONE', '{}', %(id)s, now(), '{}', %(time)s, %(time)s)",
            RETENTION_HOURS,
        ),
    ],
    ids=["published events", "entries of the inbox", "answers to request_ids", "ended flows"],
)
async def test_what_is_younger_than_its_time_stays(database: Database, insert: str, hours: int) -> None:
    ids = {short: uuid4() for short in (KEPT, GONE)}
    for short, row_id in ids.items():
        await _insert(database, insert, row_id, f"now() - interval '{hours}:00' + interval '{short}'")
    await housekeeping.clean(database, RETENTION_HOURS)
    assert await _there(database, insert, ids[KEPT])
    assert not await _there(database, insert, ids[GONE])


@pytest.mark.parametrize(
    "insert",
    [
        "INSERT INTO outbox (event_id, subject, aggregate_id, aggregate_version, project_id, payload, create_time)"
        " VALUES (%(id)s, 's', 'a', 1, '', '', %(time)s)",
        "INSERT INTO saga (saga_id, kind, key, status, state, owner, lease_time, caller, create_time, update_time)"
        " VALUES (%(id)s, 'k', %(id)s, 'UNDOING', '{}', %(id)s, now(), '{}', %(time)s, %(time)s)",
        "INSERT INTO dead_letter (dead_letter_id, consumer, subject, event_id, payload, error, attempts, create_time)"
        " VALUES (%(id)s, 'c', 's', '', '', '', 1, %(time)s)",
    ],
    ids=["events that wait", "flows under way", "dead letters"],
)
async def test_what_is_not_done_with_stays_for_ever(database: Database, insert: str) -> None:
    row_id = uuid4()
    await _insert(database, insert, row_id, "now() - interval '10 years'")
    await housekeeping.clean(database, RETENTION_HOURS)
    assert await _there(database, insert, row_id)


async def _insert(database: Database, insert: str, row_id: object, time: str) -> None:
    async with database.write(keyed=False) as tx:
        await tx.execute(insert.replace("%(time)s", time), {"id": row_id})


async def _there(database: Database, insert: str, row_id: object) -> bool:
    table, column = insert.split()[2], insert.split("(")[1].split(",")[0]
    return bool(await database.read.value(f"SELECT 1 FROM {table} WHERE {column} = %(id)s", {"id": row_id}))
