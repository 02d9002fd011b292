"""Gauges of what nothing counts as it happens: what lies in the service's tables, and what its consumers have to do.

Every few seconds one statement reads all of the tables' figures, whatever their number; a call pays nothing for them.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import nats.errors
from nats.js.errors import APIError
from prometheus_client import Gauge

from services.kit.data.database import Database
from services.kit.errors import DsmError
from services.kit.events.inbox import Consumer
from services.kit.telemetry import metrics

EVERY_SECONDS = 5.0
_OUTBOX_DEPTH = "SELECT '{}'::text[], count(*)::float8 FROM outbox WHERE publish_time IS NULL"
_OUTBOX_LAG = """
    SELECT '{}'::text[], extract(epoch FROM now() - create_time)::float8
    FROM outbox WHERE publish_time IS NULL ORDER BY position LIMIT 1
"""
_DEAD_LETTERS = "SELECT ARRAY[consumer], count(*)::float8 FROM dead_letter GROUP BY consumer"
_SAGAS_RUNNING = "SELECT ARRAY[kind], count(*)::float8 FROM saga WHERE status IN ('RUNNING', 'UNDOING') GROUP BY kind"
_SAGA_OLDEST = """
    SELECT ARRAY[kind], extract(epoch FROM now() - min(create_time))::float8
    FROM saga WHERE status IN ('RUNNING', 'UNDOING') GROUP BY kind
"""
_NATS_FAULTS = (nats.errors.Error, APIError, TimeoutError, OSError)


@dataclass(frozen=True)
class Reading:
    """A gauge that is read from the tables.

    The SQL gives rows of `labels` (text[], those after the service's name) and `value`. Labels of `always` are there
    with 0 when it gives none of them, as is every one that it ever gave.
    """

    gauge: Gauge
    sql: str
    always: Sequence[tuple[str, ...]] = ((),)
    seen: set[tuple[str, ...]] = field(default_factory=set)


class Measures:
    """The gauges of one service with a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._service = database.service
        self._readings: list[Reading] = []
        self.add(metrics.OUTBOX_DEPTH, _OUTBOX_DEPTH)
        self.add(metrics.OUTBOX_LAG, _OUTBOX_LAG)

    def add(self, gauge: Gauge, sql: str, always: Sequence[tuple[str, ...]] = ((),)) -> None:
        """Read a gauge from the tables too."""
        self._readings.append(Reading(gauge, sql, always))

    def with_dead_letters(self, consumers: Sequence[Consumer]) -> None:
        """Count what the service's consumers gave up on."""
        self.add(metrics.DEAD_LETTERS_WAITING, _DEAD_LETTERS, [(consumer.name,) for consumer in consumers])

    def with_sagas(self, kinds: Sequence[str]) -> None:
        """Count the flows under way of these kinds."""
        of_each = [(kind,) for kind in kinds]
        self.add(metrics.SAGAS_RUNNING, _SAGAS_RUNNING, of_each)
        self.add(metrics.SAGA_OLDEST, _SAGA_OLDEST, of_each)

    async def run(self, consumers: Sequence[Consumer]) -> None:
        """Keep them fresh for ever; what cannot be asked keeps its last value."""
        while True:
            self._measure_pool()
            with suppress(DsmError):
                await self.read()
            for consumer in consumers:
                with suppress(*_NATS_FAULTS):
                    await self._measure(consumer)
            await asyncio.sleep(EVERY_SECONDS)

    async def read(self) -> None:
        """Read all that is in tables, by one statement."""
        found: dict[int, dict[tuple[str, ...], float]] = {number: {} for number in range(len(self._readings))}
        for row in await self._database.read.rows(_together([reading.sql for reading in self._readings])):
            found[row["reading"]][tuple(row["labels"])] = row["value"]
        for number, reading in enumerate(self._readings):
            reading.seen.update(reading.always, found[number])
            for labels in reading.seen:
                reading.gauge.labels(self._service, *labels).set(found[number].get(labels, 0))

    def _measure_pool(self) -> None:
        in_use, waiting = self._database.pool_load()
        metrics.POOL_SIZE.labels(self._service).set(self._database.pool.max_size)
        metrics.POOL_IN_USE.labels(self._service).set(in_use)
        metrics.POOL_WAITING.labels(self._service).set(waiting)

    async def _measure(self, consumer: Consumer) -> None:
        backlog = await consumer.backlog()
        labels = (self._service, consumer.name)
        metrics.CONSUMER_PENDING.labels(*labels).set(backlog.pending)
        metrics.CONSUMER_UNACKNOWLEDGED.labels(*labels).set(backlog.unacknowledged)
        metrics.CONSUMER_LAG.labels(*labels).set(backlog.age_seconds)


def _together(statements: Sequence[str]) -> str:
    parts = (
        f"SELECT {number} AS reading, labels, value FROM ({sql}) AS reading_{number} (labels, value)"
        for number, sql in enumerate(statements)
    )
    return " UNION ALL ".join(parts)
