"""Since when a person is erased."""

from alembic import op

revision = "0002"
down_revision = "0001"

_EMPLOYEE = """
ALTER TABLE employee ADD COLUMN erase_time timestamptz;
COMMENT ON COLUMN employee.erase_time IS 'since when everything personal is gone; NULL = it is there';
"""


def upgrade() -> None:
    """Add the column."""
    op.execute(_EMPLOYEE)
