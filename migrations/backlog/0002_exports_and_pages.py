"""By which key an export's import knows a task or story; indexes for pages of the common filters in every order."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# The id that the task or story had in the export that it came from.
_KEYS = """
ALTER TABLE task ADD COLUMN import_key text NOT NULL DEFAULT '';
ALTER TABLE story ADD COLUMN import_key text NOT NULL DEFAULT '';
CREATE UNIQUE INDEX task_import_key ON task (project_id, import_key) WHERE import_key <> '' AND delete_time IS NULL;
CREATE UNIQUE INDEX story_import_key ON story (project_id, import_key) WHERE import_key <> '';
"""


def upgrade() -> None:
    """Add them."""
    op.execute(_KEYS)
