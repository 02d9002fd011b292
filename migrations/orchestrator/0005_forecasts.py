"""Forecasts with what came of them, and the closed sprints of all teams that they are made and judged by."""

from alembic import op

revision = "0005"
down_revision = "0004"

_FORECASTS = """
-- Closed sprints as their events tell of them. Days on which tasks were completed, ascending; NULL = none was.
CREATE TABLE closed_sprint (
    sprint_id text NOT NULL CONSTRAINT closed_sprint_pkey PRIMARY KEY,
    project_id text NOT NULL,
    last_day date NOT NULL,
    planned_tasks integer NOT NULL,
    completed_tasks integer NOT NULL,
    person_days double precision NOT NULL,
    working_days integer NOT NULL,
    complete_dates date[]
);
CREATE INDEX closed_sprint_project_idx ON closed_sprint (project_id, last_day);
-- The latest sprints of other teams.
CREATE INDEX closed_sprint_latest_idx ON closed_sprint (last_day DESC, sprint_id)
    WHERE person_days > 0 AND working_days > 0;

-- What was forecast: of a sprint, or (sprint_id NULL) of a backlog. Arrays are for 50, 85 and 95 % confidence.
CREATE TABLE forecast (
    forecast_id uuid NOT NULL DEFAULT gen_random_uuid() CONSTRAINT forecast_pkey PRIMARY KEY,
    project_id text NOT NULL,
    sprint_id text,
    as_of_date date NOT NULL,
    target_date date,
    task_count integer NOT NULL,
    done_tasks integer NOT NULL,
    remaining_tasks integer NOT NULL,
    completion_probability double precision
        CONSTRAINT forecast_probability_check CHECK (completion_probability BETWEEN 0 AND 1),
    tasks integer[],
    dates date[] NOT NULL,
    create_time timestamptz NOT NULL,
    -- What came of it: NULL until it is known.
    outcome_time timestamptz,
    all_done boolean,
    completed_tasks integer,
    held boolean[],
    CONSTRAINT forecast_question_key UNIQUE NULLS NOT DISTINCT
        (project_id, sprint_id, as_of_date, target_date, task_count)
);
CREATE INDEX forecast_sprint_idx ON forecast (sprint_id) WHERE outcome_time IS NULL;
CREATE INDEX forecast_backlog_idx ON forecast (project_id) WHERE outcome_time IS NULL AND sprint_id IS NULL;
CREATE INDEX forecast_judged_idx ON forecast (outcome_time) WHERE outcome_time IS NOT NULL;
CREATE INDEX forecast_judged_project_idx ON forecast (project_id, outcome_time) WHERE outcome_time IS NOT NULL;
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_FORECASTS)


def downgrade() -> None:
    """Remove them."""
    op.execute("DROP TABLE forecast; DROP TABLE closed_sprint")
