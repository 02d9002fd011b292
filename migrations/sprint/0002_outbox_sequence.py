"""Where in its stream each published event is."""

from alembic import op

from services.kit.data import tables

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column."""
    op.execute(tables.OUTBOX_SEQUENCE)
