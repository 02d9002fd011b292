"""Advisories: the review of a decision by a local LLM, kept beside its record."""

from alembic import op

revision = "0006"
down_revision = "0005"

_ADVISORY = """
-- NULL = no advisor was configured when the decision was made.
ALTER TABLE decision ADD COLUMN advisory jsonb;
-- Set while the review is waited for: when it may be asked for (again).
ALTER TABLE decision ADD COLUMN advisory_retry_time timestamptz;
CREATE INDEX decision_advisory_idx ON decision (advisory_retry_time) WHERE advisory_retry_time IS NOT NULL;
"""


def upgrade() -> None:
    """Add the columns."""
    op.execute(_ADVISORY)


def downgrade() -> None:
    """Remove the columns."""
    op.execute("ALTER TABLE decision DROP COLUMN advisory_retry_time, DROP COLUMN advisory")
