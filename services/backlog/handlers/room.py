"""What the handlers of all nouns share."""

from functools import partial

from dsm.backlog.v1.backlog_service_pb2_grpc import BacklogServiceServicer
from dsm.project.v1 import project_pb2, project_service_pb2
from dsm.project.v1.project_service_pb2_grpc import ProjectServiceStub

from services.backlog.domain.errors import ProjectArchived, TaskNotFound
from services.backlog.domain.task import Task
from services.backlog.store.projects import learn_project, project_status
from services.backlog.store.tasks import find_task_and_status, find_tasks
from services.kit.calling.callee import Callee
from services.kit.clock import Clock
from services.kit.data.database import Database
from services.kit.data.together import Together
from services.kit.serving.watch import Watch

ARCHIVED = "ARCHIVED"


class Room(BacklogServiceServicer):
    """The database, who watches it, the project service and the clock."""

    def __init__(self, db: Database, watch: Watch, project: Callee, clock: Clock) -> None:
        self._db = db
        self._watch = watch
        self._project = project
        self._projects = ProjectServiceStub(project.channel)
        self._clock = clock
        self._tasks = Together[str, Task | None](partial(find_tasks, db.read))

    async def _know_project(self, project_id: str) -> str:
        """A project's status; what the project service says of one never heard of before."""
        return await project_status(self._db.read, project_id) or await self._ask_for_project(project_id)

    async def _check_project(self, project_id: str) -> None:
        """ProjectArchived, or what the project service says of a project that is not there."""
        if await self._know_project(project_id) == ARCHIVED:
            raise ProjectArchived(project_id)

    async def _ask_for_project(self, project_id: str) -> str:
        """The status by the project service's word, which is kept."""
        request = project_service_pb2.GetProjectRequest(project_id=project_id)
        answer = await self._project.call(self._projects.GetProject, request, project_service_pb2.GetProjectResponse)
        status = project_pb2.ProjectStatus.Name(answer.project.status).removeprefix("PROJECT_STATUS_")
        async with self._db.write(keyed=False) as tx:
            await learn_project(tx, project_id, status)
        return status

    async def _open_task(self, task_id: str) -> Task:
        """A task that may be changed: TaskNotFound, ProjectArchived."""
        found = await find_task_and_status(self._db.read, task_id)
        if found is None:
            raise TaskNotFound(task_id)
        task, status = found
        if status == ARCHIVED:
            raise ProjectArchived(task.project_id)
        return task
