"""What analytics read instead of whole histories: sums per project, embeddings of impediments, samples of backlogs."""

from alembic import op

revision = "0002"
down_revision = "0001"

_FIGURES = """
-- Counts and sums per project, kept in the transactions that change what they count.
CREATE TABLE project_figures (
    project_id text NOT NULL CONSTRAINT project_figures_pkey PRIMARY KEY,
    -- Sprints known by a planning note, a report or a retrospective; of these, those with a report.
    sprints bigint NOT NULL DEFAULT 0,
    reported_sprints bigint NOT NULL DEFAULT 0,
    reports bigint NOT NULL DEFAULT 0,
    retrospectives bigint NOT NULL DEFAULT 0,
    action_items bigint NOT NULL DEFAULT 0,
    open_action_items bigint NOT NULL DEFAULT 0,
    decisions bigint NOT NULL DEFAULT 0,
    -- Closed sprints, and sums over them; a figure that not every sprint tells has a count of those that do.
    closed_sprints bigint NOT NULL DEFAULT 0,
    completed_tasks bigint NOT NULL DEFAULT 0,
    held_tasks bigint NOT NULL DEFAULT 0,
    impediments bigint NOT NULL DEFAULT 0,
    rated_sprints bigint NOT NULL DEFAULT 0,
    completion_rates double precision NOT NULL DEFAULT 0,
    staffed_sprints bigint NOT NULL DEFAULT 0,
    people bigint NOT NULL DEFAULT 0,
    last_note_time timestamptz
);

-- The sprints that `sprints` counts, each once.
CREATE TABLE known_sprint (
    sprint_id text NOT NULL CONSTRAINT known_sprint_pkey PRIMARY KEY,
    project_id text NOT NULL,
    reported boolean NOT NULL
);
"""

# For what was there before the sums were kept. Also what they must always be equal to.
BACKFILL = """
INSERT INTO known_sprint (sprint_id, project_id, reported)
SELECT sprint_id, min(project_id), bool_or(reported) FROM (
    SELECT sprint_id, project_id, false AS reported FROM planning_note
    UNION ALL SELECT sprint_id, project_id, true FROM scrum_report
    UNION ALL SELECT sprint_id, project_id, false FROM retrospective
) told GROUP BY sprint_id;

INSERT INTO project_figures
SELECT project_id, coalesce(sprints, 0), coalesce(reported_sprints, 0), coalesce(reports, 0),
    coalesce(retrospectives, 0), coalesce(action_items, 0), coalesce(open_action_items, 0), coalesce(decisions, 0),
    coalesce(closed_sprints, 0), coalesce(completed_tasks, 0), coalesce(held_tasks, 0), coalesce(impediments, 0),
    coalesce(rated_sprints, 0), coalesce(completion_rates, 0), coalesce(staffed_sprints, 0), coalesce(people, 0),
    last_note_time
FROM (
    SELECT project_id, max(create_time) AS last_note_time FROM (
        SELECT project_id, create_time FROM planning_note
        UNION ALL SELECT project_id, create_time FROM scrum_report
        UNION ALL SELECT project_id, create_time FROM retrospective
        UNION ALL SELECT project_id, create_time FROM decision_note
        UNION ALL SELECT project_id, create_time FROM free_note
    ) note GROUP BY project_id
) project
LEFT JOIN (
    SELECT project_id, count(*) AS sprints, count(*) FILTER (WHERE reported) AS reported_sprints
    FROM known_sprint GROUP BY project_id
) sprint USING (project_id)
LEFT JOIN (SELECT project_id, count(*) AS reports FROM scrum_report GROUP BY project_id) report USING (project_id)
LEFT JOIN (
    SELECT project_id, count(*) AS retrospectives FROM retrospective GROUP BY project_id
) retrospective USING (project_id)
LEFT JOIN (
    SELECT project_id, count(*) AS action_items,
        count(*) FILTER (WHERE state IN ('OPEN', 'IN_PROGRESS')) AS open_action_items
    FROM action_item GROUP BY project_id
) item USING (project_id)
LEFT JOIN (SELECT project_id, count(*) AS decisions FROM decision_note GROUP BY project_id) decision USING (project_id)
LEFT JOIN (
    SELECT project_id, count(*) AS closed_sprints, sum(completed_tasks) AS completed_tasks,
        sum(completed_tasks + released_tasks) AS held_tasks, sum(impediments_raised) AS impediments,
        count(completion_rate) AS rated_sprints, sum(completion_rate) AS completion_rates,
        count(*) FILTER (WHERE team_size > 0) AS staffed_sprints, sum(team_size) AS people
    FROM sprint_outcome GROUP BY project_id
) outcome USING (project_id);
"""

_EMBEDDINGS = """
CREATE EXTENSION IF NOT EXISTS vector;

-- Vectors of different models are never compared. requires_embedding with a vector = it is of a model of the past.
ALTER TABLE impediment
    ADD COLUMN embedding halfvec(1024),
    ADD COLUMN embedding_model text NOT NULL DEFAULT '',
    ADD COLUMN requires_embedding boolean NOT NULL DEFAULT true,
    ADD CONSTRAINT impediment_embedded_check CHECK ((embedding IS NULL) = (embedding_model = ''));
-- The zeros that pad small models to 1024 dimensions are not worth a page.
ALTER TABLE impediment ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX impediment_waiting_idx ON impediment (raise_time) WHERE requires_embedding;
CREATE INDEX impediment_model_idx ON impediment (embedding_model) WHERE NOT requires_embedding;

-- A sample of the titles of each project's tasks: those whose hash of the task's id is least. The empty project is the
-- background that all are seen against.
CREATE TABLE backlog_title (
    task_id text NOT NULL CONSTRAINT backlog_title_pkey PRIMARY KEY,
    project_id text NOT NULL,
    sample_key bigint NOT NULL,
    title text NOT NULL,
    -- The backlog's count of the task's changes.
    task_version bigint NOT NULL,
    embedding halfvec(1024),
    embedding_model text NOT NULL DEFAULT '',
    requires_embedding boolean NOT NULL DEFAULT true,
    CONSTRAINT backlog_title_embedded_check CHECK ((embedding IS NULL) = (embedding_model = ''))
);
ALTER TABLE backlog_title ALTER COLUMN embedding SET STORAGE MAIN;
CREATE INDEX backlog_title_project_idx ON backlog_title (project_id, sample_key);
CREATE INDEX backlog_title_waiting_idx ON backlog_title (project_id, sample_key) WHERE requires_embedding;
CREATE INDEX backlog_title_model_idx ON backlog_title (embedding_model) WHERE NOT requires_embedding;

-- What a project's backlog is about: the mean of its sampled titles' vectors.
CREATE TABLE project_topic (
    project_id text NOT NULL CONSTRAINT project_topic_pkey PRIMARY KEY,
    embedding_model text NOT NULL,
    titles integer NOT NULL,
    centroid halfvec(1024) NOT NULL
);
ALTER TABLE project_topic ALTER COLUMN centroid SET STORAGE MAIN;
"""

_ERASED = """
-- People to be forgotten, whose words may still be on their way.
CREATE TABLE erased_person (
    employee_id text NOT NULL CONSTRAINT erased_person_pkey PRIMARY KEY,
    erase_time timestamptz NOT NULL
);
CREATE INDEX scrum_task_employee_idx ON scrum_task (employee_id);
"""


def upgrade() -> None:
    """Make the tables and fill in what history tells."""
    op.execute(_FIGURES + BACKFILL + _EMBEDDINGS + _ERASED)
