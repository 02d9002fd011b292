"""The kit's own tables, which every service's first migration makes."""

OUTBOX = """
CREATE TABLE outbox (
    position bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT outbox_pkey PRIMARY KEY,
    event_id uuid NOT NULL CONSTRAINT outbox_event_id_key UNIQUE,
    subject text NOT NULL,
    aggregate_id text NOT NULL,
    aggregate_version bigint NOT NULL,
    project_id text NOT NULL,
    payload bytea NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    publish_time timestamptz
);
CREATE INDEX outbox_unpublished_idx ON outbox (position) WHERE publish_time IS NULL;
CREATE INDEX outbox_create_time_idx ON outbox USING brin (create_time);
"""

# What the migration behind a service's first ones runs; first migrations that were released stay as they are.
OUTBOX_SEQUENCE = """
ALTER TABLE outbox ADD COLUMN sequence bigint;
COMMENT ON COLUMN outbox.sequence IS
    'the place in the stream that JetStream acknowledged the event for; NULL = not published, or it is not known';
"""

INBOX = """
CREATE TABLE inbox (
    event_id uuid NOT NULL,
    consumer text NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT inbox_pkey PRIMARY KEY (event_id, consumer)
);
CREATE INDEX inbox_apply_time_idx ON inbox USING brin (apply_time);
CREATE TABLE dead_letter (
    dead_letter_id uuid NOT NULL CONSTRAINT dead_letter_pkey PRIMARY KEY,
    consumer text NOT NULL,
    subject text NOT NULL,
    event_id text NOT NULL,
    payload bytea NOT NULL,
    error text NOT NULL,
    attempts integer NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now()
);
"""

REQUEST_RECORD = """
CREATE TABLE request_record (
    request_id uuid NOT NULL CONSTRAINT request_record_pkey PRIMARY KEY,
    method text NOT NULL,
    fingerprint bytea NOT NULL,
    response bytea,
    create_time timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX request_record_create_time_idx ON request_record USING brin (create_time);
"""

SAGA = """
CREATE TABLE saga (
    saga_id uuid NOT NULL CONSTRAINT saga_pkey PRIMARY KEY,
    kind text NOT NULL,
    key text NOT NULL,
    status text NOT NULL CONSTRAINT saga_status_check CHECK (status IN ('RUNNING', 'UNDOING', 'DONE', 'UNDONE')),
    step integer NOT NULL DEFAULT 0,
    state jsonb NOT NULL,
    error jsonb,
    owner uuid NOT NULL,
    lease_time timestamptz NOT NULL,
    caller jsonb NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    update_time timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX saga_open_key ON saga (kind, key) WHERE status IN ('RUNNING', 'UNDOING');
CREATE INDEX saga_lease_idx ON saga (lease_time) WHERE status IN ('RUNNING', 'UNDOING');
"""

# What a service's first migration runs before its own tables.
PUBLISHING = OUTBOX + REQUEST_RECORD
CONSUMING = PUBLISHING + INBOX
