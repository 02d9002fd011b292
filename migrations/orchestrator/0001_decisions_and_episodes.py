"""Decisions, the episodes that remember them, decision modes, and who orchestrates what at the moment."""

from alembic import op

from services.kit.data import tables

revision = "0001"
down_revision = None

_OWN = """
CREATE EXTENSION IF NOT EXISTS vector;

CREATE TABLE decision (
    decision_id uuid NOT NULL CONSTRAINT decision_pkey PRIMARY KEY,
    project_id text NOT NULL,
    decision_time timestamptz NOT NULL,
    source text NOT NULL CONSTRAINT decision_source_check
        CHECK (source IN ('RULE_BASED_ONLY', 'INTELLIGENCE_ENHANCED')),
    -- The sprint that it started; empty = none.
    sprint_id text NOT NULL DEFAULT '',
    -- The whole record; the columns around it are what queries look for.
    record jsonb NOT NULL,
    -- True while an action is to be tried; the next time is retry_time.
    pending boolean NOT NULL,
    retry_time timestamptz NOT NULL DEFAULT now(),
    -- Digest of the request that it answers; NULL = the request had no request_id.
    fingerprint bytea,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX decision_project_idx ON decision (project_id, decision_time, decision_id);
CREATE UNIQUE INDEX decision_sprint_key ON decision (sprint_id) WHERE sprint_id <> '';
CREATE INDEX decision_pending_idx ON decision (retry_time) WHERE pending;

CREATE TABLE episode (
    episode_id uuid NOT NULL CONSTRAINT episode_pkey PRIMARY KEY,
    decision_id uuid NOT NULL CONSTRAINT episode_decision_key UNIQUE
        CONSTRAINT episode_decision_fkey REFERENCES decision (decision_id),
    project_id text NOT NULL,
    context_text text NOT NULL,
    quality_score double precision NOT NULL CONSTRAINT episode_quality_check CHECK (quality_score BETWEEN 0 AND 1),
    quality_findings text[] NOT NULL,
    -- Vectors of different models are never compared.
    embedding vector(1024),
    embedding_model text NOT NULL DEFAULT '',
    requires_embedding boolean NOT NULL DEFAULT true,
    outcome jsonb,
    outcome_time timestamptz,
    create_time timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    CONSTRAINT episode_embedded_check CHECK (requires_embedding OR (embedding IS NOT NULL AND embedding_model <> ''))
);
CREATE INDEX episode_time_idx ON episode (create_time, episode_id);
CREATE INDEX episode_project_idx ON episode (project_id, create_time, episode_id);
CREATE INDEX episode_waiting_idx ON episode (create_time) WHERE requires_embedding;
CREATE INDEX episode_model_idx ON episode (embedding_model) WHERE NOT requires_embedding;
CREATE INDEX episode_embedding_idx ON episode USING hnsw (embedding vector_cosine_ops);

CREATE TABLE decision_mode (
    project_id text NOT NULL CONSTRAINT decision_mode_pkey PRIMARY KEY,
    mode text NOT NULL CONSTRAINT decision_mode_check
        CHECK (mode IN ('RULE_BASED_ONLY', 'INTELLIGENCE_ENHANCED', 'HYBRID')),
    confidence_threshold double precision NOT NULL,
    enable_task_count_adjustment boolean NOT NULL,
    enable_sprint_duration_adjustment boolean NOT NULL,
    enable_points_adjustment boolean NOT NULL,
    update_time timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);

-- Who orchestrates a project at the moment. The lease is renewed by its holder and ends by itself after a crash.
CREATE TABLE orchestration_lease (
    project_id text NOT NULL CONSTRAINT orchestration_lease_pkey PRIMARY KEY,
    decision_id uuid NOT NULL,
    holder uuid NOT NULL,
    lease_time timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Make every table."""
    op.execute(tables.CONSUMING + _OWN)


def downgrade() -> None:
    """Remove every table."""
    op.execute(
        "DROP TABLE orchestration_lease, decision_mode, episode, decision, outbox, request_record, inbox, dead_letter"
    )
