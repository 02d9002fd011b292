"""How each project wants its decisions made."""

from dataclasses import asdict, dataclass
from datetime import datetime

from psycopg.rows import dict_row

from services.kit.data.database import ReadHandle, WriteHandle
from services.orchestrator.domain.decision import DecisionMode, ModeConfig

_FIELDS = (
    "mode",
    "confidence_threshold",
    "enable_task_count_adjustment",
    "enable_sprint_duration_adjustment",
    "enable_points_adjustment",
)
_NAMES = ", ".join(_FIELDS)
_FIND = f"SELECT {_NAMES}, update_time, version FROM decision_mode WHERE project_id = %(project_id)s"
_SET = f"""
    INSERT INTO decision_mode (project_id, update_time, {_NAMES})
    VALUES (%(project_id)s, %(update_time)s, {", ".join(f"%({name})s" for name in _FIELDS)})
    ON CONFLICT (project_id) DO UPDATE SET version = decision_mode.version + 1, update_time = excluded.update_time,
        {", ".join(f"{name} = excluded.{name}" for name in _FIELDS)}
    RETURNING version
"""


@dataclass(frozen=True)
class StoredMode:
    """A configuration that was set, and when."""

    config: ModeConfig
    update_time: datetime


async def find(read: ReadHandle, project_id: str) -> StoredMode | None:
    """What a project set; None = never."""
    row = await read.maybe(_FIND, {"project_id": project_id}, row=dict_row)
    if row is None:
        return None
    values = {name: row[name] for name in _FIELDS} | {"mode": DecisionMode(row["mode"])}
    return StoredMode(ModeConfig(**values), row["update_time"])


async def put(tx: WriteHandle, project_id: str, config: ModeConfig, now: datetime) -> int:
    """Set a project's configuration; its version."""
    params = asdict(config) | {"project_id": project_id, "update_time": now}
    return int(await tx.value(_SET, params))
