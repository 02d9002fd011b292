"""Fixtures of the fault tests."""

from collections.abc import Iterator

import pytest

from services.local.stack import Stack, running


@pytest.fixture(scope="session")
def fault_stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Servers apart from those of other tests: what is broken here must break nobody else. Not synced to disk."""
    with running(tmp_path_factory.mktemp("faults"), durable=False, postgres_port=0, nats_port=0) as started:
        yield started
