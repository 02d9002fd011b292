"""A client: how it picks what it sends, by its own random numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from random import Random
from typing import Any
from uuid import uuid4

from dsm.backlog.v1 import task_pb2
from google.protobuf.field_mask_pb2 import FieldMask

from tests.system.play.stage import Ground, Stage

MONDAY = date(2025, 3, 3)
_POINTS = (None, 0.5, 1, 2, 3, 5, 8, 13)


class Client:
    """One client: it picks what it sends by its own random numbers, and from what all clients know.

    An `insistent` one sends every command so many times at once.
    """

    def __init__(self, stage: Stage, name: str, rng: Random, *, insistent: int = 0) -> None:
        self.stage = stage
        self.name = name
        self.rng = rng
        self._insistent = insistent

    async def tell(self, name: str, request: Any) -> Any:
        """Send a command: some with a request_id, and of these some twice at once."""
        times = 1
        if self._insistent or self.maybe(0.4):
            # Not by the client's numbers, which may be those of another.
            request.request_id = str(uuid4())
            times = self._insistent or self.rng.choice((1, 2))
        return await self.stage.tell(self.name, name, request, times=times)

    def maybe(self, chance: float) -> bool:
        """True with a chance."""
        return self.rng.random() < chance

    def person(self, ground: Ground) -> str:
        """Somebody, or nobody."""
        return self.rng.choice([*ground.people, ""])

    def task(self, ground: Ground) -> str:
        """One of the last tasks or of the open sprint's; seldom another project's, or one that never was."""
        if self.maybe(0.02):
            return f"{ground.project_id}-TASK999"
        tasks = self.stage.grounds[0].tasks if self.maybe(0.02) else [*ground.tasks[-20:], *ground.planned]
        return self.rng.choice(tasks or [f"{ground.project_id}-TASK001"])

    def planned(self, ground: Ground) -> str:
        """A task that is probably in the open sprint."""
        return self.rng.choice(ground.planned) if ground.planned and self.maybe(0.85) else self.task(ground)

    def tasks(self, ground: Ground, most: int) -> list[str]:
        """Some tasks, none twice, in any order."""
        found = list(dict.fromkeys(self.task(ground) for _ in range(self.rng.randint(1, most))))
        self.rng.shuffle(found)
        return found

    def story(self, ground: Ground) -> str:
        """A story."""
        return self.rng.choice(ground.stories or [f"{ground.project_id}-STORY001"])

    def sprint(self, ground: Ground) -> str:
        """A sprint: mostly the last one."""
        known = list(ground.sprints) or [f"{ground.project_id}-S01"]
        return known[-1] if self.maybe(0.9) else self.rng.choice(known)

    def day(self, ground: Ground) -> str:
        """A day about the last sprint, or none."""
        if self.maybe(0.3):
            return ""
        first, last = list(ground.sprints.values())[-1] if ground.sprints else (MONDAY, MONDAY)
        return (first + timedelta(days=self.rng.randint(-1, (last - first).days + 1))).isoformat()

    def content(self, ground: Ground) -> task_pb2.Task:
        """A new task's content."""
        depends_on = self.tasks(ground, 2) if self.maybe(0.1) else []
        return task_pb2.Task(
            title=f"Task {self.rng.randrange(10**6)}",
            points=self.rng.choice(_POINTS),
            assignee_id=self.person(ground) if self.maybe(0.3) else "",
            priority=self.rng.choice(task_pb2.Priority.values()),
            depends_on=depends_on,
            tags=self.rng.sample(("api", "ui", "db"), k=self.rng.randint(0, 2)),
        )

    def update(self, ground: Ground, task_id: str) -> dict[str, Any]:
        """A change of a task's content, as the fields of an update."""
        names = ("title", "points", "priority", "tags", "depends_on", "parent_task_id")
        paths = self.rng.sample(names, k=self.rng.randint(1, 2))
        task = self.content(ground)
        task.task_id = task_id
        task.parent_task_id = self.task(ground) if self.maybe(0.5) else ""
        # None of them is there to be read but those that the mask names; an assignee is no content.
        task.ClearField("assignee_id")
        return {"task": task, "update_mask": FieldMask(paths=paths)}


Command = Callable[[Client, Ground], Awaitable[None]]
