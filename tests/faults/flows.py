"""Plannings, closings and changes of scope, each broken at a chosen step by a kill -9."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.project.v1 import employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from google.protobuf.message import Message

from tests.faults.history import Entry, History
from tests.faults.load import answer_of, ask, service_of_call
from tests.faults.machine import Machine, Replica

TASKS = 6
_numbers = itertools.count(1)
_OPEN_TASKS = """
    SELECT t.task_id, t.assignee_id, t.version FROM sprint_task t WHERE t.project_id = %(id)s AND t.outcome IS NULL
"""
_HELD_TASKS = """
    SELECT task_id, assignee_id, sprint_version AS version FROM task WHERE project_id = %(id)s AND sprint_id <> ''
"""
_SPRINTS = "SELECT sprint_id, state FROM sprint WHERE project_id = %(id)s ORDER BY number"


@dataclass
class Scene:
    """A project with a team and some tasks, and what a client was told about it."""

    machine: Machine
    history: History
    project_id: str
    tasks: list[str] = field(default_factory=list)
    sprint_id: str = ""

    async def ask(self, name: str, request: Message) -> Any:
        """The answer to a call that must be answered."""
        entry = await self.send(name, request, wait=True)
        assert entry.code == "OK", entry
        return answer_of(entry)

    async def send(self, name: str, request: Message, replica: Replica | None = None, *, wait: bool = False) -> Entry:
        """One call, to a replica or to the usual process."""
        channel = replica.channel if replica else await self.machine.channel(service_of_call(name))
        return await ask(channel, self.history, self.project_id, name, request, seconds=40, wait=wait)

    async def plan(self) -> None:
        """Have a sprint of all tasks but the last."""
        answer = await self.ask("StartSprint", self.planning(task_ids=self.tasks[:-1]))
        self.sprint_id = answer.sprint.sprint_id

    def planning(self, **given: Any) -> sprint.StartSprintRequest:
        """A planning."""
        return sprint.StartSprintRequest(project_id=self.project_id, request_id=str(uuid4()), **given)

    async def outcome(self) -> str:
        """ "whole" (an open sprint and its tasks), "none" (none open, none held), or what does not agree."""
        params = {"id": self.project_id}
        inside = [tuple(row.values()) for row in await self.machine.query("sprint", _OPEN_TASKS, params)]
        held = [tuple(row.values()) for row in await self.machine.query("backlog", _HELD_TASKS, params)]
        states = [row["state"] for row in await self.machine.query("sprint", _SPRINTS, params)]
        open_ones = [state for state in states if state in ("PLANNING", "IN_PROGRESS", "CLOSING")]
        if sorted(inside) == sorted(held):
            if open_ones == ["IN_PROGRESS"] and inside:
                return "whole"
            if not open_ones and not inside:
                return "none"
        return f"sprints {states}, the sprint has {sorted(inside)}, the backlog {sorted(held)}"

    async def holds(self, task_id: str) -> bool:
        """Whether the open sprint has a task, by both services' word."""
        params = {"id": self.project_id}
        inside = {row["task_id"] for row in await self.machine.query("sprint", _OPEN_TASKS, params)}
        held = {row["task_id"] for row in await self.machine.query("backlog", _HELD_TASKS, params)}
        assert inside == held, f"the sprint has {sorted(inside)}, the backlog {sorted(held)}"
        return task_id in inside


@dataclass(frozen=True)
class Flow:
    """A flow: its steps' failpoints, what must be there before, the call, and what its end must be."""

    kind: str
    points: tuple[str, ...]
    prepare: Callable[[Scene], Awaitable[None]]
    request: Callable[[Scene], tuple[str, Message]]
    # True for done, False for undone or not begun.
    happened: Callable[[Scene], Awaitable[bool]]
    # What is undone at the first failure may also not have happened; the others go on until they have.
    undoable: bool


async def _bare(scene: Scene) -> None:
    """The project is enough."""


async def _planned(scene: Scene) -> None:
    await scene.plan()


async def _started(scene: Scene) -> bool:
    outcome = await scene.outcome()
    assert outcome in ("whole", "none"), outcome
    return outcome == "whole"


async def _closed(scene: Scene) -> bool:
    outcome = await scene.outcome()
    assert outcome == "none", outcome
    return True


async def _refused(scene: Scene) -> bool:
    outcome = await scene.outcome()
    assert outcome == "none", outcome
    return False


def _remote(step: str) -> tuple[str, ...]:
    return tuple(f"{step}.{moment}" for moment in ("before", "done", "after"))


def _local(step: str) -> tuple[str, ...]:
    return tuple(f"{step}.{moment}" for moment in ("before", "after"))


FLOWS = (
    Flow(
        "start-sprint",
        (*_remote("reserve"), *_local("start")),
        _bare,
        lambda scene: ("StartSprint", scene.planning(max_tasks=TASKS)),
        _started,
        undoable=True,
    ),
    Flow(
        "start-sprint",
        ("reserve.undo",),
        _bare,
        # Of these tasks one is not there, which the backlog says when it is to reserve them.
        lambda scene: ("StartSprint", scene.planning(task_ids=[scene.tasks[0], f"{scene.project_id}-TASK999"])),
        _refused,
        undoable=True,
    ),
    Flow(
        "close-sprint",
        (*_remote("give-back"), *_local("close")),
        _planned,
        lambda scene: ("CloseSprint", sprint.CloseSprintRequest(sprint_id=scene.sprint_id, request_id=str(uuid4()))),
        _closed,
        undoable=False,
    ),
    Flow(
        "add-task",
        (*_remote("reserve"), *_local("add")),
        _planned,
        lambda scene: (
            "AddTaskToSprint",
            sprint.AddTaskToSprintRequest(sprint_id=scene.sprint_id, task_id=scene.tasks[-1], request_id=str(uuid4())),
        ),
        lambda scene: scene.holds(scene.tasks[-1]),
        undoable=True,
    ),
    Flow(
        "remove-task",
        (*_remote("release"), *_local("tell")),
        _planned,
        lambda scene: (
            "RemoveTaskFromSprint",
            sprint.RemoveTaskFromSprintRequest(
                sprint_id=scene.sprint_id, task_id=scene.tasks[0], request_id=str(uuid4())
            ),
        ),
        lambda scene: _gone(scene, scene.tasks[0]),
        undoable=False,
    ),
)


async def _gone(scene: Scene, task_id: str) -> bool:
    return not await scene.holds(task_id)


async def make_scene(machine: Machine, history: History) -> Scene:
    """A project of its own with a team and some tasks."""
    scene = Scene(machine, history, f"FLOW-{next(_numbers)}")
    new = project_pb2.Project(project_id=scene.project_id, name="A project")
    await scene.ask("CreateProject", project.CreateProjectRequest(project=new))
    places = []
    for number in range(2):
        employee = employee_pb2.Employee(employee_id=f"{scene.project_id}-E{number}", name="Somebody")
        await scene.ask("CreateEmployee", project.CreateEmployeeRequest(employee=employee))
        places.append(project.TeamAssignment(employee_id=employee.employee_id))
    team = project.AssignTeamMembersRequest(project_id=scene.project_id, assignments=places)
    await scene.ask("AssignTeamMembers", team)
    tasks = [task_pb2.Task(title=f"Task {number}", points=1) for number in range(TASKS)]
    request = backlog.BatchCreateTasksRequest(project_id=scene.project_id, tasks=tasks)
    scene.tasks = [task.task_id for task in (await scene.ask("BatchCreateTasks", request)).tasks]
    return scene
