"""Daily scrums by schedule: what projects want, the sprints that are open, and the cron jobs that follow from both."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime

from psycopg.rows import dict_row

from services.kit.data.database import ReadHandle, Row, WriteHandle
from services.kit.data.paging import Page
from services.orchestrator.domain.schedule import (
    CronJob,
    CronJobState,
    RunEnd,
    Timer,
    TrackedSprint,
    Wish,
    cron_job_name,
)
from services.orchestrator.store.rows import where

_FIND_WISH = """
    SELECT project_id, wanted, schedule, time_zone, update_time, version FROM daily_scrum_schedule
    WHERE project_id = %(project_id)s
"""
_PUT_WISH = """
    INSERT INTO daily_scrum_schedule (project_id, wanted, schedule, time_zone, update_time)
    VALUES (%(project_id)s, %(wanted)s, %(schedule)s, %(time_zone)s, %(update_time)s)
    ON CONFLICT (project_id) DO UPDATE SET wanted = excluded.wanted, schedule = excluded.schedule,
        time_zone = excluded.time_zone, update_time = excluded.update_time, version = daily_scrum_schedule.version + 1
    WHERE (daily_scrum_schedule.wanted, daily_scrum_schedule.schedule, daily_scrum_schedule.time_zone)
        IS DISTINCT FROM (excluded.wanted, excluded.schedule, excluded.time_zone)
    RETURNING project_id, wanted, schedule, time_zone, update_time, version
"""
_TRACK = """
    INSERT INTO tracked_sprint (sprint_id, project_id, is_open, time_zone, start_date, end_date, version)
    SELECT DISTINCT ON (sprint_id) *
    FROM unnest(%(sprint_ids)s::text[], %(project_ids)s::text[], %(open)s::boolean[], %(time_zones)s::text[],
                %(starts)s::date[], %(ends)s::date[], %(versions)s::bigint[])
        AS v (sprint_id, project_id, is_open, time_zone, start_date, end_date, version)
    ORDER BY sprint_id, version DESC
    ON CONFLICT (sprint_id) DO UPDATE SET is_open = excluded.is_open, time_zone = excluded.time_zone,
        start_date = excluded.start_date, end_date = excluded.end_date, version = excluded.version
    WHERE tracked_sprint.version < excluded.version
"""
_WANTED = """
    tracked_sprint s JOIN daily_scrum_schedule w USING (project_id)
    WHERE s.is_open AND w.wanted AND (%(project_ids)s::text[] IS NULL OR s.project_id = ANY(%(project_ids)s))
"""
_DROP = f"""
    DELETE FROM cron_job c
    WHERE (%(project_ids)s::text[] IS NULL OR c.project_id = ANY(%(project_ids)s))
      AND NOT EXISTS (SELECT FROM {_WANTED} AND s.sprint_id = c.sprint_id)
"""
# New ones, and those whose schedule or sprint is another now.
_OUT_OF_DATE = f"""
    SELECT s.sprint_id, s.project_id, w.schedule, s.time_zone, s.start_date, s.end_date FROM {_WANTED}
      AND NOT EXISTS (
          SELECT FROM cron_job c WHERE c.sprint_id = s.sprint_id
            AND (c.schedule, c.time_zone, c.first_day, c.last_day)
                = (w.schedule, s.time_zone, s.start_date, s.end_date))
    ORDER BY s.sprint_id
"""
_PUT_JOBS = """
    INSERT INTO cron_job (sprint_id, project_id, name, schedule, time_zone, first_day, last_day, next_run_time,
                          create_time)
    VALUES (%(sprint_id)s, %(project_id)s, %(name)s, %(schedule)s, %(time_zone)s, %(first_day)s, %(last_day)s,
            %(next_run_time)s, %(now)s)
    ON CONFLICT (sprint_id) DO UPDATE SET schedule = excluded.schedule, time_zone = excluded.time_zone,
        first_day = excluded.first_day, last_day = excluded.last_day, next_run_time = excluded.next_run_time,
        state = 'PENDING', state_reason = ''
"""
_JOB = """
    c.sprint_id, c.project_id, c.name, c.schedule, c.time_zone, c.first_day, c.last_day, c.create_time, c.state,
    c.state_reason, c.next_run_time, c.last_run_time, c.last_run_result
"""
_SELECT_JOBS = f"SELECT {_JOB} FROM cron_job c"
_JOB_CONDITIONS = {
    "project_id": "c.project_id = %(project_id)s",
    "after_project": "(c.project_id, c.sprint_id) > (%(after_project)s::text, %(after_sprint)s::text)",
}
_JOB_ORDER = "ORDER BY c.project_id, c.sprint_id LIMIT %(limit)s"
_FIND_JOB = f"{_SELECT_JOBS} WHERE c.project_id = %(project_id)s AND c.name = %(name)s"
_JOBS_OF = f"{_SELECT_JOBS} WHERE c.project_id = %(project_id)s ORDER BY c.sprint_id"
_ALL_JOBS = f"{_SELECT_JOBS} ORDER BY c.sprint_id"
# Whoever claims a run has it for a while: one process at a time, and another one if it dies.
_CLAIM = f"""
    UPDATE cron_job c SET retry_time = %(now)s + make_interval(secs => %(seconds)s)
    WHERE c.sprint_id IN (
        SELECT sprint_id FROM cron_job WHERE next_run_time <= %(now)s AND retry_time <= %(now)s
        ORDER BY next_run_time LIMIT %(limit)s FOR UPDATE SKIP LOCKED)
    RETURNING {_JOB}
"""
_FINISH = """
    UPDATE cron_job SET next_run_time = %(next_run_time)s, retry_time = %(retry_time)s,
        last_run_time = coalesce(%(ran)s, last_run_time), last_run_result = %(result)s
    WHERE sprint_id = %(sprint_id)s AND next_run_time = %(planned)s
"""
_SETTLE = """
    UPDATE cron_job c SET state = v.state, state_reason = v.reason,
        last_run_time = coalesce(v.last_run_time, c.last_run_time), next_run_time = v.next_run_time
    FROM unnest(%(sprint_ids)s::text[], %(schedules)s::text[], %(states)s::text[], %(reasons)s::text[],
                %(last_runs)s::timestamptz[], %(next_runs)s::timestamptz[])
        AS v (sprint_id, schedule, state, reason, last_run_time, next_run_time)
    WHERE c.sprint_id = v.sprint_id AND c.schedule = v.schedule
"""
_TAKE_TURN = """
    INSERT INTO turn (name, holder, lease_time)
    VALUES (%(name)s, %(holder)s, now() + make_interval(secs => %(seconds)s))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, lease_time = excluded.lease_time
    WHERE turn.holder = excluded.holder OR turn.lease_time < now()
    RETURNING true
"""
_END_TURN = "DELETE FROM turn WHERE name = %(name)s AND holder = %(holder)s"


async def find_wish(read: ReadHandle, project_id: str) -> Wish | None:
    """What a project wants; None = it never said."""
    row = await read.maybe(_FIND_WISH, {"project_id": project_id}, row=dict_row)
    return Wish(**row) if row else None


async def put_wish(tx: WriteHandle, wish: Wish) -> Wish | None:
    """Store what a project wants; the wish with its new version, or None if it wanted just that before."""
    row = await tx.maybe(_PUT_WISH, asdict(wish), row=dict_row)
    return Wish(**row) if row else None


async def track(tx: WriteHandle, sprints: Sequence[TrackedSprint]) -> None:
    """Store how sprints are; what is older than what is known already is passed over."""
    params = {
        "sprint_ids": [sprint.sprint_id for sprint in sprints],
        "project_ids": [sprint.project_id for sprint in sprints],
        "open": [sprint.is_open for sprint in sprints],
        "time_zones": [sprint.time_zone for sprint in sprints],
        "starts": [sprint.start for sprint in sprints],
        "ends": [sprint.end for sprint in sprints],
        "versions": [sprint.version for sprint in sprints],
    }
    await tx.execute(_TRACK, params)


async def sync(tx: WriteHandle, project_ids: Sequence[str] | None, now: datetime) -> None:
    """Make the cron jobs of some projects (None = all) what wishes and sprints say: one per open sprint that wants one.

    Level-based: it may be repeated at any time, and makes good what calls that came together could not see.
    """
    params = {"project_ids": list(project_ids) if project_ids is not None else None}
    await tx.execute(_DROP, params)
    await tx.execute_many(_PUT_JOBS, [_new_job(row, now) for row in await tx.rows(_OUT_OF_DATE, params)])


async def find_job(read: ReadHandle, project_id: str, name: str) -> CronJob | None:
    """A project's cron job by its name."""
    params = {"project_id": project_id, "name": name}
    row = await read.maybe(_FIND_JOB, params, row=dict_row)
    return _to_job(row) if row else None


async def jobs_of(read: ReadHandle, project_id: str) -> list[CronJob]:
    """Every cron job of a project."""
    return [_to_job(row) for row in await read.rows(_JOBS_OF, {"project_id": project_id})]


async def all_jobs(read: ReadHandle) -> list[CronJob]:
    """Every cron job that there is to be."""
    return [_to_job(row) for row in await read.rows(_ALL_JOBS)]


async def page_of_jobs(read: ReadHandle, project_id: str, page: Page) -> tuple[Sequence[CronJob], str]:
    """A page of cron jobs by project and sprint, of one project or all, and the token of the next."""
    after_project, after_sprint = page.after or (None, None)
    params = {
        "project_id": project_id,
        "after_project": after_project,
        "after_sprint": after_sprint,
        "limit": page.limit,
    }
    sql = f"{_SELECT_JOBS} {where(_JOB_CONDITIONS, params)} {_JOB_ORDER}"
    found = [_to_job(row) for row in await read.rows(sql, params)]
    return page.cut(found, lambda job: (job.project_id, job.sprint_id))


async def claim(tx: WriteHandle, now: datetime, seconds: float, limit: int) -> list[CronJob]:
    """Take cron jobs that are due, for so many seconds; nobody else gets them meanwhile."""
    params = {"now": now, "seconds": seconds, "limit": limit}
    return [_to_job(row) for row in await tx.rows(_CLAIM, params)]


async def finish(tx: WriteHandle, job: CronJob, end: RunEnd) -> None:
    """Store what came of a run that was claimed; nothing if the job was changed meanwhile."""
    await tx.execute(_FINISH, {"sprint_id": job.sprint_id, "planned": job.next_run_time, **asdict(end)})


async def settle(tx: WriteHandle, jobs: Sequence[CronJob]) -> None:
    """Store how cron jobs were found in Kubernetes; those whose schedule changed meanwhile stay to be done."""
    params = {
        "sprint_ids": [job.sprint_id for job in jobs],
        "schedules": [job.timer.schedule for job in jobs],
        "states": [job.state for job in jobs],
        "reasons": [job.state_reason for job in jobs],
        "last_runs": [job.last_run_time for job in jobs],
        "next_runs": [job.next_run_time for job in jobs],
    }
    await tx.execute(_SETTLE, params)


async def take_turn(tx: WriteHandle, name: str, holder: object, seconds: float) -> bool:
    """Take or keep the turn for something that one process at a time does; False if another has it."""
    return bool(await tx.value(_TAKE_TURN, {"name": name, "holder": holder, "seconds": seconds}))


async def end_turn(tx: WriteHandle, name: str, holder: object) -> None:
    """Let the turn go, so that nobody waits for its end."""
    await tx.execute(_END_TURN, {"name": name, "holder": holder})


def _new_job(row: Row, now: datetime) -> Row:
    timer = Timer(row["schedule"], row["time_zone"], row["start_date"], row["end_date"])
    return {
        "sprint_id": row["sprint_id"],
        "project_id": row["project_id"],
        "name": cron_job_name(row["sprint_id"]),
        "schedule": timer.schedule,
        "time_zone": timer.time_zone,
        "first_day": timer.first_day,
        "last_day": timer.last_day,
        "next_run_time": timer.next_after(now),
        "now": now,
    }


def _to_job(row: Row) -> CronJob:
    return CronJob(
        sprint_id=row["sprint_id"],
        project_id=row["project_id"],
        name=row["name"],
        timer=Timer(row["schedule"], row["time_zone"], row["first_day"], row["last_day"]),
        create_time=row["create_time"],
        state=CronJobState(row["state"]),
        state_reason=row["state_reason"],
        next_run_time=row["next_run_time"],
        last_run_time=row["last_run_time"],
        last_run_result=row["last_run_result"],
    )
