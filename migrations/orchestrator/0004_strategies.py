"""Strategies, the figures that they are learned from, and when they are to be learned next."""

from alembic import op

revision = "0004"
down_revision = "0003"

_UP = """
ALTER TABLE episode
    -- Tasks that the rules decided on; 0 = they started no sprint.
    ADD COLUMN rule_tasks integer NOT NULL DEFAULT 0,
    -- Sprints that the project had closed by then.
    ADD COLUMN closed_sprints integer NOT NULL DEFAULT 0;
UPDATE episode e
SET rule_tasks = coalesce((d.record->'rule_based'->>'tasks_to_assign')::integer, 0),
    closed_sprints = coalesce((d.record->'analysis'->'patterns'->>'closed_sprints')::integer, 0)
FROM decision d WHERE d.decision_id = e.decision_id;
-- 0.7 is domain.episode's least quality.
CREATE INDEX episode_lesson_idx ON episode (project_id, outcome_time DESC)
    WHERE outcome_time IS NOT NULL AND quality_score >= 0.7 AND rule_tasks > 0;

CREATE TABLE strategy (
    strategy_id uuid NOT NULL CONSTRAINT strategy_pkey PRIMARY KEY,
    -- Empty = it holds for all projects.
    project_id text NOT NULL,
    state text NOT NULL CONSTRAINT strategy_state_check CHECK (state IN ('CANDIDATE', 'ACTIVE', 'RETIRED')),
    confidence double precision NOT NULL CONSTRAINT strategy_confidence_check CHECK (confidence BETWEEN 0 AND 1),
    -- Counted by decisions as they are stored; not a change that the version counts.
    times_applied integer NOT NULL DEFAULT 0,
    -- The whole strategy; the columns around it are what queries look for, and win.
    record jsonb NOT NULL,
    version bigint NOT NULL
);
-- In a kind of situation there is one strategy that is not retired, whoever learns it.
CREATE UNIQUE INDEX strategy_live_key ON strategy (project_id, (record->'conditions'), (record->'effect'->>'kind'))
    WHERE state <> 'RETIRED';
CREATE INDEX strategy_confidence_idx ON strategy ((-confidence), strategy_id);
CREATE INDEX strategy_project_idx ON strategy (project_id);

-- One row: when strategies are to be learned next, by whichever process comes first.
CREATE TABLE evolution (
    only_row boolean NOT NULL DEFAULT true CONSTRAINT evolution_pkey PRIMARY KEY
        CONSTRAINT evolution_only_row_check CHECK (only_row),
    next_time timestamptz NOT NULL
);
INSERT INTO evolution (next_time) VALUES (now());
"""
_DOWN = """
DROP TABLE evolution, strategy;
DROP INDEX episode_lesson_idx;
ALTER TABLE episode DROP COLUMN rule_tasks, DROP COLUMN closed_sprints;
"""


def upgrade() -> None:
    """Make the tables, and fill the figures in."""
    op.execute(_UP)


def downgrade() -> None:
    """Remove them."""
    op.execute(_DOWN)
