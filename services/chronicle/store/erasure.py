"""What is forgotten of a person.

Notes know people by id alone, and names stay in the project service. What a person said of their own day in a daily
scrum (yesterday_work, today_work) is theirs and may tell anything: it is blanked, in what is stored and in what still
arrives. Task, progress, days and impediments are the team's, and so are free notes, whose text is about a project,
sprint or task: they stay, under an id that leads nowhere any more.
"""

from collections.abc import Collection, Mapping
from datetime import datetime

from services.kit.data.database import WriteHandle

_REMEMBER = """
    INSERT INTO erased_person (employee_id, erase_time)
    SELECT * FROM unnest(%(employee_ids)s::text[], %(erase_times)s::timestamptz[]) ON CONFLICT DO NOTHING
"""
_FORGET = """
    UPDATE scrum_task SET yesterday_work = '', today_work = ''
    WHERE employee_id = ANY(%(employee_ids)s) AND (yesterday_work <> '' OR today_work <> '')
"""
_FORGET_IN_REPORTS = """
    UPDATE scrum_task task SET yesterday_work = '', today_work = '' FROM erased_person person
    WHERE task.report_id = ANY(%(report_ids)s::uuid[]) AND task.employee_id = person.employee_id
"""


async def forget(tx: WriteHandle, erased: Mapping[str, datetime]) -> None:
    """Blank what these people said, and remember to do so with what is still on its way."""
    await tx.execute(_REMEMBER, {"employee_ids": list(erased), "erase_times": list(erased.values())})
    await tx.execute(_FORGET, {"employee_ids": list(erased)})


async def forget_in_reports(tx: WriteHandle, report_ids: Collection[str]) -> None:
    """Blank what erased people said in these new reports."""
    await tx.execute(_FORGET_IN_REPORTS, {"report_ids": list(report_ids)})
