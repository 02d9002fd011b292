"""What a page of tasks costs in a project of 1,000 tasks and in one of up to a million."""

import argparse
import time

import psycopg
from dsm.backlog.v1 import backlog_service_pb2 as pb
from dsm.backlog.v1 import task_pb2

from tests.bench import scene
from tests.bench.load import percentile
from tests.bench.target import Target

_SMALL = 1_000
_CHUNK = 100_000
_CALLS = 20
# How deep the page is that is measured besides the first.
_DEEP = 20
_PAGE = 50
# 60 tasks are being worked on, half of the others are done; every third task has one of four people.
_TASKS = """
    INSERT INTO task (
        task_id, project_id, number, rank, version, create_time, update_time, title, description, type,
        parent_task_id, points, priority, tags, due_date, reminder_offsets, recurrence_rule, depends_on, custom_fields,
        origin_system, origin_key, origin_url, origin_status, origin_resolution, state, assignee_id, sprint_id,
        progress_percent, sprint_version)
    SELECT %(project_id)s || '-TASK' || lpad(n::text, greatest(3, length(n::text)), '0'), %(project_id)s, n, n << 20, 1,
           now() - n * interval '1 s', now() - (n * 7919 %% 1000003) * interval '1 s', 'Task ' || n, 'What to do.',
           'Task', '', n %% 8, (ARRAY['NONE', 'LOW', 'MEDIUM', 'HIGH', 'URGENT'])[1 + n %% 5], '{}',
           CASE WHEN n %% 4 = 0 THEN date '2026-01-01' + (n %% 365)::int END, '{}', '', '{}', '{}', '', '', '', '', '',
           CASE WHEN n <= 60 THEN 'IN_PROGRESS' WHEN n %% 2 = 0 THEN 'COMPLETED' ELSE 'UNASSIGNED' END,
           CASE WHEN n %% 3 = 0 THEN 'E' || n %% 4 ELSE '' END, '', 0, 0
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
"""
_ORDERS = (
    pb.TASK_ORDER_RANK,
    pb.TASK_ORDER_PRIORITY,
    pb.TASK_ORDER_DUE_DATE,
    pb.TASK_ORDER_CREATE_TIME,
    pb.TASK_ORDER_UPDATE_TIME,
)
_FILTERS = {
    "all": pb.ListTasksRequest(),
    "one state": pb.ListTasksRequest(states=[task_pb2.TASK_STATE_UNASSIGNED]),
    "a rare state": pb.ListTasksRequest(states=[task_pb2.TASK_STATE_IN_PROGRESS]),
    "two states": pb.ListTasksRequest(states=[task_pb2.TASK_STATE_IN_PROGRESS, task_pb2.TASK_STATE_COMPLETED]),
    "one person": pb.ListTasksRequest(assignee_id="E3"),
    "one person's open ones": pb.ListTasksRequest(assignee_id="E3", states=[task_pb2.TASK_STATE_UNASSIGNED]),
}


async def pages(target: Target, options: argparse.Namespace) -> dict[str, str]:
    """ListTasks by each order and filter; median of the first page and a deep one, and the ratio of the sizes."""
    sizes = {"PAGES-SMALL": _SMALL, "PAGES-LARGE": max(options.tasks, _SMALL)}
    for project_id, size in sizes.items():
        await scene.project(target, project_id)
        await _fill(target, project_id, size)
    figures = {}
    for name, filters in _FILTERS.items():
        for order in _ORDERS:
            small, large = [await _page_ms(target, project_id, filters, order) for project_id in sizes]
            label = pb.TaskOrder.Name(order).removeprefix("TASK_ORDER_").lower()
            figure = f"{small:.1f} ms of {_SMALL:,}, {large:.1f} ms of {options.tasks:,}: {large / small:.2f} times"
            figures[f"page of {name} by {label}"] = figure
    return figures


async def _fill(target: Target, project_id: str, size: int) -> None:
    """Straight into the database: through the calls a million would take an hour."""
    url = target.state.urls["postgres"].rpartition("/")[0] + "/dsm_backlog"
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for first in range(1, size + 1, _CHUNK):
            last = min(first + _CHUNK - 1, size)
            await connection.execute(_TASKS, {"project_id": project_id, "first": first, "last": last})
        await connection.execute("VACUUM ANALYZE task")


async def _page_ms(
    target: Target, project_id: str, filters: pb.ListTasksRequest, order: pb.TaskOrder.ValueType
) -> float:
    request = pb.ListTasksRequest(project_id=project_id, order=order, page_size=_PAGE)
    request.MergeFrom(filters)
    deep = pb.ListTasksRequest()
    deep.CopyFrom(request)
    for _ in range(_DEEP):
        token = (await target.backlog.ListTasks(deep)).next_page_token
        if not token:
            break
        deep.page_token = token
    seconds = []
    for asked in [request, deep] * _CALLS:
        began = time.perf_counter()
        await target.backlog.ListTasks(asked)
        seconds.append(time.perf_counter() - began)
    return percentile(seconds, 0.5) * 1000
