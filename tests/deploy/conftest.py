"""Makes `make check-deploy ARGS=--update` write the snapshots instead of comparing them."""

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Pytest's hook."""
    parser.addoption("--update", action="store_true", help="write the snapshots of the chart anew")


@pytest.fixture
def update(request: pytest.FixtureRequest) -> bool:
    """Whether snapshots are to be written."""
    return bool(request.config.getoption("--update"))
