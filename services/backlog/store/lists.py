"""Pages of tasks: the filters given, and an order with its keyset."""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import tuple_row

from services.backlog.domain.task import Task
from services.backlog.store.tasks import COLUMNS, task_of
from services.kit.database import ReadHandle

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Order:
    """An order of tasks: by `expression`, ties by rank and number."""

    expression: str
    kind: str
    descending: bool

    @property
    def clause(self) -> str:
        """ORDER BY."""
        return f"ORDER BY {self.expression} {'DESC' if self.descending else 'ASC'}, t.rank, t.number"

    @property
    def after(self) -> str:
        """WHERE what comes after a key; the first comparison is what an index can begin at."""
        key = f"%(key)s::{self.kind}"
        if self.descending:
            same = f"{self.expression} = {key} AND (t.rank, t.number) > (%(rank)s, %(number)s)"
            return f"{self.expression} <= {key} AND ({self.expression} < {key} OR {same})"
        return f"({self.expression}, t.rank, t.number) > ({key}, %(rank)s, %(number)s)"


ORDERS = {
    "RANK": Order("t.rank", "bigint", descending=False),
    "PRIORITY": Order("t.urgency", "smallint", descending=False),
    "DUE_DATE": Order("coalesce(t.due_date, 'infinity'::date)", "date", descending=False),
    "CREATE_TIME": Order("t.create_time", "timestamptz", descending=True),
    "UPDATE_TIME": Order("t.update_time", "timestamptz", descending=True),
    "RELEVANCE": Order(
        "ts_rank(t.search, websearch_to_tsquery('english', %(query)s))::float8", "float8", descending=True
    ),
}
FILTERS = {
    "states": "t.state = ANY(%(states)s)",
    "assignee_id": "t.assignee_id = %(assignee_id)s AND t.assignee_id <> ''",
    "sprint_id": "t.sprint_id = %(sprint_id)s AND t.sprint_id <> ''",
    "story_id": "t.task_id IN (SELECT l.task_id FROM story_task l WHERE l.story_id = %(story_id)s)",
    "type": "lower(t.type) = lower(%(type)s)",
    "priority": "t.urgency = array_position('{URGENT,HIGH,MEDIUM,LOW,NONE}'::text[], %(priority)s) - 1",
    "any_tags": "t.tags && %(any_tags)s AND t.tags <> '{}'",
    "all_tags": "t.tags @> %(all_tags)s AND t.tags <> '{}'",
    "due_before": "t.due_date < %(due_before)s",
    "due_after": "t.due_date > %(due_after)s",
    "query": "t.search @@ websearch_to_tsquery('english', %(query)s)",
    "parent_task_id": "t.parent_task_id = %(parent_task_id)s AND t.parent_task_id <> ''",
    "origin_key": "t.origin_key = %(origin_key)s AND t.origin_key <> ''",
}


async def page_of_tasks(
    read: ReadHandle, project_id: str, filters: dict[str, Any], order: Order, after: Key | None, limit: int
) -> list[tuple[Key, Task]]:
    """The next tasks that hold every filter given (a name of FILTERS and its value), each with its key."""
    conditions = ["t.project_id = %(project_id)s", "t.delete_time IS NULL", *(FILTERS[name] for name in filters)]
    params = {"project_id": project_id, "limit": limit, **filters}
    if after is not None:
        conditions.append(order.after)
        params |= dict(zip(("key", "rank", "number"), after, strict=True))
    sql = f"""
        SELECT {order.expression}::{"text" if order.kind == "date" else order.kind}, {COLUMNS} FROM task t
        WHERE {" AND ".join(conditions)} {order.clause} LIMIT %(limit)s
    """
    rows = await read.all(sql, params, row=tuple_row)
    return [((row[0], *task.place), task) for row in rows for task in [task_of(row[1:])]]
