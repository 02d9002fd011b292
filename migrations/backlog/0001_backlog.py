"""Tasks, stories, their counts, and what sprints reserved."""

from alembic import op

from services.kit.data import tables

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_PROJECTS = """
CREATE TABLE project_state (
    project_id text NOT NULL CONSTRAINT project_state_pkey PRIMARY KEY,
    status text NOT NULL CONSTRAINT project_state_status_check CHECK (status IN ('ACTIVE', 'INACTIVE', 'ARCHIVED')),
    version bigint NOT NULL
);
CREATE TABLE project_counter (
    project_id text NOT NULL CONSTRAINT project_counter_pkey PRIMARY KEY,
    last_task bigint NOT NULL DEFAULT 0,
    last_story bigint NOT NULL DEFAULT 0,
    last_rank bigint NOT NULL DEFAULT 0
);
"""

# A task in a state that only sprints give is in a sprint, and an unassigned one is in none: that a task points to an
# old sprint cannot be stored.
_TASKS = """
CREATE TABLE task (
    task_id text NOT NULL CONSTRAINT task_pkey PRIMARY KEY,
    project_id text NOT NULL,
    number bigint NOT NULL,
    rank bigint NOT NULL,
    version bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    delete_time timestamptz,
    title text NOT NULL,
    description text NOT NULL,
    type text NOT NULL,
    parent_task_id text NOT NULL,
    points numeric(7, 2),
    estimate interval,
    remaining interval,
    priority text NOT NULL
        CONSTRAINT task_priority_check CHECK (priority IN ('NONE', 'LOW', 'MEDIUM', 'HIGH', 'URGENT')),
    tags text[] NOT NULL,
    due_date date,
    reminder_offsets interval[] NOT NULL,
    recurrence_rule text NOT NULL,
    depends_on text[] NOT NULL,
    custom_fields jsonb NOT NULL,
    origin_system text NOT NULL,
    origin_key text NOT NULL,
    origin_url text NOT NULL,
    origin_status text NOT NULL,
    origin_resolution text NOT NULL,
    origin_create_time timestamptz,
    origin_resolve_time timestamptz,
    state text NOT NULL CONSTRAINT task_state_check CHECK (
        state IN ('UNASSIGNED', 'ASSIGNED_TO_SPRINT', 'IN_PROGRESS', 'BLOCKED', 'COMPLETED', 'CANCELLED')),
    assignee_id text NOT NULL,
    sprint_id text NOT NULL,
    progress_percent integer NOT NULL
        CONSTRAINT task_progress_percent_check CHECK (progress_percent BETWEEN 0 AND 100),
    sprint_version bigint NOT NULL,
    complete_time timestamptz,
    -- What the last import made of its row: unchanged rows are known by it, and so are changes of state over there.
    import_digest bytea,
    import_state text,
    urgency smallint NOT NULL GENERATED ALWAYS AS (
        CASE priority WHEN 'URGENT' THEN 0 WHEN 'HIGH' THEN 1 WHEN 'MEDIUM' THEN 2 WHEN 'LOW' THEN 3 ELSE 4 END
    ) STORED,
    search tsvector NOT NULL GENERATED ALWAYS AS (
        setweight(to_tsvector('english', title), 'A') || setweight(to_tsvector('english', description), 'B')
    ) STORED,
    CONSTRAINT task_number_key UNIQUE (project_id, number),
    CONSTRAINT task_sprint_check CHECK (
        CASE state
            WHEN 'UNASSIGNED' THEN sprint_id = ''
            WHEN 'ASSIGNED_TO_SPRINT' THEN sprint_id <> ''
            WHEN 'BLOCKED' THEN sprint_id <> ''
            ELSE true
        END)
);
CREATE UNIQUE INDEX task_origin_key ON task (project_id, origin_key) WHERE origin_key <> '' AND delete_time IS NULL;
CREATE INDEX task_rank_idx ON task (project_id, rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_state_idx ON task (project_id, state, rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_urgency_idx ON task (project_id, urgency, rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_due_date_idx ON task (project_id, coalesce(due_date, 'infinity'::date), rank, number)
    WHERE delete_time IS NULL;
CREATE INDEX task_create_time_idx ON task (project_id, create_time DESC, rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_update_time_idx ON task (project_id, update_time DESC, rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_type_idx ON task (project_id, lower(type), rank, number) WHERE delete_time IS NULL;
CREATE INDEX task_assignee_idx ON task (project_id, assignee_id, rank, number)
    WHERE assignee_id <> '' AND delete_time IS NULL;
CREATE INDEX task_sprint_idx ON task (sprint_id) WHERE sprint_id <> '' AND delete_time IS NULL;
CREATE INDEX task_parent_idx ON task (parent_task_id) WHERE parent_task_id <> '' AND delete_time IS NULL;
CREATE INDEX task_tags_idx ON task USING gin (tags) WHERE delete_time IS NULL AND tags <> '{}';
CREATE INDEX task_search_idx ON task USING gin (search) WHERE delete_time IS NULL;
"""

_STORIES = """
CREATE TABLE story (
    story_id text NOT NULL CONSTRAINT story_pkey PRIMARY KEY,
    project_id text NOT NULL,
    number bigint NOT NULL,
    version bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL,
    title text NOT NULL,
    description text NOT NULL,
    origin_system text NOT NULL,
    origin_key text NOT NULL,
    origin_url text NOT NULL,
    origin_status text NOT NULL,
    origin_resolution text NOT NULL,
    origin_create_time timestamptz,
    origin_resolve_time timestamptz,
    CONSTRAINT story_number_key UNIQUE (project_id, number)
);
CREATE UNIQUE INDEX story_origin_key ON story (project_id, origin_key) WHERE origin_key <> '';
CREATE TABLE story_task (
    story_id text NOT NULL CONSTRAINT story_task_story_fkey REFERENCES story ON DELETE CASCADE,
    task_id text NOT NULL CONSTRAINT story_task_task_fkey REFERENCES task,
    CONSTRAINT story_task_pkey PRIMARY KEY (story_id, task_id)
);
CREATE INDEX story_task_task_idx ON story_task (task_id, story_id);
"""

_RESERVATIONS = """
CREATE TABLE reservation (
    sprint_id text NOT NULL CONSTRAINT reservation_pkey PRIMARY KEY,
    state text NOT NULL CONSTRAINT reservation_state_check CHECK (state IN ('RESERVED', 'RELEASED')),
    create_time timestamptz NOT NULL DEFAULT now()
);
-- Assignee and progress as they were before the sprint took the task.
CREATE TABLE reserved_task (
    sprint_id text NOT NULL CONSTRAINT reserved_task_reservation_fkey REFERENCES reservation,
    task_id text NOT NULL CONSTRAINT reserved_task_task_fkey REFERENCES task,
    assignee_id text NOT NULL,
    progress_percent integer NOT NULL,
    CONSTRAINT reserved_task_pkey PRIMARY KEY (sprint_id, task_id)
);
"""

# Summaries are read far more often than states change, and must not scan; triggers, so that no statement can forget.
_COUNTS = """
CREATE TABLE backlog_count (
    project_id text NOT NULL,
    state text NOT NULL,
    tasks bigint NOT NULL,
    points numeric NOT NULL,
    unestimated_tasks bigint NOT NULL,
    CONSTRAINT backlog_count_pkey PRIMARY KEY (project_id, state)
);
CREATE FUNCTION count_inserted_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backlog_count AS c (project_id, state, tasks, points, unestimated_tasks)
    SELECT project_id, state, count(*), coalesce(sum(points), 0), count(*) FILTER (WHERE points IS NULL)
    FROM after_rows WHERE delete_time IS NULL
    GROUP BY project_id, state ORDER BY project_id, state
    ON CONFLICT (project_id, state) DO UPDATE SET
        tasks = c.tasks + excluded.tasks,
        points = c.points + excluded.points,
        unestimated_tasks = c.unestimated_tasks + excluded.unestimated_tasks;
    RETURN NULL;
END $$;
CREATE FUNCTION count_updated_tasks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO backlog_count AS c (project_id, state, tasks, points, unestimated_tasks)
    SELECT project_id, state, sum(sign), sum(sign * points), sum(sign * unestimated)
    FROM (
        SELECT project_id, state, 1 AS sign, coalesce(points, 0) AS points, (points IS NULL)::int AS unestimated
        FROM after_rows WHERE delete_time IS NULL
        UNION ALL
        SELECT project_id, state, -1, coalesce(points, 0), (points IS NULL)::int
        FROM before_rows WHERE delete_time IS NULL
    ) AS change
    GROUP BY project_id, state
    HAVING sum(sign) <> 0 OR sum(sign * points) <> 0 OR sum(sign * unestimated) <> 0
    ORDER BY project_id, state
    ON CONFLICT (project_id, state) DO UPDATE SET
        tasks = c.tasks + excluded.tasks,
        points = c.points + excluded.points,
        unestimated_tasks = c.unestimated_tasks + excluded.unestimated_tasks;
    RETURN NULL;
END $$;
CREATE TRIGGER count_inserted AFTER INSERT ON task REFERENCING NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_inserted_tasks();
CREATE TRIGGER count_updated AFTER UPDATE ON task REFERENCING OLD TABLE AS before_rows NEW TABLE AS after_rows
    FOR EACH STATEMENT EXECUTE FUNCTION count_updated_tasks();
"""


def upgrade() -> None:
    """Make the service's first tables."""
    for sql in (tables.CONSUMING, _PROJECTS, _TASKS, _STORIES, _RESERVATIONS, _COUNTS):
        op.execute(sql)
