"""Vectors without their padding; those of one project are read from an index alone."""

from alembic import op

revision = "0008"
down_revision = "0007"

# The local model's vectors have 384 dimensions, and zeros up to 1,024 say nothing. Each length has an index of its own.
#
# A project's vectors are compared one by one, which takes less time than to walk the graph past the episodes of others,
# as long as they need not be gathered from all over the table: so they lie side by side in an index.
_UP = """
-- The graph of a hundred thousand vectors, which takes several times as long to make where it does not fit.
SET LOCAL maintenance_work_mem = '256MB';
DROP INDEX episode_embedding_idx, episode_retrievable_idx;
ALTER TABLE episode ALTER COLUMN embedding TYPE halfvec USING
    CASE WHEN l2_norm(subvector(embedding, 385, 640)) = 0 THEN subvector(embedding, 1, 384) ELSE embedding END;
ALTER TABLE episode ALTER COLUMN embedding SET STORAGE PLAIN;
ALTER TABLE episode ADD CONSTRAINT episode_embedding_check CHECK (vector_dims(embedding) IN (384, 1024));
CREATE INDEX episode_embedding_384_idx ON episode USING hnsw ((embedding::halfvec(384)) halfvec_cosine_ops)
    WHERE quality_score >= 0.7 AND NOT requires_embedding AND vector_dims(embedding) = 384;
CREATE INDEX episode_embedding_1024_idx ON episode USING hnsw ((embedding::halfvec(1024)) halfvec_cosine_ops)
    WHERE quality_score >= 0.7 AND NOT requires_embedding AND vector_dims(embedding) = 1024;
CREATE INDEX episode_retrievable_idx ON episode (project_id, create_time, episode_id)
    INCLUDE (embedding, embedding_model, outcome_time)
    WHERE quality_score >= 0.7 AND NOT requires_embedding;
"""
_DOWN = """
DROP INDEX episode_embedding_384_idx, episode_embedding_1024_idx, episode_retrievable_idx;
ALTER TABLE episode DROP CONSTRAINT episode_embedding_check;
ALTER TABLE episode ALTER COLUMN embedding TYPE halfvec(1024) USING
    CASE vector_dims(embedding)
        WHEN 384 THEN (embedding || array_fill(0, ARRAY[640])::halfvec)::halfvec(1024)
        ELSE embedding::halfvec(1024)
    END;
ALTER TABLE episode ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX episode_embedding_idx ON episode USING hnsw (embedding halfvec_cosine_ops)
    WHERE quality_score >= 0.7 AND NOT requires_embedding;
CREATE INDEX episode_retrievable_idx ON episode (project_id) WHERE quality_score >= 0.7 AND NOT requires_embedding;
"""


def upgrade() -> None:
    """Cut the vectors, and make their indexes anew."""
    op.execute(_UP)


def downgrade() -> None:
    """Go back to vectors of one length."""
    op.execute(_DOWN)
