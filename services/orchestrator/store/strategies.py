"""Strategies, and the lessons that they are learned from."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb
from pydantic import TypeAdapter

from services.kit.data.database import ReadHandle, Row, WriteHandle
from services.kit.data.paging import Page
from services.kit.errors import Aborted
from services.orchestrator.domain.episode import RETRIEVABLE_QUALITY
from services.orchestrator.domain.evolution import Change
from services.orchestrator.domain.learning import Lesson
from services.orchestrator.domain.strategy import Feature, Strategy, StrategyState
from services.orchestrator.store.rows import where

_STRATEGY = TypeAdapter(Strategy)

# A project's newest lessons: older ones are of another team. All together: what is thought about in some seconds.
_LESSONS_OF_A_PROJECT = 100
_MOST_LESSONS = 20_000
_LESSONS = f"""
    WITH numbered AS (
        SELECT episode_id, project_id, team_size, load, relative_load, closed_sprints, rule_tasks, outcome,
               outcome_time, row_number() OVER (PARTITION BY project_id ORDER BY outcome_time DESC) AS age
        FROM episode
        WHERE outcome_time IS NOT NULL AND quality_score >= {RETRIEVABLE_QUALITY} AND rule_tasks > 0 {{of_project}})
    SELECT episode_id, project_id, team_size, load, relative_load, closed_sprints, rule_tasks,
           (outcome->>'planned_tasks')::integer AS planned_tasks,
           (outcome->>'completed_tasks')::integer AS completed_tasks
    FROM numbered WHERE age <= {_LESSONS_OF_A_PROJECT}
    ORDER BY outcome_time DESC, episode_id LIMIT {_MOST_LESSONS}
"""
_OF_PROJECT = "AND project_id = %(project_id)s"
_COLUMNS = "strategy_id, record, times_applied"
_SELECT = f"SELECT {_COLUMNS} FROM strategy"
_OF_SCOPES = f"{_SELECT} WHERE %(project_id)s = '' OR project_id = %(project_id)s ORDER BY strategy_id"
_ACTIVE = f"{_SELECT} WHERE project_id IN ('', %(project_id)s) AND state = 'ACTIVE'"
_LOCK = f"{_SELECT} WHERE strategy_id = ANY(%(strategy_ids)s) ORDER BY strategy_id FOR UPDATE"
_CONDITIONS = {
    "project_id": "project_id IN ('', %(project_id)s)",
    "state": "state = %(state)s",
    "after_id": "(-confidence, strategy_id) > (-%(after_confidence)s::float8, %(after_id)s::uuid)",
}
_ORDER = "ORDER BY -confidence, strategy_id LIMIT %(limit)s"
_INSERT = """
    INSERT INTO strategy (strategy_id, project_id, state, confidence, record, version)
    VALUES (%(strategy_id)s, %(project_id)s, %(state)s, %(confidence)s, %(record)s, %(version)s)
    ON CONFLICT DO NOTHING
"""
_UPDATE = """
    UPDATE strategy SET state = %(state)s, confidence = %(confidence)s, record = %(record)s, version = %(version)s
    WHERE strategy_id = %(strategy_id)s AND version = %(version)s - 1
"""
# Locked in the order of their ids, so that decisions that share strategies do not wait for each other in a circle.
_APPLIED = """
    WITH locked AS (
        SELECT strategy_id FROM strategy WHERE strategy_id = ANY(%(strategy_ids)s) ORDER BY strategy_id FOR UPDATE)
    UPDATE strategy s SET times_applied = s.times_applied + 1 FROM locked l WHERE s.strategy_id = l.strategy_id
"""
_IN_USE = """
    SELECT count(*) FILTER (WHERE state = 'ACTIVE') AS active, max((record->>'update_time')::timestamptz) AS newest
    FROM strategy
"""
_CLAIM = """
    UPDATE evolution SET next_time = now() + make_interval(secs => %(seconds)s) WHERE next_time <= now() RETURNING true
"""


async def lessons(read: ReadHandle, project_id: str = "") -> list[Lesson]:
    """What the episodes of a project, or of all, teach; newest first."""
    sql = _LESSONS.format(of_project=_OF_PROJECT if project_id else "")
    return [_to_lesson(row) for row in await read.rows(sql, {"project_id": project_id})]


async def of_scope(read: ReadHandle, project_id: str) -> list[Strategy]:
    """Every strategy of a project alone or, without one, of all."""
    return [_to_strategy(row) for row in await read.rows(_OF_SCOPES, {"project_id": project_id})]


async def active(read: ReadHandle, project_id: str) -> list[Strategy]:
    """The strategies in use for a project, with those for all."""
    return [_to_strategy(row) for row in await read.rows(_ACTIVE, {"project_id": project_id})]


async def in_use(read: ReadHandle) -> tuple[int, datetime | None]:
    """How many strategies are in use, and when one last changed."""
    [row] = await read.rows(_IN_USE)
    return row["active"], row["newest"]


async def page_of_strategies(
    read: ReadHandle, project_id: str, state: StrategyState | None, page: Page
) -> tuple[Sequence[Strategy], str]:
    """A page of strategies, surest first, and the token of the next."""
    after_confidence, after_id = page.after or (None, None)
    params = {
        "project_id": project_id,
        "state": state,
        "after_confidence": after_confidence,
        "after_id": after_id,
        "limit": page.limit,
    }
    rows = await read.rows(f"{_SELECT} {where(_CONDITIONS, params)} {_ORDER}", params)
    return page.cut([_to_strategy(row) for row in rows], lambda s: (s.confidence, s.strategy_id))


async def locked(tx: WriteHandle, strategy_ids: Iterable[UUID]) -> dict[UUID, Strategy]:
    """Some strategies, which nobody else changes before the end of the transaction."""
    rows = await tx.rows(_LOCK, {"strategy_ids": list(strategy_ids)})
    return {row["strategy_id"]: _to_strategy(row) for row in rows}


async def put(tx: WriteHandle, changes: Iterable[Change]) -> None:
    """Store strategies after a change; Aborted if one has changed since it was read, or another was faster."""
    for change in changes:
        strategy = change.strategy
        params = {
            "strategy_id": strategy.strategy_id,
            "project_id": strategy.project_id,
            "state": strategy.state,
            "confidence": strategy.confidence,
            "record": Jsonb(_STRATEGY.dump_python(strategy, mode="json")),
            "version": strategy.version,
        }
        if not await tx.execute(_INSERT if strategy.version == 1 else _UPDATE, params):
            raise Aborted("A strategy has changed since it was read.")


async def applied(tx: WriteHandle, strategy_ids: Iterable[UUID]) -> None:
    """Count a decision that applies strategies."""
    await tx.execute(_APPLIED, {"strategy_ids": list(strategy_ids)})


async def claim_evolution(tx: WriteHandle, seconds: float) -> bool:
    """True if strategies are due to be learned, and this is who does it; then they are due again after a while."""
    return bool(await tx.value(_CLAIM, {"seconds": seconds}))


def _to_strategy(row: Row) -> Strategy:
    return replace(_STRATEGY.validate_python(row["record"]), times_applied=row["times_applied"])


def _to_lesson(row: Row) -> Lesson:
    figures = {
        Feature.TEAM_SIZE: row["team_size"],
        Feature.CLOSED_SPRINTS: row["closed_sprints"],
        Feature.LOAD: row["load"],
        Feature.RELATIVE_LOAD: row["relative_load"],
    }
    return Lesson(
        episode_id=row["episode_id"],
        project_id=row["project_id"],
        situation={feature: float(figure) for feature, figure in figures.items() if figure is not None},
        rule_tasks=row["rule_tasks"],
        planned_tasks=row["planned_tasks"],
        completed_tasks=row["completed_tasks"],
    )
