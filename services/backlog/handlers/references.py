"""What tasks refer to must be there, in the same project, and not lead back to them."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from services.backlog.domain.course import Change
from services.backlog.domain.errors import OriginKeyAlreadyExists, ProjectMismatch, TaskNotFound
from services.backlog.domain.graph import check_acyclic
from services.backlog.domain.task import Content, Task
from services.backlog.store.graph import dependency_edges, parent_edges
from services.backlog.store.tasks import holders_of_keys, projects_of_tasks
from services.kit.data.database import WriteHandle
from services.kit.errors import DsmError


@contextmanager
def at_index(index: int) -> Iterator[None]:
    """Names the entry of a batch in whatever is refused of it."""
    try:
        yield
    except DsmError as error:
        error.metadata.setdefault("index", str(index))
        raise


async def check_referred(tx: WriteHandle, project_id: str, contents: Sequence[Content]) -> None:
    """TaskNotFound or ProjectMismatch for the first parent or dependency that is not there or elsewhere."""
    awaited = {task_id for content in contents for task_id in _referred(content)}
    projects = await projects_of_tasks(tx, sorted(awaited)) if awaited else {}
    for index, content in enumerate(contents):
        with at_index(index):
            for task_id in _referred(content):
                if task_id not in projects:
                    raise TaskNotFound(task_id)
                if projects[task_id] != project_id:
                    raise ProjectMismatch(task_id, project_id)


async def check_circles(tx: WriteHandle, changes: Sequence[Change]) -> None:
    """DependencyCycle if a task would wait for itself, or be above itself. Hold the project's counter meanwhile."""
    depending = {a.task_id: a.content.depends_on for b, a in changes if grew(b, a)}
    if depending:
        edges = await dependency_edges(tx, _targets(depending.values()))
        check_acyclic({**edges, **{a.task_id: a.content.depends_on for _, a in changes}}, depending)
    below = {a.task_id: (a.content.parent_task_id,) for b, a in changes if rose(b, a)}
    if below:
        edges = await parent_edges(tx, _targets(below.values()))
        check_acyclic({**edges, **below}, below)


async def check_keys_free(tx: WriteHandle, project_id: str, tasks: Sequence[Task]) -> None:
    """OriginKeyAlreadyExists naming the task that has the key. The unique index answers for what comes in between."""
    keys = {task.content.origin.key: task for task in tasks if task.content.origin and task.content.origin.key}
    holders = await holders_of_keys(tx, project_id, sorted(keys)) if keys else {}
    for index, task in enumerate(tasks):
        key = task.content.origin.key if task.content.origin else ""
        if holders.get(key, task.task_id) != task.task_id:
            with at_index(index):
                raise OriginKeyAlreadyExists(project_id, key, holders[key])


def grew(before: Task, after: Task) -> bool:
    """True if the task waits for something that it did not wait for before."""
    return not set(after.content.depends_on) <= set(before.content.depends_on)


def rose(before: Task, after: Task) -> bool:
    """True if the task has a parent that it had not before."""
    return after.content.parent_task_id not in ("", before.content.parent_task_id)


def _referred(content: Content) -> list[str]:
    return [*content.depends_on, *([content.parent_task_id] if content.parent_task_id else [])]


def _targets(targets: Iterable[Iterable[str]]) -> list[str]:
    return sorted({task_id for group in targets for task_id in group})
