"""Vectors in half precision, within their rows."""

from alembic import op

revision = "0007"
down_revision = "0006"

# Out of line, each vector costs as much to fetch as a hundred comparisons, which PostgreSQL's planner does not know: it
# read all of some thousand episodes where the index needs a twentieth of the time. Within its row a vector is fetched
# with it; half precision lets three rows share a page.
_UP = """
DROP INDEX episode_embedding_idx;
ALTER TABLE episode SET (toast_tuple_target = 8160);
ALTER TABLE episode ALTER COLUMN embedding SET STORAGE PLAIN;
ALTER TABLE episode ALTER COLUMN embedding TYPE halfvec(1024) USING embedding::halfvec(1024);
ALTER TABLE episode ALTER COLUMN embedding SET STORAGE PLAIN;
CREATE INDEX episode_embedding_idx ON episode USING hnsw (embedding halfvec_cosine_ops)
    WHERE quality_score >= 0.7 AND NOT requires_embedding;
"""
_DOWN = """
DROP INDEX episode_embedding_idx;
ALTER TABLE episode ALTER COLUMN embedding TYPE vector(1024) USING embedding::vector(1024);
ALTER TABLE episode ALTER COLUMN embedding SET STORAGE EXTERNAL;
ALTER TABLE episode RESET (toast_tuple_target);
CREATE INDEX episode_embedding_idx ON episode USING hnsw ((embedding::halfvec(1024)) halfvec_cosine_ops)
    WHERE quality_score >= 0.7 AND NOT requires_embedding;
"""


def upgrade() -> None:
    """Change the column, and make its index anew."""
    op.execute(_UP)


def downgrade() -> None:
    """Go back to vectors of full precision, out of line."""
    op.execute(_DOWN)
