"""Episodes are compared by figures too; the index of their vectors holds only those that may be retrieved."""

from alembic import op

revision = "0002"
down_revision = "0001"

_UP = """
ALTER TABLE episode
    -- The figures of the situation, above 0, of which `relative_load` is the one that says how much is asked of a team;
    -- NULL = not known.
    ADD COLUMN team_size double precision CONSTRAINT episode_team_size_check CHECK (team_size > 0),
    ADD COLUMN load double precision CONSTRAINT episode_load_check CHECK (load > 0),
    ADD COLUMN velocity double precision CONSTRAINT episode_velocity_check CHECK (velocity > 0),
    ADD COLUMN duration_weeks double precision CONSTRAINT episode_duration_weeks_check CHECK (duration_weeks > 0),
    ADD COLUMN relative_load double precision CONSTRAINT episode_relative_load_check CHECK (relative_load > 0);

WITH figures AS (
    SELECT decision_id, record->'analysis' AS analysis, record->'rule_based' AS rules,
           record->'analysis'->'patterns' AS patterns FROM decision),
known AS (
    SELECT decision_id, nullif((analysis->>'team_size')::float8, 0) AS team_size,
           nullif((rules->>'tasks_to_assign')::float8, 0) AS tasks,
           nullif((rules->>'sprint_duration_weeks')::float8, 0) AS weeks,
           nullif((analysis->>'capacity_person_days')::float8, 0) AS capacity,
           nullif(7 * (patterns->>'completed_tasks')::float8, 0) / (patterns->>'duration_days')::float8 AS velocity
    FROM figures)
UPDATE episode e
SET team_size = k.team_size, load = k.tasks / k.capacity, velocity = k.velocity, duration_weeks = k.weeks,
    relative_load = k.tasks / k.weeks / k.velocity
FROM known k WHERE k.decision_id = e.decision_id;

-- Half the precision is enough for an order, and three times as many vectors fit a page. What may not be retrieved, or
-- has no vector by the present model, would only stand in the way of a search. 0.7 is domain.episode's least quality.
DROP INDEX episode_embedding_idx;
CREATE INDEX episode_embedding_idx ON episode USING hnsw ((embedding::halfvec(1024)) halfvec_cosine_ops)
    WHERE quality_score >= 0.7 AND NOT requires_embedding;
CREATE INDEX episode_retrievable_idx ON episode (project_id) WHERE quality_score >= 0.7 AND NOT requires_embedding;
"""
_DOWN = """
DROP INDEX episode_retrievable_idx, episode_embedding_idx;
CREATE INDEX episode_embedding_idx ON episode USING hnsw (embedding vector_cosine_ops);
ALTER TABLE episode DROP COLUMN team_size, DROP COLUMN load, DROP COLUMN velocity, DROP COLUMN duration_weeks,
    DROP COLUMN relative_load;
"""


def upgrade() -> None:
    """Add the figures, and make the index anew."""
    op.execute(_UP)


def downgrade() -> None:
    """Go back to the vectors alone."""
    op.execute(_DOWN)
