"""How Alembic runs a service's migrations: one transaction, one migrator at a time, nothing that waits for long."""

from alembic import context
from sqlalchemy import create_engine, pool, text

# Any number that nothing else locks; several `dsm migrate` at once take turns.
_LOCK = 6583150


def _run() -> None:
    url = context.config.attributes["url"].replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        # A migration that would hold up the service's own statements gives up instead.
        connection.execute(text("SET LOCAL lock_timeout = '5s'"))
        connection.execute(text("SET LOCAL statement_timeout = '5min'"))
        context.configure(connection=connection, transactional_ddl=True)
        with context.begin_transaction():
            context.run_migrations()


_run()
