"""Schedules: what projects want, the sprints that are open, the cron jobs that follow, and who keeps them."""

from alembic import op

revision = "0003"
down_revision = "0002"

_SCHEDULES = """
-- What projects want: their daily scrums by themselves. It outlives the sprints.
CREATE TABLE daily_scrum_schedule (
    project_id text NOT NULL CONSTRAINT daily_scrum_schedule_pkey PRIMARY KEY,
    wanted boolean NOT NULL,
    schedule text NOT NULL,
    time_zone text NOT NULL,
    update_time timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);

-- Sprints as their events tell of them; closed ones too, so that an event that comes late opens none again.
CREATE TABLE tracked_sprint (
    sprint_id text NOT NULL CONSTRAINT tracked_sprint_pkey PRIMARY KEY,
    project_id text NOT NULL,
    is_open boolean NOT NULL,
    time_zone text NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    version bigint NOT NULL
);
CREATE INDEX tracked_sprint_open_idx ON tracked_sprint (project_id) WHERE is_open;

-- One for each open sprint whose project wants it.
CREATE TABLE cron_job (
    sprint_id text NOT NULL CONSTRAINT cron_job_pkey PRIMARY KEY,
    project_id text NOT NULL,
    name text NOT NULL CONSTRAINT cron_job_name_key UNIQUE,
    schedule text NOT NULL,
    time_zone text NOT NULL,
    first_day date NOT NULL,
    last_day date NOT NULL,
    state text NOT NULL DEFAULT 'PENDING'
        CONSTRAINT cron_job_state_check CHECK (state IN ('PENDING', 'ACTIVE', 'FAILED')),
    state_reason text NOT NULL DEFAULT '',
    -- NULL = none on the sprint's days.
    next_run_time timestamptz,
    -- A run that is due is not begun before; whoever begins it sets it ahead, so that nobody else does.
    retry_time timestamptz NOT NULL DEFAULT now(),
    last_run_time timestamptz,
    last_run_result text NOT NULL DEFAULT '',
    create_time timestamptz NOT NULL
);
CREATE INDEX cron_job_project_idx ON cron_job (project_id, sprint_id);
CREATE INDEX cron_job_due_idx ON cron_job (next_run_time);

-- When projects are orchestrated by themselves.
CREATE TABLE orchestration_schedule (
    project_id text NOT NULL CONSTRAINT orchestration_schedule_pkey PRIMARY KEY,
    enabled boolean NOT NULL,
    schedule text NOT NULL,
    time_zone text NOT NULL,
    options jsonb NOT NULL,
    -- NULL = not enabled.
    next_run_time timestamptz,
    retry_time timestamptz NOT NULL DEFAULT now(),
    last_run_time timestamptz,
    last_run_result text NOT NULL DEFAULT '',
    last_decision_id uuid,
    update_time timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1
);
CREATE INDEX orchestration_schedule_due_idx ON orchestration_schedule (next_run_time);

-- Who does at the moment what only one process may do at a time.
CREATE TABLE turn (
    name text NOT NULL CONSTRAINT turn_pkey PRIMARY KEY,
    holder uuid NOT NULL,
    lease_time timestamptz NOT NULL
);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_SCHEDULES)


def downgrade() -> None:
    """Remove the tables."""
    op.execute("DROP TABLE turn, orchestration_schedule, cron_job, tracked_sprint, daily_scrum_schedule")
