"""The day on which an impediment was resolved; those resolved before this have none that is known."""

from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE impediment ADD COLUMN resolve_date date")
