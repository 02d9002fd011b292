"""The connections that a process may open, against what its PostgreSQL servers allow."""

import asyncio
from collections.abc import Iterable

import psycopg
from psycopg.conninfo import conninfo_to_dict

from services.kit.data.database import Database

# Beside its pool each service has a connection on which its relay listens.
_BESIDE_THE_POOL = 1
_SECONDS = 2
_ALLOWED = """
    SELECT sum(setting::integer * CASE name WHEN 'max_connections' THEN 1 ELSE -1 END)::integer FROM pg_settings
    WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')
"""


async def too_many(databases: Iterable[Database]) -> str | None:
    """What to do about pools that are together larger than a server allows; None if they fit.

    A server that does not answer now is not judged: it must not stop the start.
    """
    by_server: dict[str, list[Database]] = {}
    for database in databases:
        parts = conninfo_to_dict(database.url)
        by_server.setdefault(f"{parts.get('host', '')}:{parts.get('port', 5432)}", []).append(database)
    found = await asyncio.gather(*(_too_many_at(server, sharing) for server, sharing in by_server.items()))
    return next((sentence for sentence in found if sentence), None)


async def _too_many_at(server: str, sharing: list[Database]) -> str | None:
    needed = sum(database.pool.max_size + _BESIDE_THE_POOL for database in sharing)
    allowed = await _allowed(sharing[0].url)
    if allowed is None or needed <= allowed:
        return None
    names = ", ".join(database.service for database in sharing)
    return (
        f"The services of this process ({names}) may open {needed} connections to PostgreSQL at {server}, which allows "
        f"{allowed}: set DSM_POOL_SIZE to {max(1, allowed // len(sharing) - _BESIDE_THE_POOL)} or less, or raise its "
        "max_connections."
    )


async def _allowed(url: str) -> int | None:
    try:
        async with (
            asyncio.timeout(_SECONDS),
            await psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=_SECONDS) as connection,
        ):
            row = await (await connection.execute(_ALLOWED)).fetchone()
            return int(row[0]) if row else None
    except (psycopg.Error, TimeoutError):
        return None
