"""Calls of the sprint service: take tasks for a sprint, give them back."""

from decimal import Decimal

from dsm.backlog.v1 import backlog_service_pb2 as pb

from services.backlog.convert.tasks import from_task
from services.backlog.domain.course import Change, Release, released, unreserved
from services.backlog.domain.errors import NoUnassignedTasks, ProjectArchived, ReservationReleased
from services.backlog.domain.planning import Limits, check_explicit, choose, reserved
from services.backlog.domain.task import Task
from services.backlog.events import save_and_tell
from services.backlog.handlers.room import ARCHIVED, Room
from services.backlog.store.graph import satisfied_dependencies
from services.backlog.store.projects import count_up, project_status
from services.backlog.store.ranks import top_rank
from services.backlog.store.reservations import (
    end_reservations,
    forget_reserved,
    keep_reserved,
    kept_before,
    lock_reservation,
    reserved_ids,
)
from services.backlog.store.tasks import lock_free_tasks, lock_tasks, projects_of_tasks, tasks_of_sprint
from services.kit.data.database import WriteHandle
from services.kit.serving.gate import Context

_BEFORE_ALL = (-(1 << 63), 0)
# Candidates looked at beyond the number wanted, for those that wait for others.
_SPARE = 20
_CHUNK = 500


class ReservationHandlers(Room):
    """ReserveTasks and ReleaseTasks."""

    async def ReserveTasks(self, request: pb.ReserveTasksRequest, context: Context) -> pb.ReserveTasksResponse:
        """The top free tasks, or those named; the same again if the sprint has them already."""
        async with self._db.write() as tx:
            if await project_status(tx, request.project_id) == ARCHIVED:
                raise ProjectArchived(request.project_id)
            if await lock_reservation(tx, request.sprint_id) == "RELEASED":
                raise ReservationReleased(request.sprint_id)
            if held := await self._held(tx, request):
                return tx.reply(pb.ReserveTasksResponse(tasks=map(from_task, held), repeated=True))
            free = await self._named(tx, request) if request.task_ids else await self._top(tx, request)
            changes = reserved(free, request.sprint_id, self._clock())
            await keep_reserved(tx, request.sprint_id, free)
            await save_and_tell(tx, changes)
            return tx.reply(pb.ReserveTasksResponse(tasks=[from_task(after) for _, after in changes]))

    async def ReleaseTasks(self, request: pb.ReleaseTasksRequest, context: Context) -> pb.ReleaseTasksResponse:
        """Some tasks of a sprint, or its whole reservation."""
        async with self._db.write() as tx:
            changes = await (self._release(tx, request) if request.tasks else self._undo(tx, request.sprint_id))
            await save_and_tell(tx, changes)
            return tx.reply(pb.ReleaseTasksResponse(released_count=len(changes)))

    async def _held(self, tx: WriteHandle, request: pb.ReserveTasksRequest) -> list[Task]:
        """What the sprint has of what it asks for, by rank; nothing unless it has it all.

        A task that it cancelled and somebody reopened is free like any other, so what counts is where tasks are.
        """
        if not request.task_ids:
            return await tasks_of_sprint(tx, request.sprint_id) if await reserved_ids(tx, request.sprint_id) else []
        tasks = await lock_tasks(tx, sorted(request.task_ids))
        inside = [task for task in tasks.values() if task.course.sprint_id == request.sprint_id]
        return sorted(inside, key=lambda task: task.place) if len(inside) == len(request.task_ids) else []

    async def _top(self, tx: WriteHandle, request: pb.ReserveTasksRequest) -> list[Task]:
        """Free tasks by rank within the limits. Candidates come in chunks: some may wait for others."""
        max_points = Decimal(str(request.max_points)) if request.HasField("max_points") else None
        limits = Limits(request.max_tasks, max_points, Decimal(str(request.unestimated_points)))
        free: list[Task] = []
        place, size = _BEFORE_ALL, request.max_tasks + _SPARE if request.max_tasks else _CHUNK
        while True:
            chunk = await lock_free_tasks(tx, request.project_id, place, size)
            free += chunk
            choice = choose(free, await self._satisfied(tx, free, request.sprint_id), limits)
            # A short chunk is not the last: tasks that changed while their lock was waited for have dropped out.
            if choice.full or not chunk:
                break
            place, size = chunk[-1].place, size * 4
        if not choice.tasks:
            raise NoUnassignedTasks(request.project_id)
        return choice.tasks

    async def _named(self, tx: WriteHandle, request: pb.ReserveTasksRequest) -> list[Task]:
        """Exactly the tasks named that the sprint has not yet."""
        found = await lock_tasks(tx, sorted(request.task_ids))
        tasks = {key: task for key, task in found.items() if task.course.sprint_id != request.sprint_id}
        satisfied = await self._satisfied(tx, list(tasks.values()), request.sprint_id)
        wanted = [key for key in request.task_ids if key in tasks or key not in found]
        check_explicit(wanted, tasks, request.project_id, satisfied)
        return list(tasks.values())

    async def _satisfied(self, tx: WriteHandle, tasks: list[Task], sprint_id: str) -> set[str]:
        awaited = {task_id for task in tasks for task_id in task.content.depends_on}
        return await satisfied_dependencies(tx, sorted(awaited), sprint_id) if awaited else set()

    async def _release(self, tx: WriteHandle, request: pb.ReleaseTasksRequest) -> list[Change]:
        roll_over = request.policy == pb.RELEASE_POLICY_ROLL_OVER
        if roll_over:
            await self._hold_ranks(tx, request.tasks[0].task_id)
        await lock_reservation(tx, request.sprint_id)
        releases = [Release(r.task_id, r.version, r.assignee_id, r.progress_percent) for r in request.tasks]
        tasks = await lock_tasks(tx, [release.task_id for release in releases])
        if request.policy == pb.RELEASE_POLICY_RESTORE:
            before = await kept_before(tx, request.sprint_id)
            await forget_reserved(tx, request.sprint_id, list(tasks))
            inside = [task for task in tasks.values() if task.course.sprint_id == request.sprint_id]
            return unreserved(inside, before, self._clock())
        await forget_reserved(tx, request.sprint_id, list(tasks))
        top = await top_rank(tx, next(iter(tasks.values())).project_id) if roll_over and tasks else 0
        now = self._clock()
        return released(tasks, request.sprint_id, releases, now, roll_over=roll_over, top_rank=top)

    async def _hold_ranks(self, tx: WriteHandle, task_id: str) -> None:
        """Nobody else ranks tasks of this one's project until the transaction ends."""
        for project_id in (await projects_of_tasks(tx, [task_id])).values():
            await count_up(tx, project_id)

    async def _undo(self, tx: WriteHandle, sprint_id: str) -> list[Change]:
        """Free everything, and remember that the reservation is over, also if it never came."""
        await lock_reservation(tx, sprint_id, "RELEASED")
        await end_reservations(tx, [sprint_id])
        before = await kept_before(tx, sprint_id)
        tasks = await lock_tasks(tx, [task.task_id for task in await tasks_of_sprint(tx, sprint_id)])
        return unreserved(tasks.values(), before, self._clock())
