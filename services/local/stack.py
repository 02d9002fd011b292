"""Both servers in one folder, started and stopped together."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from services.local.folder import locked
from services.local.nats import NatsServer
from services.local.postgres import Postgres


@dataclass(frozen=True)
class Stack:
    """The running servers."""

    folder: Path
    postgres: Postgres
    nats: NatsServer


@contextmanager
def running(
    folder: Path, *, durable: bool = True, postgres_port: int | None = None, nats_port: int | None = None
) -> Iterator[Stack]:
    """Runs PostgreSQL and NATS in `<folder>/postgres` and `<folder>/nats` under the folder's lock.

    Ports are as in `Postgres.start` and `NatsServer.start`. Enter it in the main thread. Raises StackError.
    """
    with ExitStack() as cleanup:
        cleanup.enter_context(locked(folder))
        postgres = Postgres.start(folder / "postgres", postgres_port, durable=durable)
        cleanup.callback(postgres.stop)
        nats = NatsServer.start(folder / "nats", nats_port, monitor_port=0 if nats_port == 0 else None, durable=durable)
        cleanup.callback(nats.stop)
        yield Stack(folder, postgres, nats)
