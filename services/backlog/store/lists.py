"""Pages of tasks: the filters given, and an order with its keyset."""

from dataclasses import dataclass
from typing import Any

from psycopg.rows import tuple_row

from services.backlog.domain.task import Task, TaskState
from services.backlog.store.tasks import COLUMNS, task_of
from services.kit.data.database import ReadHandle

Key = tuple[Any, ...]


@dataclass(frozen=True)
class Order:
    """An order of tasks: by `expression`, ties by rank and number."""

    expression: str
    kind: str
    descending: bool

    @property
    def direction(self) -> str:
        """Of the expression."""
        return "DESC" if self.descending else "ASC"

    @property
    def key(self) -> str:
        """What a page token keeps of it."""
        return f"{self.expression}::{'text' if self.kind == 'date' else self.kind}"

    @property
    def clause(self) -> str:
        """ORDER BY."""
        return f"ORDER BY {self.expression} {self.direction}, t.rank, t.number"

    @property
    def after(self) -> str:
        """WHERE what comes after a key; the first comparison is what an index can begin at."""
        key = f"%(key)s::{self.kind}"
        if self.descending:
            same = f"{self.expression} = {key} AND (t.rank, t.number) > (%(rank)s, %(number)s)"
            return f"{self.expression} <= {key} AND ({self.expression} < {key} OR {same})"
        return f"({self.expression}, t.rank, t.number) > ({key}, %(rank)s, %(number)s)"


# As it is indexed: no due date comes last.
_DUE = "coalesce(t.due_date, 'infinity'::date)"
ORDERS = {
    "RANK": Order("t.rank", "bigint", descending=False),
    "PRIORITY": Order("t.urgency", "smallint", descending=False),
    "DUE_DATE": Order(_DUE, "date", descending=False),
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
    "in_sprint": "t.sprint_id <> ''",
    "story_id": "t.task_id IN (SELECT l.task_id FROM story_task l WHERE l.story_id = %(story_id)s)",
    "type": "lower(t.type) = lower(%(type)s)",
    "priority": "t.urgency = array_position('{URGENT,HIGH,MEDIUM,LOW,NONE}'::text[], %(priority)s) - 1",
    "any_tags": "t.tags && %(any_tags)s AND t.tags <> '{}'",
    "all_tags": "t.tags @> %(all_tags)s AND t.tags <> '{}'",
    "due_before": f"{_DUE} < %(due_before)s",
    "due_after": f"{_DUE} > %(due_after)s AND t.due_date IS NOT NULL",
    "query": "t.search @@ websearch_to_tsquery('english', %(query)s)",
    "parent_task_id": "t.parent_task_id = %(parent_task_id)s AND t.parent_task_id <> ''",
    # Project and key as they are indexed.
    "origin_key": (
        "t.project_id || ' ' || t.origin_key = %(project_id)s || ' ' || %(origin_key)s AND t.origin_key <> ''"
    ),
}


_EVERY_STATE = [str(state) for state in TaskState]


async def page_of_tasks(
    read: ReadHandle, project_id: str, filters: dict[str, Any], order: Order, after: Key | None, limit: int
) -> list[tuple[Key, Task]]:
    """The next tasks that hold every filter given (a name of FILTERS and its value), each with its key."""
    params = {"project_id": project_id, "limit": limit, **filters}
    if after is not None:
        params |= dict(zip(("key", "rank", "number"), after, strict=True))
    conditions = ["t.project_id = %(project_id)s", "t.delete_time IS NULL", *([] if after is None else [order.after])]
    if filters.keys() <= {"states"} and (filters or order is not ORDERS["RANK"]):
        sql = _merged(order, conditions)
        params.setdefault("states", _EVERY_STATE)
    else:
        found = " AND ".join([*conditions, *(FILTERS[name] for name in filters)])
        sql = f"SELECT {order.key}, {COLUMNS} FROM task t WHERE {found} {order.clause} LIMIT %(limit)s"
    rows = await read.all(sql, params, row=tuple_row)
    return [((row[0], *task.place), task) for row in rows for task in [task_of(row[1:])]]


def _merged(order: Order, conditions: list[str]) -> str:
    """The first of the first of each state.

    An index that begins with the state gives these, however many tasks there are and however few in the state; one
    that does not would have to pass by all that are in others.
    """
    return f"""
        SELECT {order.key}, {COLUMNS} FROM (
            SELECT o.task_id FROM unnest(%(states)s::text[]) AS s(state)
            CROSS JOIN LATERAL (
                SELECT t.task_id, {order.expression} AS key, t.rank, t.number FROM task t
                WHERE t.state = s.state AND {" AND ".join(conditions)} {order.clause} LIMIT %(limit)s
            ) AS o
            ORDER BY o.key {order.direction}, o.rank, o.number LIMIT %(limit)s
        ) AS first JOIN task t USING (task_id) {order.clause}
    """
