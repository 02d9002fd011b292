"""Reports of work that came as events."""

from collections.abc import Sequence

from services.kit.data.database import WriteHandle
from services.sprint.domain.outside import OutsideReport, Verdict

# One that comes again after the inbox has forgotten it is told apart by its time, so the first record stays.
_KEEP = """
    INSERT INTO reported_progress (event_id, task_id, sprint_id, progress_percent, event_time, verdict)
    SELECT * FROM unnest(%(event_ids)s::uuid[], %(task_ids)s::text[], %(sprint_ids)s::text[], %(percents)s::integer[],
                         %(times)s::timestamptz[], %(verdicts)s::text[])
    ON CONFLICT (event_id) DO NOTHING
"""


async def keep(tx: WriteHandle, judged: Sequence[tuple[OutsideReport, Verdict]]) -> None:
    """Store reports with what became of them."""
    params = {
        "event_ids": [report.event_id for report, _ in judged],
        "task_ids": [report.task_id for report, _ in judged],
        "sprint_ids": [report.sprint_id for report, _ in judged],
        "percents": [report.progress_percent for report, _ in judged],
        "times": [report.time for report, _ in judged],
        "verdicts": [str(verdict) for _, verdict in judged],
    }
    await tx.execute(_KEEP, params)
