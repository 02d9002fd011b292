"""RankTask: a task before or after another."""

from dsm.backlog.v1 import backlog_service_pb2 as pb

from services.backlog.convert.tasks import from_task
from services.backlog.domain.course import Change
from services.backlog.domain.errors import ProjectMismatch
from services.backlog.domain.ranking import rank_between, spread, window_of
from services.backlog.domain.task import Task, check_found, revised
from services.backlog.events import save_and_tell
from services.backlog.handlers.room import Room
from services.backlog.store.projects import count_up
from services.backlog.store.ranks import Gap, find_gap, raise_last_rank
from services.backlog.store.tasks import lock_tasks
from services.kit.data.database import WriteHandle
from services.kit.errors import InvalidArgument
from services.kit.serving.gate import Context

Place = tuple[int, int]


class RankHandlers(Room):
    """RankTask."""

    async def RankTask(self, request: pb.RankTaskRequest, context: Context) -> pb.RankTaskResponse:
        """Calls about one project take turns, so that each finds the neighbours that the one before left."""
        field = request.WhichOneof("position") or "before_task_id"
        other_id = getattr(request, field)
        if other_id == request.task_id:
            raise InvalidArgument(field, "must be another task", other_id)
        project_id = (await self._open_task(request.task_id)).project_id
        async with self._db.write() as tx:
            await count_up(tx, project_id)
            tasks = await lock_tasks(tx, [request.task_id, other_id])
            check_found((request.task_id, other_id), tasks)
            task, other = tasks[request.task_id], tasks[other_id]
            if other.project_id != project_id:
                raise ProjectMismatch(other_id, project_id)
            changes = await self._ranked(tx, task, (other.rank, other.number + (field == "after_task_id")))
            await save_and_tell(tx, changes)
            ranks = [after.rank for _, after in changes]
            await raise_last_rank(tx, project_id, max(ranks, default=task.rank))
            return tx.reply(pb.RankTaskResponse(task=from_task(_after(changes, task))))

    async def _ranked(self, tx: WriteHandle, task: Task, place: Place) -> list[Change]:
        """The task right before what stands at a place; if there is no rank left, its neighbours move together."""
        gap = await find_gap(tx, task.project_id, place, task.task_id, 1)
        if _is_there(task, gap):
            return []
        rank = rank_between(*(next((n.rank for n in side), None) for side in (gap.below, gap.above)))
        if rank is not None:
            return [(task, revised(task, self._clock(), rank=rank))]
        ranks = await _spread_neighbours(tx, task, place)
        tasks = await lock_tasks(tx, list(ranks))
        now = self._clock()
        moved = [t for t in tasks.values() if t.rank != ranks[t.task_id]]
        return [(before, revised(before, now, rank=ranks[before.task_id])) for before in moved]


async def _spread_neighbours(tx: WriteHandle, task: Task, place: Place) -> dict[str, int]:
    """New ranks for the task and as many neighbours as it takes."""
    attempt = 0
    while True:
        size, least_gap = window_of(attempt)
        gap = await find_gap(tx, task.project_id, place, task.task_id, size + 1)
        lower, upper = (side[size].rank if len(side) > size else None for side in (gap.below, gap.above))
        below = [neighbour.task_id for neighbour in reversed(gap.below[:size])]
        order = [*below, task.task_id, *(neighbour.task_id for neighbour in gap.above[:size])]
        if ranks := spread(len(order), lower, upper, least_gap):
            return dict(zip(order, ranks, strict=True))
        attempt += 1


def _is_there(task: Task, gap: Gap) -> bool:
    """True if the task stands between the two already."""
    below = all(neighbour.place < task.place for neighbour in gap.below)
    return below and all(neighbour.place > task.place for neighbour in gap.above)


def _after(changes: list[Change], task: Task) -> Task:
    return next((after for _, after in changes if after.task_id == task.task_id), task)
