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
"""

# Project and key as one expression: with two columns, a plan made before the statistics know a project may as well take
# any other index that begins with the project, and read the whole project for every few hundred keys.
_KEY_INDEXES = """
DROP INDEX task_origin_key, story_origin_key;
CREATE UNIQUE INDEX task_origin_key ON task ((project_id || ' ' || origin_key))
    WHERE origin_key <> '' AND delete_time IS NULL;
CREATE UNIQUE INDEX task_import_key ON task ((project_id || ' ' || import_key))
    WHERE import_key <> '' AND delete_time IS NULL;
CREATE UNIQUE INDEX story_origin_key ON story ((project_id || ' ' || origin_key)) WHERE origin_key <> '';
CREATE UNIQUE INDEX story_import_key ON story ((project_id || ' ' || import_key)) WHERE import_key <> '';
"""

# A list of some states, or of all, is merged from one of these for each; see store/lists.py.
_PAGES = """
DROP INDEX task_due_date_idx, task_create_time_idx, task_update_time_idx;
CREATE INDEX task_state_urgency_idx ON task (project_id, state, urgency, rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_state_due_date_idx
    ON task (project_id, state, coalesce(due_date, 'infinity'::date), rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_state_create_time_idx ON task (project_id, state, create_time DESC, rank, number)
    WHERE delete_time IS NULL;
CREATE INDEX task_state_update_time_idx ON task (project_id, state, update_time DESC, rank, number)
    WHERE delete_time IS NULL;
CREATE INDEX task_assignee_urgency_idx ON task (project_id, assignee_id, urgency, rank, number)
    WHERE assignee_id <> '' AND delete_time IS NULL;
CREATE INDEX task_assignee_due_date_idx
    ON task (project_id, assignee_id, coalesce(due_date, 'infinity'::date), rank, number)
    WHERE assignee_id <> '' AND delete_time IS NULL;
CREATE INDEX task_assignee_create_time_idx ON task (project_id, assignee_id, create_time DESC, rank, number)
    WHERE assignee_id <> '' AND delete_time IS NULL;
CREATE INDEX task_assignee_update_time_idx ON task (project_id, assignee_id, update_time DESC, rank, number)
    WHERE assignee_id <> '' AND delete_time IS NULL;
"""


def upgrade() -> None:
    """Add them."""
    op.execute(_KEYS)
    op.execute(_KEY_INDEXES)
    op.execute(_PAGES)
