"""Lists of tasks, and summaries."""

from typing import Any

from dsm.backlog.v1 import backlog_service_pb2 as pb

from services.backlog.convert.stories import from_counts
from services.backlog.convert.tasks import PRIORITY_OF, STATE_OF, from_task
from services.backlog.handlers.room import Room
from services.backlog.store.lists import ORDERS, Order, page_of_tasks
from services.backlog.store.summaries import Summary, find_summary, page_of_summaries
from services.kit.convert import to_date_or_none
from services.kit.data.paging import page_of
from services.kit.errors import InvalidArgument
from services.kit.serving.gate import Context

_SAME = ("assignee_id", "sprint_id", "story_id", "type", "query", "parent_task_id", "origin_key", "in_sprint")


class ListHandlers(Room):
    """ListTasks and the summaries."""

    async def ListTasks(self, request: pb.ListTasksRequest, context: Context) -> pb.ListTasksResponse:
        """A page, in the order asked."""
        page, order = page_of(request), _order(request)
        filters = _filters(request)
        rows = await page_of_tasks(self._db.read, request.project_id, filters, order, page.after, page.limit)
        kept, token = page.cut(rows, lambda row: row[0])
        return pb.ListTasksResponse(tasks=[from_task(task) for _, task in kept], next_page_token=token)

    async def GetBacklogSummary(
        self, request: pb.GetBacklogSummaryRequest, context: Context
    ) -> pb.GetBacklogSummaryResponse:
        """The counts; a project that was never heard of is asked for."""
        summary = await find_summary(self._db.read, request.project_id)
        if summary is None:
            await self._know_project(request.project_id)
            return pb.GetBacklogSummaryResponse(summary=from_counts(request.project_id, {}))
        return pb.GetBacklogSummaryResponse(summary=_summary(summary))

    async def ListBacklogSummaries(
        self, request: pb.ListBacklogSummariesRequest, context: Context
    ) -> pb.ListBacklogSummariesResponse:
        """The counts of all projects with tasks."""
        page = page_of(request)
        after = str(page.after[0]) if page.after else ""
        rows = await page_of_summaries(self._db.read, after, page.limit)
        kept, token = page.cut(rows, lambda summary: (summary.project_id,))
        return pb.ListBacklogSummariesResponse(summaries=map(_summary, kept), next_page_token=token)


def _order(request: pb.ListTasksRequest) -> Order:
    name = pb.TaskOrder.Name(request.order).removeprefix("TASK_ORDER_")
    if name == "RELEVANCE" and not request.query:
        raise InvalidArgument("order", "needs a query", "TASK_ORDER_RELEVANCE")
    return ORDERS.get(name, ORDERS["RANK"])


def _filters(request: pb.ListTasksRequest) -> dict[str, Any]:
    given: dict[str, Any] = {name: getattr(request, name) for name in _SAME}
    given |= {
        "states": [STATE_OF[state] for state in request.states],
        "priority": PRIORITY_OF.get(request.priority),
        "any_tags": list(request.any_tags),
        "all_tags": list(request.all_tags),
        "due_before": to_date_or_none(request.due_before, "due_before"),
        "due_after": to_date_or_none(request.due_after, "due_after"),
    }
    return {name: value for name, value in given.items() if value}


def _summary(summary: Summary) -> Any:
    counts = dict(zip(summary.states, zip(summary.tasks, summary.points, strict=True), strict=True))
    return from_counts(summary.project_id, counts, summary.unestimated_tasks, summary.stories)
