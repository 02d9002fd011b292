"""Decisions: the audit, and what is left to be done."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date
from uuid import UUID

from psycopg.rows import dict_row

from services.kit.data.database import ReadHandle, WriteHandle
from services.kit.data.paging import Page
from services.kit.errors import Aborted
from services.orchestrator.domain.decision import DecisionSource
from services.orchestrator.domain.episode import Episode
from services.orchestrator.store import strategies
from services.orchestrator.store.rows import SELECT, advisory_json, record_json, to_episode, where

_INSERT_DECISION = """
    INSERT INTO decision (decision_id, project_id, decision_time, source, record, pending, fingerprint, advisory,
                          advisory_retry_time)
    VALUES (%(decision_id)s, %(project_id)s, %(decision_time)s, %(source)s, %(record)s, %(pending)s, %(fingerprint)s,
            %(advisory)s, CASE WHEN %(advisory)s::jsonb IS NOT NULL THEN %(decision_time)s END)
"""
_INSERT_EPISODE = """
    INSERT INTO episode (episode_id, decision_id, project_id, context_text, quality_score, quality_findings,
                         create_time, team_size, load, velocity, duration_weeks, relative_load, rule_tasks,
                         closed_sprints)
    VALUES (%(episode_id)s, %(decision_id)s, %(project_id)s, %(context_text)s, %(quality_score)s, %(quality_findings)s,
            %(create_time)s, %(team_size)s, %(load)s, %(velocity)s, %(duration_weeks)s, %(relative_load)s,
            %(rule_tasks)s, %(closed_sprints)s)
"""
_UPDATE = """
    WITH revised AS (
        UPDATE episode SET quality_score = %(quality_score)s, quality_findings = %(quality_findings)s,
                           version = %(version)s
        WHERE decision_id = %(decision_id)s AND version = %(version)s - 1
        RETURNING episode_id)
    UPDATE decision SET record = %(record)s, pending = %(pending)s, sprint_id = %(sprint_id)s, version = %(version)s,
                        retry_time = now() + make_interval(secs => %(retry_seconds)s)
    WHERE decision_id = %(decision_id)s AND EXISTS (SELECT FROM revised)
"""
_FIND = f"{SELECT} WHERE d.decision_id = %(decision_id)s"
_COUNT = "SELECT count(*) FROM decision WHERE project_id = %(project_id)s"
_FINGERPRINT = "SELECT fingerprint FROM decision WHERE decision_id = %(decision_id)s"
_LAST = f"{SELECT} WHERE d.project_id = %(project_id)s ORDER BY d.decision_time DESC, d.decision_id DESC LIMIT 1"
_DUE = """
    SELECT d.decision_id FROM decision d LEFT JOIN orchestration_lease l USING (project_id)
    WHERE d.pending AND d.retry_time <= now() AND (l.lease_time IS NULL OR l.lease_time < now())
    ORDER BY d.retry_time LIMIT 10
"""
_AUDIT_CONDITIONS = {
    "project_id": "d.project_id = %(project_id)s",
    "decision_id": "d.decision_id = %(decision_id)s",
    "source": "d.source = %(source)s",
    # The index on sprints leaves out decisions without one, which the planner must be told.
    "sprint_id": "d.sprint_id = %(sprint_id)s AND d.sprint_id <> ''",
    "start": "d.decision_time >= %(start)s::date::timestamp AT TIME ZONE 'UTC'",
    "end": "d.decision_time < (%(end)s::date + 1)::timestamp AT TIME ZONE 'UTC'",
    "after_id": "(d.decision_time, d.decision_id) > (%(after_time)s::timestamptz, %(after_id)s::uuid)",
}
_AUDIT_ORDER = "ORDER BY d.decision_time, d.decision_id LIMIT %(limit)s"


@dataclass(frozen=True)
class AuditFilter:
    """Which decisions of a project are listed; days are UTC's and included."""

    project_id: str
    decision_id: UUID | None = None
    source: DecisionSource | None = None
    start: date | None = None
    end: date | None = None
    sprint_id: str = ""


async def insert(tx: WriteHandle, episode: Episode, fingerprint: bytes | None) -> None:
    """Store a new decision with its episode."""
    record = episode.record
    await tx.execute(
        _INSERT_DECISION,
        {
            "decision_id": record.decision_id,
            "project_id": record.project_id,
            "decision_time": record.decision_time,
            "source": record.source,
            "record": record_json(record),
            "pending": record.pending,
            "fingerprint": fingerprint,
            "advisory": advisory_json(episode.advisory),
        },
    )
    await tx.execute(
        _INSERT_EPISODE,
        {
            "episode_id": episode.episode_id,
            "decision_id": record.decision_id,
            "project_id": record.project_id,
            "context_text": episode.context_text,
            "quality_score": episode.quality_score,
            "quality_findings": list(episode.quality_findings),
            "create_time": episode.create_time,
            **asdict(episode.traits),
            "rule_tasks": record.rule_based.tasks_to_assign,
            "closed_sprints": record.analysis.patterns.closed_sprints if record.analysis.patterns else 0,
        },
    )
    # Where no sprint is started, nothing was applied, and no outcome follows.
    if record.starts_sprint and record.strategy_ids:
        await strategies.applied(tx, record.strategy_ids)


async def update(tx: WriteHandle, episode: Episode, retry_seconds: float) -> None:
    """Store what became of a decision's actions; what is left is tried again after a while.

    Raises Aborted if the episode has changed since it was read.
    """
    changed = await tx.execute(
        _UPDATE,
        {
            "decision_id": episode.record.decision_id,
            "record": record_json(episode.record),
            "pending": episode.record.pending,
            "sprint_id": episode.record.sprint_id,
            "quality_score": episode.quality_score,
            "quality_findings": list(episode.quality_findings),
            "version": episode.version,
            "retry_seconds": retry_seconds,
        },
    )
    if not changed:
        raise Aborted("The decision has changed since it was read.")


async def find(read: ReadHandle, decision_id: UUID) -> Episode | None:
    """A decision with its episode."""
    row = await read.maybe(_FIND, {"decision_id": decision_id}, row=dict_row)
    return to_episode(row) if row else None


async def count(read: ReadHandle, project_id: str) -> int:
    """Decisions of a project."""
    return int(await read.value(_COUNT, {"project_id": project_id}))


async def fingerprint(read: ReadHandle, decision_id: UUID) -> bytes | None:
    """Digest of the request that a decision answers."""
    found = await read.value(_FINGERPRINT, {"decision_id": decision_id})
    return bytes(found) if found is not None else None


async def last(read: ReadHandle, project_id: str) -> Episode | None:
    """The newest decision of a project."""
    row = await read.maybe(_LAST, {"project_id": project_id}, row=dict_row)
    return to_episode(row) if row else None


async def due(read: ReadHandle) -> list[UUID]:
    """Decisions with something left to do, whose projects nobody works on."""
    return [row["decision_id"] for row in await read.rows(_DUE)]


async def audit(read: ReadHandle, wanted: AuditFilter, page: Page) -> tuple[Sequence[Episode], str]:
    """A page of a project's decisions, oldest first, and the token of the next."""
    after_time, after_id = page.after or (None, None)
    params = {
        "project_id": wanted.project_id,
        "decision_id": wanted.decision_id,
        "source": wanted.source,
        "sprint_id": wanted.sprint_id,
        "start": wanted.start,
        "end": wanted.end,
        "after_time": after_time,
        "after_id": after_id,
        "limit": page.limit,
    }
    sql = f"{SELECT} {where(_AUDIT_CONDITIONS, params)} {_AUDIT_ORDER}"
    found = [to_episode(row) for row in await read.rows(sql, params)]
    return page.cut(found, lambda e: (e.record.decision_time, e.record.decision_id))
