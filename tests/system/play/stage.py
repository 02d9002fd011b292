"""Where a play happens: its projects, the people, and what the clients have come to know of."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field
from datetime import date
from random import Random
from typing import Any

from dsm.events.v1 import event_pb2
from dsm.project.v1 import employee_pb2, project_pb2
from dsm.project.v1 import project_service_pb2 as project
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.kit.envelope import subject_of
from tests.contract.calls import Caller, Outcome
from tests.contract.methods import METHODS, short
from tests.harness import World

_METHODS = {short(method).partition("Service.")[2]: method for method in METHODS}
_COMMON_REASONS = {"VALIDATION_FAILED", "CONCURRENT_CHANGE"}
_numbers = itertools.count(Random().randrange(10**6))


@dataclass
class Ground:
    """A project and what is known of it, by id; also of things that are gone since."""

    project_id: str
    people: list[str]
    tasks: list[str] = field(default_factory=list)
    stories: list[str] = field(default_factory=list)
    # The last sprint's tasks; first and last day of each sprint.
    planned: list[str] = field(default_factory=list)
    sprints: dict[str, tuple[date, date]] = field(default_factory=dict)
    impediments: list[str] = field(default_factory=list)
    pto: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Told:
    """What a client was told about one command; nothing about an event."""

    client: str
    method: str
    request: Message
    outcomes: tuple[Outcome, ...]

    def __str__(self) -> str:
        said = " | ".join("OK" if outcome.ok else str(outcome) for outcome in self.outcomes) or "published"
        return f"{self.client} {self.method}({' '.join(str(self.request).split())}) -> {said}"


class Stage:
    """Two projects that share their people, the history of what was asked and told, and what was wrong with it."""

    def __init__(self, world: World, grounds: list[Ground], people: list[str]) -> None:
        self.world = world
        self.grounds = grounds
        self.people = people
        self.history: list[Told] = []
        self.wrong: list[str] = []
        # Ids of the events that came from outside.
        self.published: list[str] = []
        self._caller = Caller(world)

    @property
    def projects(self) -> list[str]:
        """The ids of the projects."""
        return [ground.project_id for ground in self.grounds]

    async def ask(self, name: str, request: Message) -> Any:
        """The answer to a question that must be answered."""
        return await self._caller.answer(_METHODS[name], request)

    async def tell(self, client: str, name: str, request: Message, *, times: int = 1) -> Any:
        """Send a command, several `times` at once if its request_id is set; the answer, None if it was refused."""
        method = _METHODS[name]
        try:
            outcomes = await asyncio.gather(*(self._caller.call(method, request) for _ in range(times)))
        except AssertionError as error:
            self.wrong.append(f"{client} {name}({request}): {error}")
            return None
        told = Told(client, name, request, tuple(outcomes))
        self.history.append(told)
        answered = {outcome.body for outcome in outcomes if outcome.ok}
        if answered and times > 1:
            # One of them may have been refused before the other was answered; from now on there is one answer.
            answered.add((await self._caller.call(method, request)).body)
        if len(answered) > 1:
            self.wrong.append(f"One request_id had {len(answered)} answers: {told}")
        return _decoded(method, answered.pop()) if answered else None

    async def publish(self, client: str, event: event_pb2.Event, *, times: int = 1) -> None:
        """Publish an event from outside, delivered several `times`."""
        async with self.world.jetstream() as js:
            for _ in range(times):
                await js.publish(subject_of(event), event.SerializeToString())
        self.published.append(event.event_id)
        self.history.append(Told(client, subject_of(event), event, ()))

    def mixed(self, since: int = 0) -> list[str]:
        """Commands sent several times at once of which some were answered and some refused, from a place on."""
        return [str(told) for told in self.history[since:] if len({outcome.ok for outcome in told.outcomes}) > 1]

    def about(self, *words: str) -> str:
        """The history of what names one of these words, to tell how it came to something."""
        return "\n".join(line for line in map(str, self.history) if any(word in line for word in words))


def _decoded(method: MethodDescriptor, body: bytes) -> Message:
    return message_factory.GetMessageClass(method.output_type).FromString(body)


async def make_stage(world: World, *, people: int = 4) -> Stage:
    """Two projects whose teams have half of everybody's time."""
    await world.start("project", "backlog", "sprint")
    number = next(_numbers)
    who = [f"PLAY{number}-E{index}" for index in range(1, people + 1)]
    stage = Stage(world, [Ground(f"PLAY{number}-{letter}", who) for letter in "AB"], who)
    for employee_id in who:
        employee = employee_pb2.Employee(employee_id=employee_id, name="Somebody")
        await stage.ask("CreateEmployee", project.CreateEmployeeRequest(employee=employee))
    for ground in stage.grounds:
        new = project_pb2.Project(project_id=ground.project_id, name="A project")
        await stage.ask("CreateProject", project.CreateProjectRequest(project=new))
        places = [project.TeamAssignment(employee_id=employee_id, allocation_percent=50) for employee_id in who]
        request = project.AssignTeamMembersRequest(project_id=ground.project_id, assignments=places)
        await stage.ask("AssignTeamMembers", request)
    return stage
