"""Notes of every kind, what closed sprints came to, and impediments."""

from alembic import op

from services.kit.data import tables

revision = "0001"
down_revision = None

_PLANNING = """
CREATE TABLE planning_note (
    note_id uuid NOT NULL CONSTRAINT planning_note_pkey PRIMARY KEY,
    sprint_id text NOT NULL CONSTRAINT planning_note_sprint_key UNIQUE,
    project_id text NOT NULL,
    sprint_name text NOT NULL,
    sprint_goal text NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL CONSTRAINT planning_note_dates_check CHECK (end_date >= start_date),
    duration_weeks integer NOT NULL,
    -- 0 = not known.
    capacity_person_days double precision NOT NULL,
    -- Count and sum of planned_task, which does not change.
    task_count integer NOT NULL,
    points double precision NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE INDEX planning_note_time_idx ON planning_note (start_date, create_time, note_id);
CREATE INDEX planning_note_project_idx ON planning_note (project_id, start_date, create_time, note_id);

CREATE TABLE planned_task (
    note_id uuid NOT NULL CONSTRAINT planned_task_note_fkey REFERENCES planning_note ON DELETE CASCADE,
    position integer NOT NULL,
    task_id text NOT NULL,
    title text NOT NULL,
    assignee_id text NOT NULL,
    points double precision,
    CONSTRAINT planned_task_pkey PRIMARY KEY (note_id, position)
);
"""

_SCRUM = """
CREATE TABLE scrum_report (
    report_id uuid NOT NULL CONSTRAINT scrum_report_pkey PRIMARY KEY,
    project_id text NOT NULL,
    sprint_id text NOT NULL,
    report_date date NOT NULL,
    summary text NOT NULL,
    simulated boolean NOT NULL,
    total_team_members integer NOT NULL,
    total_tasks integer NOT NULL,
    completed_tasks integer NOT NULL,
    pending_tasks integer NOT NULL,
    blocked_tasks integer NOT NULL,
    total_points double precision NOT NULL,
    completed_points double precision NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT scrum_report_sprint_date_key UNIQUE (sprint_id, report_date)
);
CREATE INDEX scrum_report_date_idx ON scrum_report (report_date, sprint_id);
CREATE INDEX scrum_report_project_idx ON scrum_report (project_id, report_date, sprint_id);

CREATE TABLE scrum_person (
    report_id uuid NOT NULL CONSTRAINT scrum_person_report_fkey REFERENCES scrum_report ON DELETE CASCADE,
    -- Empty = the tasks that nobody has.
    employee_id text NOT NULL,
    away boolean NOT NULL,
    CONSTRAINT scrum_person_pkey PRIMARY KEY (report_id, employee_id)
);

CREATE TABLE scrum_task (
    report_id uuid NOT NULL,
    employee_id text NOT NULL,
    task_id text NOT NULL,
    -- Of the report, so that a task's course is found by index.
    project_id text NOT NULL,
    report_date date NOT NULL,
    title text NOT NULL,
    yesterday_work text NOT NULL,
    today_work text NOT NULL,
    impediments text NOT NULL,
    progress_percent integer NOT NULL CONSTRAINT scrum_task_progress_check CHECK (progress_percent BETWEEN 0 AND 100),
    create_time timestamptz,
    CONSTRAINT scrum_task_pkey PRIMARY KEY (report_id, employee_id, task_id),
    CONSTRAINT scrum_task_person_fkey FOREIGN KEY (report_id, employee_id) REFERENCES scrum_person ON DELETE CASCADE
);
CREATE INDEX scrum_task_project_idx ON scrum_task (project_id, task_id, report_date);
"""

_RETROSPECTIVE = """
CREATE TABLE retrospective (
    retrospective_id uuid NOT NULL CONSTRAINT retrospective_pkey PRIMARY KEY,
    sprint_id text NOT NULL CONSTRAINT retrospective_sprint_key UNIQUE,
    project_id text NOT NULL,
    sprint_name text NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL CONSTRAINT retrospective_dates_check CHECK (end_date >= start_date),
    duration_weeks integer NOT NULL,
    what_went_well text[] NOT NULL,
    what_could_be_improved text[] NOT NULL,
    facilitator_id text NOT NULL,
    attendee_ids text[] NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE INDEX retrospective_time_idx ON retrospective (start_date, create_time, retrospective_id);
CREATE INDEX retrospective_project_idx ON retrospective (project_id, start_date, create_time, retrospective_id);

CREATE TABLE retrospective_task (
    retrospective_id uuid NOT NULL
        CONSTRAINT retrospective_task_note_fkey REFERENCES retrospective ON DELETE CASCADE,
    position integer NOT NULL,
    task_id text NOT NULL,
    description text NOT NULL,
    status text NOT NULL,
    employee_id text NOT NULL,
    progress_percent integer NOT NULL,
    points double precision,
    CONSTRAINT retrospective_task_pkey PRIMARY KEY (retrospective_id, position)
);

CREATE TABLE action_item (
    action_item_id uuid NOT NULL CONSTRAINT action_item_pkey PRIMARY KEY,
    retrospective_id uuid NOT NULL CONSTRAINT action_item_note_fkey REFERENCES retrospective ON DELETE CASCADE,
    project_id text NOT NULL,
    position integer NOT NULL,
    description text NOT NULL,
    state text NOT NULL CONSTRAINT action_item_state_check CHECK (state IN ('OPEN', 'IN_PROGRESS', 'DONE', 'DROPPED')),
    owner_id text NOT NULL,
    impediment_id text NOT NULL,
    update_time timestamptz NOT NULL,
    version bigint NOT NULL,
    CONSTRAINT action_item_position_key UNIQUE (retrospective_id, position)
);
CREATE INDEX action_item_project_idx ON action_item (project_id, state);

-- What a closed sprint came to; one row per sprint, whoever told it first.
CREATE TABLE sprint_outcome (
    sprint_id text NOT NULL CONSTRAINT sprint_outcome_pkey PRIMARY KEY,
    project_id text NOT NULL,
    sprint_name text NOT NULL,
    start_date date NOT NULL,
    end_date date NOT NULL,
    close_time timestamptz NOT NULL,
    -- NULL = only the end is known; the planning note may know them.
    planned_tasks integer,
    planned_points double precision,
    completed_tasks integer NOT NULL,
    completed_points double precision NOT NULL,
    released_tasks integer NOT NULL,
    released_points double precision NOT NULL,
    added_tasks integer NOT NULL,
    removed_tasks integer NOT NULL,
    -- 0 = not known, as for team_size and working_days.
    capacity_person_days double precision NOT NULL,
    completion_rate double precision,
    points_per_person_day double precision,
    impediments_raised integer NOT NULL,
    impediments_resolved integer NOT NULL,
    team_size integer NOT NULL,
    working_days integer NOT NULL
);
CREATE INDEX sprint_outcome_project_idx ON sprint_outcome (project_id, start_date, sprint_id);
"""

_OTHERS = """
CREATE TABLE decision_note (
    audit_id uuid NOT NULL CONSTRAINT decision_note_pkey PRIMARY KEY,
    project_id text NOT NULL,
    -- The sprint that came of it; empty = none.
    sprint_id text NOT NULL,
    decision_source text NOT NULL CONSTRAINT decision_note_source_check
        CHECK (decision_source IN ('RULE_BASED_ONLY', 'INTELLIGENCE_ENHANCED')),
    decision_time timestamptz NOT NULL,
    -- dsm.orchestrator.v1.DecisionRecord; the columns around it are what queries look for.
    record bytea NOT NULL,
    -- The orchestrator's count of the decision's changes.
    version bigint NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE INDEX decision_note_time_idx ON decision_note (decision_time, audit_id);
CREATE INDEX decision_note_project_idx ON decision_note (project_id, decision_time, audit_id);
CREATE INDEX decision_note_sprint_idx ON decision_note (sprint_id) WHERE sprint_id <> '';

CREATE TABLE free_note (
    note_id uuid NOT NULL CONSTRAINT free_note_pkey PRIMARY KEY,
    project_id text NOT NULL,
    sprint_id text NOT NULL,
    task_id text NOT NULL,
    text text NOT NULL,
    author_id text NOT NULL,
    create_time timestamptz NOT NULL
);
CREATE INDEX free_note_time_idx ON free_note (create_time, note_id);
CREATE INDEX free_note_project_idx ON free_note (project_id, create_time, note_id);
CREATE INDEX free_note_sprint_idx ON free_note (sprint_id, create_time, note_id) WHERE sprint_id <> '';
CREATE INDEX free_note_task_idx ON free_note (task_id, create_time, note_id) WHERE task_id <> '';

CREATE TABLE impediment (
    impediment_id uuid NOT NULL CONSTRAINT impediment_pkey PRIMARY KEY,
    project_id text NOT NULL,
    sprint_id text NOT NULL,
    task_id text NOT NULL,
    raised_by text NOT NULL,
    owner_id text NOT NULL,
    text text NOT NULL,
    state text NOT NULL CONSTRAINT impediment_state_check CHECK (state IN ('OPEN', 'RESOLVED')),
    raise_date date,
    raise_time timestamptz NOT NULL,
    resolve_time timestamptz,
    resolution text NOT NULL
);
CREATE INDEX impediment_project_idx ON impediment (project_id, raise_time, impediment_id);
CREATE INDEX impediment_sprint_idx ON impediment (sprint_id);
"""


def upgrade() -> None:
    """Make every table."""
    op.execute(tables.CONSUMING + _PLANNING + _SCRUM + _RETROSPECTIVE + _OTHERS)
