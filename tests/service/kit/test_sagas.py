"""Sagas, on real servers."""

import asyncio
from uuid import UUID, uuid4

import pytest
from dsm.project.v1 import project_service_pb2 as pb

from services.kit import call
from services.kit.call import Call, RequestKey
from services.kit.data.database import AlreadyAnswered, Database, WriteHandle
from services.kit.errors import Aborted, DependencyUnavailable
from services.kit.saga import Definition, Local, Remote, Saga, Sagas, State
from services.kit.telemetry import trace
from tests.harness import eventually
from tests.service.kit.small_service import INSERT


class _Steps:
    """A saga of two steps that fails or hangs where told."""

    def __init__(self, database: Database, *, undoable: bool) -> None:
        self.fail_at = ""
        self.hang_at = ""
        self.log: list[str] = []
        self.definition = Definition(
            "test",
            [Remote("reserve", self.reserve, self.unreserve), Local("store", self.store)],
            undoable=undoable,
        )

    async def reserve(self, state: State) -> State:
        await self._at("reserve")
        return state | {"reserved": True}

    async def unreserve(self, state: State) -> None:
        await self._at("unreserve")

    async def store(self, tx: WriteHandle, state: State) -> State:
        await self._at("store")
        await tx.execute(INSERT, {"id": state["id"]})
        response = pb.CreateProjectResponse()
        response.project.project_id = state["id"]
        tx.reply(response)
        return state

    async def _at(self, step: str) -> None:
        self.log.append(step)
        if step == self.hang_at:
            await asyncio.sleep(60)
        if step == self.fail_at:
            raise DependencyUnavailable("backlog", step, "closed")


async def _begin(database: Database, sagas: Sagas, key: str) -> Saga:
    async with database.write(keyed=False) as tx:
        return await sagas.begin(tx, "test", key, {"id": key})


async def test_a_saga_ends_with_its_answer(database: Database) -> None:
    steps, sagas = _Steps(database, undoable=True), Sagas(database)
    sagas.define(steps.definition)
    answer = await sagas.finish(await _begin(database, sagas, "SAGA-OK"))
    assert isinstance(answer, pb.CreateProjectResponse)
    assert answer.project.project_id == "SAGA-OK"
    assert await _status(database, "SAGA-OK") == "DONE"


async def test_a_saga_that_fails_is_undone(database: Database) -> None:
    steps, sagas = _Steps(database, undoable=True), Sagas(database)
    sagas.define(steps.definition)
    steps.fail_at = "store"
    with pytest.raises(DependencyUnavailable):
        await sagas.finish(await _begin(database, sagas, "SAGA-UNDO"))
    assert steps.log == ["reserve", "store", "unreserve"]
    assert await _status(database, "SAGA-UNDO") == "UNDONE"


async def test_the_saga_of_a_dead_process_is_taken_over(database: Database) -> None:
    steps, dead = _Steps(database, undoable=True), Sagas(database, lease_seconds=0.3)
    dead.define(steps.definition)
    steps.hang_at = "store"
    saga = await _begin(database, dead, "SAGA-DEAD")
    hanging = asyncio.create_task(dead.finish(saga))
    await eventually(lambda: "store" in steps.log)
    hanging.cancel()

    successor_steps, successor = _Steps(database, undoable=True), Sagas(database, lease_seconds=0.3)
    successor.define(successor_steps.definition)
    task = asyncio.create_task(successor.run())
    await eventually(lambda: _has_status(database, "SAGA-DEAD", "DONE"))
    assert successor_steps.log == ["store"]
    task.cancel()
    await dead.stop()


async def test_a_saga_that_is_taken_over_stays_in_its_trace(database: Database) -> None:
    place, seen = f"00-{'a' * 32}-{'b' * 16}-01", []

    async def look(state: State) -> State:
        seen.append(trace.current().traceparent)
        return state

    with trace.Span(place):
        saga = await _begin(database, Sagas(database), "SAGA-TRACE")
    async with database.write(keyed=False) as tx:
        await tx.execute("UPDATE saga SET lease_time = now() WHERE saga_id = %(id)s", {"id": saga.saga_id})
    successor = Sagas(database)
    successor.define(Definition("test", [Remote("look", look)], undoable=True))
    task = asyncio.create_task(successor.run())
    await eventually(lambda: _has_status(database, "SAGA-TRACE", "DONE"))
    task.cancel()
    assert seen == [place]


@pytest.mark.parametrize(("key", "expected"), [(None, Aborted), (uuid4(), AlreadyAnswered)])
async def test_a_call_whose_saga_another_process_ended_is_told_so(
    database: Database, key: UUID | None, expected: type[Exception]
) -> None:
    """As after a process was stopped for longer than its lease: nothing failed, and nothing is to be INTERNAL."""
    name = f"SAGA-LOST-{key}"
    call.enter(Call("test", request_key=RequestKey(key, "test", b"body") if key else None))
    steps, stopped = _Steps(database, undoable=True), Sagas(database)
    stopped.define(steps.definition)
    saga = await _begin(database, stopped, name)
    async with database.write(keyed=False) as tx:
        params = {"owner": uuid4(), "key": name}
        await tx.execute("UPDATE saga SET owner = %(owner)s, status = 'DONE' WHERE key = %(key)s", params)
    with pytest.raises(expected):
        await stopped.finish(saga)


async def _status(database: Database, key: str) -> str:
    return str(await database.read.value("SELECT status FROM saga WHERE key = %(key)s", {"key": key}))


async def _has_status(database: Database, key: str, status: str) -> bool:
    return await _status(database, key) == status
