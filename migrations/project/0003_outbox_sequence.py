"""Where in its stream each published event is."""

from alembic import op

from services.kit.data import tables

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.execute(tables.OUTBOX_SEQUENCE)
