"""How Alembic runs a service's migrations: one transaction each, one migrator at a time, no long waits."""

import time
from typing import Any

import psycopg
from alembic import context
from alembic.runtime.migration import MigrationContext, MigrationInfo
from sqlalchemy import Connection, create_engine, pool, text

from services.kit.data.migrate import MigrationError, refuse_backward

# Any number that nothing else locks; several `dsm migrate` at once take turns.
_LOCK = 6583150
_TURN_SECONDS = 600.0
_POLL_SECONDS = 0.2


def _run() -> None:
    wish = context.config.attributes
    # As the services connect: with every form of address that libpq knows.
    engine = create_engine(
        "postgresql+psycopg://", creator=lambda: psycopg.connect(wish["url"]), poolclass=pool.NullPool
    )
    with engine.connect() as connection:
        _await_turn(connection, wish["service"])
        # A migration that would hold up the service's own statements gives up instead.
        for setting in ("lock_timeout", "statement_timeout"):
            _execute(connection, "SELECT set_config(:name, :value, false)", name=setting, value=wish[setting])
        refuse_backward(wish["service"], _revision(connection), wish["known"], wish["to"])
        context.configure(
            connection=connection,
            transactional_ddl=True,
            # What is done stays done when a later one fails; and one that must (an index made CONCURRENTLY) may run
            # outside of a transaction: `with op.get_context().autocommit_block():`.
            transaction_per_migration=True,
            on_version_apply=_tell_old_code,
        )
        with context.begin_transaction():
            context.run_migrations()


def _await_turn(connection: Connection, service: str) -> None:
    """Wait until no other migrates this database; the turn goes with the connection.

    By asking again and again: who waits inside of a statement has a snapshot, and CREATE INDEX CONCURRENTLY of the one
    whose turn it is would wait for that.
    """
    until = time.monotonic() + _TURN_SECONDS
    while not _execute(connection, "SELECT pg_try_advisory_lock(:lock)", lock=_LOCK):
        if time.monotonic() > until:
            raise MigrationError(
                f"Another `dsm migrate` has been at the {service} database for {_TURN_SECONDS:.0f} s: look whether it "
                "still works, and run this again."
            )
        time.sleep(_POLL_SECONDS)


def _revision(connection: Connection) -> str:
    if not _execute(connection, "SELECT to_regclass('alembic_version') IS NOT NULL"):
        return ""
    return _execute(connection, "SELECT max(version_num) FROM alembic_version") or ""


def _execute(connection: Connection, sql: str, **params: object) -> Any:
    """The first value of a statement, in a transaction of its own: Alembic must find none begun."""
    with connection.begin():
        return connection.execute(text(sql), params).scalar()


def _tell_old_code(ctx: MigrationContext, step: MigrationInfo, heads: object, run_args: object) -> None:
    """Store what a migration demands of code beside the revision, where code that does not know the migration looks."""
    least_code = getattr(getattr(step.up_revision, "module", None), "least_code", None)
    if least_code and ctx.connection:
        ctx.connection.execute(
            text("ALTER TABLE alembic_version ADD COLUMN IF NOT EXISTS least_code text NOT NULL DEFAULT ''")
        )
        ctx.connection.execute(text("UPDATE alembic_version SET least_code = :it"), {"it": least_code})


_run()
