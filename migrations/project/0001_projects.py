"""Projects, people, teams, company days and PTO."""

from alembic import op

from services.kit.data import tables

revision = "0001"
down_revision = None

# Ids sort by byte, as clients sort them, whatever the database's own collation is.
_PROJECT = """
CREATE TABLE project (
    project_id text COLLATE "C" NOT NULL CONSTRAINT project_pkey PRIMARY KEY,
    name text NOT NULL,
    description text NOT NULL,
    status text NOT NULL CONSTRAINT project_status_check CHECK (status IN ('ACTIVE', 'INACTIVE', 'ARCHIVED')),
    time_zone text NOT NULL,
    holiday_country text NOT NULL,
    holiday_subdivision text NOT NULL,
    working_days smallint[] NOT NULL CONSTRAINT project_working_days_check CHECK (
        cardinality(working_days) > 0 AND working_days <@ '{1,2,3,4,5,6,7}'::smallint[]),
    simulate_daily_scrums boolean NOT NULL,
    version bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
CREATE INDEX project_status_idx ON project (status, project_id);
COMMENT ON COLUMN project.working_days IS 'ISO 8601: 1 = Monday';
"""

_EMPLOYEE = """
CREATE TABLE employee (
    employee_id text COLLATE "C" NOT NULL CONSTRAINT employee_pkey PRIMARY KEY,
    name text NOT NULL,
    email text NOT NULL,
    role text NOT NULL,
    designation text NOT NULL,
    skills text[] NOT NULL,
    skill_keys text[] NOT NULL,
    hours_per_day numeric(4, 2) NOT NULL CONSTRAINT employee_hours_per_day_check CHECK (
        hours_per_day > 0 AND hours_per_day <= 24),
    inactive_time timestamptz,
    identity_subject text NOT NULL,
    time_zone text NOT NULL,
    version bigint NOT NULL,
    create_time timestamptz NOT NULL,
    update_time timestamptz NOT NULL
);
CREATE INDEX employee_skill_keys_idx ON employee USING gin (skill_keys);
CREATE INDEX employee_inactive_idx ON employee (employee_id) WHERE inactive_time IS NOT NULL;
COMMENT ON COLUMN employee.skill_keys IS 'skills without case, to search by';
COMMENT ON COLUMN employee.inactive_time IS 'since when the person is not active; NULL = active';
"""

_TEAM_MEMBER = """
CREATE TABLE team_member (
    project_id text COLLATE "C" NOT NULL CONSTRAINT team_member_project_id_fkey REFERENCES project,
    employee_id text COLLATE "C" NOT NULL CONSTRAINT team_member_employee_id_fkey REFERENCES employee,
    allocation_percent smallint NOT NULL CONSTRAINT team_member_allocation_percent_check CHECK (
        allocation_percent BETWEEN 1 AND 100),
    start_date date NOT NULL,
    end_date date,
    CONSTRAINT team_member_pkey PRIMARY KEY (project_id, employee_id),
    CONSTRAINT team_member_dates_check CHECK (end_date >= start_date)
);
CREATE INDEX team_member_employee_id_idx ON team_member (employee_id);
"""

_HOLIDAY = """
CREATE TABLE company_day (
    project_id text COLLATE "C" NOT NULL CONSTRAINT company_day_project_id_fkey REFERENCES project,
    date date NOT NULL,
    name text NOT NULL,
    CONSTRAINT company_day_pkey PRIMARY KEY (project_id, date)
);
"""

_PTO = """
CREATE TABLE pto (
    pto_id uuid NOT NULL CONSTRAINT pto_pkey PRIMARY KEY,
    employee_id text COLLATE "C" NOT NULL CONSTRAINT pto_employee_id_fkey REFERENCES employee,
    start_date date NOT NULL,
    end_date date NOT NULL,
    starts_at_midday boolean NOT NULL,
    ends_at_midday boolean NOT NULL,
    reason text NOT NULL,
    create_time timestamptz NOT NULL,
    CONSTRAINT pto_dates_check CHECK (end_date >= start_date),
    CONSTRAINT pto_something_left_check CHECK (NOT (start_date = end_date AND starts_at_midday AND ends_at_midday))
);
CREATE INDEX pto_employee_id_idx ON pto (employee_id, end_date);
CREATE INDEX pto_start_date_idx ON pto (start_date, pto_id);
"""


def upgrade() -> None:
    """Make every table."""
    op.execute(tables.PUBLISHING + _PROJECT + _EMPLOYEE + _TEAM_MEMBER + _HOLIDAY + _PTO)
