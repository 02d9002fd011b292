"""The services by name, and what the environment calls their places."""

from pathlib import Path

import migrations

SERVICES = ("project", "backlog", "sprint", "chronicle", "orchestrator", "embedding")
# Those with a database of their own.
STATEFUL = tuple(name for name in SERVICES if (Path(migrations.__file__).parent / name).is_dir())

HOST = "127.0.0.1"
DEFAULT_PORT = 7600
DEFAULT_METRICS_PORT = 7690
DEFAULT_NATS_URL = f"nats://{HOST}:4222"


def address_variable(service: str) -> str:
    """The variable that tells other services where this one listens."""
    return f"DSM_{service.upper()}_ADDRESS"


def database_variable(service: str) -> str:
    """The variable that tells a service where its database is."""
    return f"DSM_{service.upper()}_DATABASE_URL"
