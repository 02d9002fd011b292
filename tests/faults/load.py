"""Clients that ask while DSM breaks: the random plays of tests/system, with every answer kept in a history."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any, cast
from uuid import UUID

import grpc
import nats
import nats.errors
from dsm.backlog.v1 import backlog_service_pb2 as backlog
from dsm.backlog.v1 import task_pb2
from dsm.chronicle.v1 import chronicle_service_pb2 as chronicle
from dsm.events.v1 import event_pb2
from dsm.orchestrator.v1 import decision_pb2
from dsm.orchestrator.v1 import orchestrator_service_pb2 as orchestrator
from dsm.sprint.v1 import sprint_service_pb2 as sprint
from google.protobuf import message_factory
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message

from services.kit import status
from services.kit.envelope import subject_of
from services.orchestrator.domain.schedule import cron_job_name
from tests.contract.methods import METHODS, is_read, short
from tests.faults.history import Entry, History, final
from tests.faults.machine import Machine
from tests.harness import World
from tests.system.play.client import Client, Command
from tests.system.play.commands import COMMANDS
from tests.system.play.stage import Ground, Stage, make_stage

_METHODS = {short(method).partition("Service.")[2]: method for method in METHODS}
# What a client that is in no hurry gives a call.
DEADLINE_SECONDS = 15.0
# Between two commands of a client, and after one of which it was told nothing.
_PAUSE, _LONGER_PAUSE = 0.02, 0.25
# A patient client sends a command again, with the same request_id, until it is told something.
_PATIENT_SECONDS = 40.0
EVERY_MINUTE = "* * * * *"


def service_of(method: MethodDescriptor) -> str:
    """The service that answers a method of the contract."""
    package: str = method.containing_service.file.package.split(".")[1]
    return package


def service_of_call(name: str) -> str:
    """The service that answers a call by its short name: "StartSprint"."""
    return service_of(_METHODS[name])


async def ask(
    channel: grpc.aio.Channel,
    history: History,
    client: str,
    name: str,
    request: Message,
    *,
    seconds: float = DEADLINE_SECONDS,
    wait: bool = False,
) -> Entry:
    """One call over a channel, kept in the history, whatever comes of it; it may `wait` for a connection."""
    method, asked = _METHODS[name], history.now
    path = f"/{method.containing_service.full_name}/{method.name}"
    send: Any = channel.unary_unary(path, request_serializer=lambda message: message.SerializeToString())
    about = (client, service_of(method), name, request, asked)
    try:
        body = await send(request, timeout=seconds, wait_for_ready=wait)
    except grpc.aio.AioRpcError as error:
        info = status.error_info(error)
        details = error.details() or ""
        return history.add(*about, error.code().name, reason=info.reason if info else "", details=details)
    except asyncio.CancelledError:
        history.add(*about, "CANCELLED")
        raise
    return history.add(*about, "OK", body=bytes(body))


def answer_of(entry: Entry) -> Any:
    """The answer that a client was given."""
    return message_factory.GetMessageClass(_METHODS[entry.method].output_type).FromString(entry.body)


class FaultStage(Stage):
    """A stage on a machine that breaks: what nobody was told is no fault, and is resolved afterwards."""

    def __init__(self, machine: Machine, calm: Stage, history: History, rng: Random) -> None:
        super().__init__(cast(World, machine), calm.grounds, calm.people)
        self.machine = machine
        self.told = history
        # Which part of the commands that nobody answered is sent again until somebody does.
        self.patience = 0.5
        # Ids of reports from outside of which it is not known whether NATS took them.
        self.maybe_published: list[str] = []
        self._rng = rng
        self._marks = itertools.count(1)
        self._requests: dict[str, tuple[str, Message]] = {}

    async def tell(self, client: str, name: str, request: Any, *, times: int = 1) -> Any:
        """Send a command with a request_id; a part of those whose outcome is unknown are sent until it is known."""
        if not is_read(_METHODS[name]):
            request.request_id = request.request_id or str(UUID(int=self._rng.getrandbits(128), version=4))
            self._requests[request.request_id] = (name, request)
        self._mark(request)
        entries = await asyncio.gather(*(self._send(client, name, request) for _ in range(times)))
        if final(entries) == "unknown":
            await asyncio.sleep(_LONGER_PAUSE)
            if getattr(request, "request_id", "") and self._rng.random() < self.patience:
                entries = [await self._insist(client, name, request)]
        return next((answer_of(entry) for entry in entries if entry.code == "OK"), None)

    async def publish(self, client: str, event: event_pb2.Event, *, times: int = 1) -> None:
        """Publish an event from outside; unless NATS says that it has it, nothing is known."""
        try:
            connection = await nats.connect(
                self.machine.nats_url, connect_timeout=2, allow_reconnect=False, error_cb=_ignore
            )
        except (OSError, nats.errors.Error, TimeoutError):
            return
        try:
            for _ in range(times):
                await connection.jetstream(timeout=5).publish(subject_of(event), event.SerializeToString())
        except (OSError, nats.errors.Error, TimeoutError):
            self.maybe_published.append(event.event_id)
        else:
            self.published.append(event.event_id)
        finally:
            with suppress(OSError, nats.errors.Error, TimeoutError):
                await connection.close()

    async def resolve(self, part: float = 0.5) -> int:
        """Send a part of the commands again whose outcome is unknown; how many. The others stay unknown for ever."""
        open_ones = [
            request_id
            for request_id, entries in self.told.by_request().items()
            if final(entries) == "unknown" and request_id in self._requests and self._rng.random() < part
        ]
        for request_id in open_ones:
            await self._insist("resolver", *self._requests[request_id])
        return len(open_ones)

    async def end_schedules(self) -> None:
        """Have nothing happen by itself any more; of projects that are archived nothing does anyway."""
        for project_id in self.projects:
            request = orchestrator.SetOrchestrationScheduleRequest(project_id=project_id, schedule=EVERY_MINUTE)
            await self._insist("resolver", "SetOrchestrationSchedule", request)

    def makers(self) -> Iterator[tuple[str, str, int]]:
        """Every command that makes marked tasks: its request_id, the mark, and how many tasks."""
        for request_id, (_, request) in self._requests.items():
            if isinstance(request, backlog.CreateTaskRequest):
                yield request_id, request.task.description, 1
            elif isinstance(request, backlog.BatchCreateTasksRequest):
                yield request_id, request.tasks[0].description, len(request.tasks)

    async def _insist(self, client: str, name: str, request: Message) -> Entry:
        until = self.told.now + _PATIENT_SECONDS
        while True:
            entry = await self._send(client, name, request)
            if entry.outcome != "unknown" or self.told.now > until:
                return entry
            await asyncio.sleep(_LONGER_PAUSE)

    async def _send(self, client: str, name: str, request: Message) -> Entry:
        channel = await self.machine.channel(service_of(_METHODS[name]))
        return await ask(channel, self.told, client, name, request)

    def _mark(self, request: Any) -> None:
        """Give new tasks a mark that no command changes, by which they are found whatever was told."""
        if isinstance(request, backlog.CreateTaskRequest):
            request.task.description = request.task.description or self._next_mark(request)
        elif isinstance(request, backlog.BatchCreateTasksRequest):
            mark = self._next_mark(request)
            for task in request.tasks:
                task.description = task.description or mark

    def _next_mark(self, request: Any) -> str:
        return f"Asked as {request.request_id}, mark {next(self._marks)}"


async def orchestrate(client: Client, ground: Ground) -> None:
    # In the past, like the sprints of the other commands.
    options = decision_pb2.OrchestrateOptions(create_sprint_if_needed=client.maybe(0.3), start_date="2025-03-03")
    if client.maybe(0.5):
        # Wanted again if it was not any more.
        options.create_cronjob = True
    await client.tell("Orchestrate", orchestrator.OrchestrateRequest(project_id=ground.project_id, options=options))


async def orchestrate_by_schedule(client: Client, ground: Ground) -> None:
    # Without a sprint of today: the others are of the past.
    options = decision_pb2.OrchestrateOptions(create_sprint_if_needed=False, close_finished_sprint=False)
    request = orchestrator.SetOrchestrationScheduleRequest(
        project_id=ground.project_id, schedule=EVERY_MINUTE, enabled=client.maybe(0.8), options=options
    )
    await client.tell("SetOrchestrationSchedule", request)


async def end_daily_scrums(client: Client, ground: Ground) -> None:
    name = cron_job_name(client.sprint(ground))
    request = orchestrator.DeleteCronJobRequest(project_id=ground.project_id, cron_job_name=name)
    await client.tell("DeleteCronJob", request)


async def list_tasks(client: Client, ground: Ground) -> None:
    await client.tell("ListTasks", backlog.ListTasksRequest(project_id=ground.project_id))


async def get_sprint(client: Client, ground: Ground) -> None:
    await client.tell("GetSprint", sprint.GetSprintRequest(sprint_id=client.sprint(ground)))


async def read_history(client: Client, ground: Ground) -> None:
    await client.tell("ListSprintPlannings", chronicle.ListSprintPlanningsRequest(project_id=ground.project_id))


MIXED: dict[Command, int] = COMMANDS | {
    orchestrate: 3,
    orchestrate_by_schedule: 1,
    end_daily_scrums: 1,
    list_tasks: 4,
    get_sprint: 4,
    read_history: 3,
}


class PlayingClient(Client):
    """A client of the mixed load, which plays until it is told to stop."""

    async def tell(self, name: str, request: Any) -> Any:
        """Send a command, some of them twice at once; reads have no request_id."""
        twice = not is_read(_METHODS[name]) and self.maybe(0.05)
        return await self.stage.tell(self.name, name, request, times=2 if twice else 1)

    async def play_until(self, over: asyncio.Event, commands: dict[Command, int]) -> None:
        """Send commands, one after the other, until it is over."""
        while not over.is_set():
            [command] = self.rng.choices(list(commands), list(commands.values()))
            await command(self, self.rng.choices(self.stage.grounds, (3, 1))[0])
            await asyncio.sleep(_PAUSE)


async def make_fault_stage(machine: Machine, history: History, seed: object) -> FaultStage:
    """A stage with projects of its own."""
    calm = await make_stage(cast(World, machine))
    stage = FaultStage(machine, calm, history, Random(f"{seed}:stage"))
    for ground in stage.grounds:
        new = [stage_task(number) for number in range(12)]
        request = backlog.BatchCreateTasksRequest(project_id=ground.project_id, tasks=new)
        answer = await stage.tell("setup", "BatchCreateTasks", request)
        ground.tasks += [task.task_id for task in answer.tasks]
    return stage


def stage_task(number: int) -> Any:
    """A task to begin with."""
    return task_pb2.Task(title=f"Task {number}", points=1 + number % 5)


async def under_load(
    stage: FaultStage,
    work: Callable[[], Awaitable[None]],
    *,
    seed: object,
    clients: int = 4,
    commands: dict[Command, int] | None = None,
) -> None:
    """Do some work while clients play."""
    over = asyncio.Event()
    playing = [
        asyncio.create_task(
            PlayingClient(stage, f"C{number}", Random(f"{seed}:{number}")).play_until(over, commands or MIXED)
        )
        for number in range(clients)
    ]
    try:
        await work()
    finally:
        over.set()
        await asyncio.gather(*playing)


async def _ignore(_: Exception) -> None:
    """NATS that goes away is what these tests are about."""
