"""Sprints, their tasks, progress, daily scrums and impediments."""

from alembic import op

from services.kit.data import tables

revision = "0001"
down_revision = None

# Ids sort by byte, as clients sort them, whatever the database's own collation is.
SPRINT = """
CREATE TABLE sprint (
    sprint_id text COLLATE "C" NOT NULL CONSTRAINT sprint_pkey PRIMARY KEY,
    project_id text COLLATE "C" NOT NULL,
    number integer NOT NULL,
    name text NOT NULL,
    goal text NOT NULL,
    state text NOT NULL CONSTRAINT sprint_state_check CHECK (state IN
        ('PLANNING', 'IN_PROGRESS', 'CLOSING', 'COMPLETED', 'CLOSED_WITH_PENDING_TASKS', 'ABANDONED')),
    start_date date NOT NULL,
    end_date date NOT NULL,
    duration_weeks integer NOT NULL CONSTRAINT sprint_duration_weeks_check CHECK (duration_weeks BETWEEN 1 AND 6),
    time_zone text NOT NULL,
    capacity_person_days numeric NOT NULL,
    working_dates date[] NOT NULL,
    members jsonb NOT NULL,
    planned_tasks integer NOT NULL DEFAULT 0,
    planned_points numeric NOT NULL DEFAULT 0,
    planning_note_id uuid NOT NULL,
    close_date date,
    retrospective_id uuid,
    statistics jsonb,
    version bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    CONSTRAINT sprint_number_key UNIQUE (project_id, number),
    CONSTRAINT sprint_dates_check CHECK (end_date >= start_date)
);
CREATE UNIQUE INDEX sprint_open_key ON sprint (project_id)
    WHERE state IN ('PLANNING', 'IN_PROGRESS', 'CLOSING');
CREATE INDEX sprint_project_start_idx ON sprint (project_id, start_date DESC, sprint_id DESC);
CREATE INDEX sprint_start_idx ON sprint (start_date DESC, sprint_id DESC);
CREATE INDEX sprint_active_idx ON sprint (start_date, sprint_id) WHERE state IN ('IN_PROGRESS', 'CLOSING');
"""

# A task's version goes on counting over all its sprints: its last row has the highest. No index holds what progress
# changes and pages keep some room, so that an update stays within its page and leaves the indexes alone.
SPRINT_TASK = """
CREATE TABLE sprint_task (
    sprint_id text COLLATE "C" NOT NULL CONSTRAINT sprint_task_sprint_id_fkey REFERENCES sprint,
    task_id text COLLATE "C" NOT NULL,
    project_id text COLLATE "C" NOT NULL,
    title text NOT NULL,
    points numeric,
    state text NOT NULL CONSTRAINT sprint_task_state_check CHECK (state IN
        ('UNASSIGNED', 'ASSIGNED_TO_SPRINT', 'IN_PROGRESS', 'BLOCKED', 'COMPLETED', 'CANCELLED')),
    assignee_id text NOT NULL,
    progress_percent integer NOT NULL
        CONSTRAINT sprint_task_progress_percent_check CHECK (progress_percent BETWEEN 0 AND 100),
    version bigint NOT NULL,
    backlog_version bigint NOT NULL,
    position integer NOT NULL,
    add_date date NOT NULL,
    complete_date date,
    report_time timestamptz,
    outcome text CONSTRAINT sprint_task_outcome_check CHECK (outcome IN
        ('COMPLETED', 'RELEASED', 'REMOVED', 'CANCELLED')),
    update_time timestamptz NOT NULL,
    CONSTRAINT sprint_task_pkey PRIMARY KEY (sprint_id, task_id)
) WITH (fillfactor = 80);
CREATE INDEX sprint_task_task_idx ON sprint_task (task_id);
CREATE UNIQUE INDEX sprint_task_open_key ON sprint_task (task_id) WHERE outcome IS NULL;
CREATE INDEX sprint_task_position_idx ON sprint_task (sprint_id, position, task_id);
"""

# No foreign key to the sprint: each report would lock its one row, and reports are the hot path.
PROGRESS_ENTRY = """
CREATE TABLE progress_entry (
    entry_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT progress_entry_pkey PRIMARY KEY,
    sprint_id text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    employee_id text NOT NULL,
    work_date date NOT NULL,
    from_percent integer NOT NULL,
    to_percent integer NOT NULL,
    work_note text NOT NULL,
    plan text NOT NULL,
    create_time timestamptz NOT NULL,
    report_date date
);
CREATE INDEX progress_entry_unreported_idx ON progress_entry (sprint_id, work_date) WHERE report_date IS NULL;

CREATE TABLE scope_change (
    scope_change_id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT scope_change_pkey PRIMARY KEY,
    sprint_id text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    change_date date NOT NULL,
    kind text NOT NULL CONSTRAINT scope_change_kind_check CHECK (kind IN ('ADDED', 'REMOVED', 'ESTIMATED')),
    points numeric NOT NULL,
    reason text NOT NULL DEFAULT ''
);
CREATE INDEX scope_change_sprint_idx ON scope_change (sprint_id, change_date);
"""

DAILY_SCRUM = """
CREATE TABLE daily_scrum (
    report_id uuid NOT NULL CONSTRAINT daily_scrum_pkey PRIMARY KEY,
    sprint_id text COLLATE "C" NOT NULL,
    report_date date NOT NULL,
    updated_tasks integer NOT NULL,
    report bytea NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT daily_scrum_day_key UNIQUE (sprint_id, report_date)
);
"""

IMPEDIMENT = """
CREATE TABLE impediment (
    impediment_id uuid NOT NULL CONSTRAINT impediment_pkey PRIMARY KEY,
    project_id text COLLATE "C" NOT NULL,
    sprint_id text COLLATE "C" NOT NULL,
    task_id text COLLATE "C" NOT NULL,
    raised_by text NOT NULL,
    owner_id text NOT NULL,
    text text NOT NULL,
    state text NOT NULL CONSTRAINT impediment_state_check CHECK (state IN ('OPEN', 'RESOLVED')),
    raise_date date NOT NULL,
    raise_time timestamptz NOT NULL,
    resolve_time timestamptz,
    resolve_date date,
    resolution text NOT NULL,
    CONSTRAINT impediment_resolved_check CHECK ((state = 'RESOLVED') = (resolve_time IS NOT NULL)),
    CONSTRAINT impediment_resolve_date_check CHECK
        (resolve_date IS NULL OR (resolve_date >= raise_date AND state = 'RESOLVED'))
);
CREATE INDEX impediment_project_idx ON impediment (project_id, raise_time DESC, impediment_id DESC);
CREATE INDEX impediment_sprint_idx ON impediment (sprint_id, raise_time DESC, impediment_id DESC);
CREATE INDEX impediment_task_idx ON impediment (task_id, raise_time DESC, impediment_id DESC);
CREATE INDEX impediment_raise_time_idx ON impediment (raise_time DESC, impediment_id DESC);
"""

# What other services own and this one follows: the projects' status, and the content of tasks that are, were or are
# about to be in a sprint.
FOLLOWED = """
CREATE TABLE project_state (
    project_id text COLLATE "C" NOT NULL CONSTRAINT project_state_pkey PRIMARY KEY,
    status text NOT NULL,
    version bigint NOT NULL
);
CREATE TABLE backlog_task (
    task_id text COLLATE "C" NOT NULL CONSTRAINT backlog_task_pkey PRIMARY KEY,
    title text NOT NULL,
    points numeric,
    version bigint NOT NULL
);
"""

# Each report that came as an event, and what became of it.
REPORTED_PROGRESS = """
CREATE TABLE reported_progress (
    event_id uuid NOT NULL CONSTRAINT reported_progress_pkey PRIMARY KEY,
    task_id text COLLATE "C" NOT NULL,
    sprint_id text COLLATE "C" NOT NULL,
    progress_percent integer NOT NULL,
    event_time timestamptz NOT NULL,
    verdict text NOT NULL CONSTRAINT reported_progress_verdict_check CHECK (verdict IN
        ('APPLIED', 'OLDER', 'COMPLETED', 'NOT_IN_SPRINT', 'ARCHIVED')),
    receive_time timestamptz NOT NULL DEFAULT now()
);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(tables.CONSUMING + tables.SAGA + FOLLOWED)
    op.execute(SPRINT + SPRINT_TASK + PROGRESS_ENTRY + DAILY_SCRUM + IMPEDIMENT + REPORTED_PROGRESS)
